"""Models from wherever they are, and one clear line where they are not."""

import http.server
import json
import shutil
import threading
import time
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
import transformers
from huggingface_hub import constants as hub
from safetensors.torch import load_file, save_file
from tiny_models import load_tiny_model

from speechprune.models.loading import (
    ModelError,
    ModelOptions,
    check_model,
    fingerprint,
    load_config,
    load_model,
    model_shape,
    resolve_device,
    resolve_dtype,
)

WEIGHTS = "model.safetensors"


@pytest.fixture
def model_copy(tiny_model_folder, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "copy"))


@pytest.fixture
def remote_model(tiny_model_folder, tmp_path, monkeypatch) -> str:
    """The tiny model in an object store, as far as fsspec's memory is one; and a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store = fsspec.filesystem("memory")
    store.put(tiny_model_folder + "/", "/models/tiny/", recursive=True)
    yield "memory://models/tiny"
    store.rm("/models", recursive=True)


def error_of(call, *args, **kwargs) -> str:
    """The message, which must be one line."""
    with pytest.raises(ModelError) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    return str(caught.value)


# Configurations


def test_the_shipped_configuration_is_qwen2_audio_7b():
    config = load_config("qwen2-audio-7b")
    assert config.model_type == "qwen2_audio"
    shape = model_shape("Qwen2-Audio-7B")
    assert (shape.hidden_size, shape.num_hidden_layers, shape.vocab_size) == (4096, 32, 156032)
    assert (shape.encoder_hidden_size, shape.encoder_layers, shape.num_mel_bins) == (1280, 32, 128)


def test_a_folder_and_its_config_file_are_the_same(tiny_model_folder):
    shape = model_shape(tiny_model_folder)
    assert shape == model_shape(f"{tiny_model_folder}/config.json")
    assert (shape.hidden_size, shape.num_key_value_heads, shape.head_dim) == (64, 4, 16)


def test_a_shipped_configuration_has_no_weights_to_load():
    for call in (load_model, check_model):
        message = error_of(call, ModelOptions(path="qwen2-audio-7b", random_weights=True))
        assert message.startswith("model.path qwen2-audio-7b is a configuration alone")


def test_a_model_is_checked_without_loading_it(tiny_model_folder, model_copy, remote_model, tiny_lm):
    for path in (tiny_model_folder, remote_model):
        assert check_model(ModelOptions(path=path)) == tiny_lm.model.shape
    (model_copy / WEIGHTS).unlink()
    assert "holds no weights (*.safetensors)" in error_of(check_model, ModelOptions(path=str(model_copy)))
    assert check_model(ModelOptions(path=str(model_copy), random_weights=True)) == tiny_lm.model.shape


# What can't be loaded


@pytest.mark.parametrize("path", ["/nowhere/model", "./nowhere", "a/b/c", "gone/config.json"])
def test_a_missing_folder_is_named(path):
    assert error_of(load_model, ModelOptions(path=path)) == (
        f"model.path {path} does not exist: give a hub id, a local folder or an s3:// folder"
    )


def test_a_folder_without_a_model_is_named(tmp_path):
    assert "holds no config.json" in error_of(load_model, ModelOptions(path=str(tmp_path)))


def test_another_family_is_named(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "whisper"}))
    message = error_of(load_model, ModelOptions(path=str(tmp_path)))
    assert message == f"model {tmp_path} is a whisper; supported families: qwen2_audio"


def drop_a_weight(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    del weights[next(name for name in weights if name.endswith("layers.1.mlp.up_proj.weight"))]
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def cut_a_weight(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    name = next(name for name in weights if name.endswith("lm_head.weight"))
    weights[name] = weights[name][:100].clone()
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda folder: (folder / "config.json").write_text("{"), "not a valid JSON"),
        (lambda folder: (folder / WEIGHTS).unlink(), "no file named model.safetensors"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b""), "can't be loaded"),
        (
            lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:100_000]),
            "can't be loaded: .*incomplete",
        ),
        (drop_a_weight, "is incomplete: 1 weights, such as .*layers.1.mlp.up_proj.weight, are missing"),
        (cut_a_weight, "is incomplete: 1 weights, such as lm_head.weight"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "can't be loaded: .*tokenizer"),
        (
            lambda folder: (folder / "processor_config.json").unlink(),
            "can't be loaded: .*preprocessor_config",
        ),
    ],
)
def test_an_incomplete_folder_is_one_line(model_copy, damage, sentence):
    damage(model_copy)
    with pytest.raises(ModelError, match=sentence):
        load_tiny_model(str(model_copy))
    error_of(load_tiny_model, str(model_copy))


@pytest.mark.parametrize("field", ["encoder_batch_size", "prefill_batch_tokens"])
def test_a_batch_of_none_is_named(field):
    with pytest.raises(ValueError, match=f"^{field} is 0: give at least 1"):
        ModelOptions(path="anything", **{field: 0})


# The hub, with and without a network


class Hub(http.server.SimpleHTTPRequestHandler):
    """As much of a model hub as its client needs: one model, a gated one, and no other."""

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        if file := self.answer():
            self.wfile.write(file.read_bytes())

    def answer(self) -> Path | None:
        if self.path.startswith("/api/models/team/tiny/tree/"):
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"[]")
            return None
        owner_and_name, _, place = self.path.strip("/").partition("/resolve/")
        revision, _, name = place.partition("/")
        refusal = {"team/tiny": None, "team/gated": (403, "GatedRepo")}.get(
            owner_and_name, (401, "RepoNotFound")
        )
        if refusal is None and revision not in ("main", "0" * 40):
            refusal = (404, "RevisionNotFound")
        file = Path(self.directory) / (name or "none")
        if refusal is None and not file.is_file():
            refusal = (404, "EntryNotFound")
        self.send_response(200 if refusal is None else refusal[0])
        self.send_header("X-Repo-Commit", "0" * 40)
        if refusal is not None:
            self.send_header("X-Error-Code", refusal[1])
            self.send_header("Content-Length", "0")
        else:
            self.send_header("ETag", f'"{name}"')
            self.send_header("Content-Length", str(file.stat().st_size))
        self.end_headers()
        return file if refusal is None else None

    def log_message(self, *args):
        pass


def set_endpoint(monkeypatch, tmp_path: Path, endpoint: str) -> None:
    monkeypatch.setattr(hub, "ENDPOINT", endpoint)
    monkeypatch.setattr(transformers.utils.hub, "_hf_api", None)  # one made earlier asks elsewhere
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(hub, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def hub_here(tiny_model_folder, tmp_path, monkeypatch):
    def handler(*args):
        return Hub(*args, directory=tiny_model_folder)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    set_endpoint(monkeypatch, tmp_path, f"http://127.0.0.1:{server.server_port}")
    yield
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def pauses(monkeypatch) -> list[float]:
    """The seconds that anyone wanted to sleep, without sleeping."""
    seconds: list[float] = []
    monkeypatch.setattr(time, "sleep", seconds.append)
    return seconds


def test_a_model_comes_from_the_hub_and_then_from_its_cache(
    hub_here, tiny_lm, tmp_path, monkeypatch, pauses, caplog, capfd
):
    downloaded = load_tiny_model("team/tiny")
    assert same_weights(downloaded.model.model, tiny_lm.model.model)
    assert fingerprint(ModelOptions(path="team/tiny")) == fingerprint(ModelOptions(path="team/tiny"))

    set_endpoint(monkeypatch, tmp_path, "http://127.0.0.1:1")  # nobody is there
    assert same_weights(load_tiny_model("team/tiny").model.model, tiny_lm.model.model)
    assert pauses == [1.0, 1.0]  # asked again once for the configuration, once for the rest
    assert capfd.readouterr().out == ""
    assert "Retrying" not in caplog.text


@pytest.mark.parametrize(
    ("path", "revision", "sentence"),
    [
        ("team/gated", None, "is gated: accept its licence on its hub page and set HF_TOKEN"),
        ("team/missing", None, "is not on the hub (or private: set HF_TOKEN): check the name and revision"),
        ("team/tiny", "v9", "is not on the hub (or private: set HF_TOKEN): check the name and revision"),
    ],
)
def test_what_the_hub_refuses_is_one_line(hub_here, pauses, path, revision, sentence):
    assert error_of(load_model, ModelOptions(path=path, revision=revision)) == f"model {path} {sentence}"
    assert pauses == []


def test_an_unreachable_hub_is_one_line_in_a_moment(tmp_path, monkeypatch, pauses, caplog, capfd):
    """Left to itself, the hub's client would print a dozen retries over half a minute."""
    set_endpoint(monkeypatch, tmp_path, "http://127.0.0.1:1")
    assert error_of(load_config, "team/tiny") == (
        "model team/tiny is neither a folder here nor in the hub cache, and the hub can't be reached: "
        "download it first and give its folder"
    )
    assert pauses == [1.0]
    assert caplog.text == ""
    assert capfd.readouterr() == ("", "")


def test_a_hub_that_is_back_after_a_moment_is_no_error(hub_here, tmp_path, monkeypatch):
    here = hub.ENDPOINT
    set_endpoint(monkeypatch, tmp_path, "http://127.0.0.1:1")
    monkeypatch.setattr(time, "sleep", lambda seconds: set_endpoint(monkeypatch, tmp_path, here))
    assert load_config("team/tiny").model_type == "qwen2_audio"


def test_offline_mode_is_one_line(tmp_path, monkeypatch, pauses):
    set_endpoint(monkeypatch, tmp_path, "http://127.0.0.1:1")
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    assert "neither a folder here nor in the hub cache" in error_of(load_config, "team/tiny")
    assert pauses == []


# Object stores


def test_a_model_comes_from_an_object_store_once(remote_model, tiny_lm, tmp_path, monkeypatch):
    assert model_shape(remote_model) == tiny_lm.model.shape
    assert not list((tmp_path / "cache").rglob(WEIGHTS))  # a configuration costs no download of weights
    assert same_weights(load_tiny_model(remote_model).model.model, tiny_lm.model.model)

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "get_file", None)
    assert same_weights(load_tiny_model(remote_model).model.model, tiny_lm.model.model)


def test_a_folder_of_nothing_in_an_object_store_is_named(remote_model):
    message = "model.path memory://models/none holds no config.json: give the folder of a saved model"
    for call in (load_config, lambda path: load_model(ModelOptions(path=path))):
        assert error_of(call, "memory://models/none") == message
    assert error_of(fingerprint, ModelOptions(path="memory://models/none")) == message
    assert "no way to open nowhere://" in error_of(load_config, "nowhere://models/tiny")


# Precision and device


def test_dtypes_by_name():
    assert resolve_dtype("float32", "cuda") is torch.float32
    assert resolve_dtype("bfloat16", "cpu") is torch.bfloat16
    assert resolve_dtype("float16", "cpu") is torch.float16


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({}, torch.float32),
        ({"avx512_bf16": False, "amx_bf16": False, "avx2": True}, torch.float32),
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
    ],
)
def test_auto_is_bfloat16_on_cpus_that_multiply_it(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert resolve_dtype("auto", "cpu") is expected


@pytest.mark.parametrize(("has_bfloat16", "expected"), [(True, torch.bfloat16), (False, torch.float16)])
def test_auto_is_half_precision_on_a_gpu(monkeypatch, has_bfloat16, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bfloat16)
    assert resolve_dtype("auto", "cuda") is expected


@pytest.mark.parametrize("has_gpu", [True, False])
def test_devices(monkeypatch, has_gpu):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    assert resolve_device("auto") == ("cuda" if has_gpu else "cpu")
    assert resolve_device("cpu") == "cpu"
    if has_gpu:
        assert resolve_device("cuda") == "cuda"
    else:
        assert error_of(resolve_device, "cuda") == (
            "model.device is cuda, but no GPU is visible here: set it to auto or cpu"
        )


def test_the_dtype_asked_for_is_the_models(tiny_model_folder):
    for dtype in (torch.bfloat16, torch.float32):
        lm = load_tiny_model(tiny_model_folder, dtype=str(dtype).removeprefix("torch."))
        assert {parameter.dtype for parameter in lm.model.model.parameters()} == {dtype}
        assert lm.model.dtype is dtype


# Random weights


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def test_random_weights_are_seeded_and_leave_the_generator_alone(tiny_model_folder, tmp_path):
    """A folder with configuration and processor is enough."""
    bare = shutil.copytree(
        tiny_model_folder, tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors")
    )
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = load_tiny_model(str(bare), random_weights=True).model.model
    assert torch.equal(torch.rand(3), expected)
    second = load_tiny_model(str(bare), random_weights=True).model.model
    assert same_weights(first, second)
    assert not same_weights(first, type(first)(first.config))
    assert torch.get_default_dtype() is torch.float32


def test_random_weights_answer_in_any_precision(tiny_model_folder, speech):
    lm = load_tiny_model(tiny_model_folder, random_weights=True, dtype="bfloat16")
    (audio,) = lm.encode_many([speech(5)])
    assert audio.embeds.dtype is torch.bfloat16
    assert np.isfinite(lm.answer(audio, "Who?", ["Ann", "Ben"]).choice_probabilities).all()


# Fingerprints


def fingerprint_of(path, **options) -> str:
    return fingerprint(ModelOptions(path=str(path), **options))


def test_a_copy_has_the_same_fingerprint_wherever_it_is(tiny_model_folder, model_copy, remote_model):
    expected = fingerprint_of(tiny_model_folder)
    assert fingerprint_of(model_copy) == fingerprint_of(remote_model) == expected
    (model_copy / ".lock").touch()  # hidden files can't change an answer
    assert fingerprint_of(model_copy) == expected
    assert fingerprint_of(model_copy, random_weights=True) != expected


@pytest.mark.parametrize("place", [0.01, 0.3, 0.9])
def test_another_weight_is_another_fingerprint(tiny_model_folder, model_copy, place):
    data = bytearray((model_copy / WEIGHTS).read_bytes())
    data[int(place * len(data))] ^= 1
    (model_copy / WEIGHTS).write_bytes(data)
    assert fingerprint_of(model_copy) != fingerprint_of(tiny_model_folder)


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "chat_template.jinja", "generation_config.json"]
)
def test_another_word_in_a_small_file_is_another_fingerprint(tiny_model_folder, model_copy, name):
    path = model_copy / name
    path.write_text(path.read_text().replace("assistant", "servant", 1) + "\n")
    assert fingerprint_of(model_copy) != fingerprint_of(tiny_model_folder)


def test_a_file_more_is_another_fingerprint(tiny_model_folder, model_copy):
    (model_copy / "added_tokens.json").write_text("{}")
    assert fingerprint_of(model_copy) != fingerprint_of(tiny_model_folder)
