"""Models from wherever they are, and one clear line where they are not."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from speechprune.models.config_files import read_config
from speechprune.models.hub import ModelError
from speechprune.models.loading import check_model, load_model, model_shape, parse_config
from speechprune.models.options import ModelOptions, resolve_device, resolve_dtype
from speechprune.models.qwen2_audio import Qwen2Audio
from speechprune.models.registry import MODELS
from tests.helpers.loaded import WEIGHTS, error_of, same_weights
from tests.helpers.table_i import QWEN2_AUDIO_7B
from tests.helpers.tiny_models import load_tiny_model

# Configurations


def test_the_shipped_configuration_is_qwen2_audio_7b():
    assert read_config("qwen2-audio-7b")["model_type"] == "qwen2_audio"
    family, config = parse_config("qwen2-audio-7b")
    assert family is MODELS["qwen2_audio"] is Qwen2Audio
    assert config.model_type == "qwen2_audio"
    assert model_shape("Qwen2-Audio-7B") == QWEN2_AUDIO_7B
    assert QWEN2_AUDIO_7B.token_rate == 25


@pytest.mark.parametrize(
    ("name", "token_rate", "states_size", "billion_weights"),
    [
        ("audio-flamingo-3", 25, 3584, 6.5),
        ("ultravox-v0.5-llama-3.1-8b", 188 / 30, 2048, 7.0),
        ("voxtral-mini-3b", 12.5, 3072, 3.2),
    ],
)
def test_shipped_configurations_have_the_published_sizes(name, token_rate, states_size, billion_weights):
    shape = model_shape(name)
    assert (shape.token_rate, shape.encoder.states_size) == (token_rate, states_size)
    layer_weights = shape.decoder.num_hidden_layers * shape.decoder.num_layer_weights
    assert round(layer_weights / 1e9, 1) == billion_weights
    assert shape.encoder.flops(1) / 1e12 == pytest.approx(2.28, abs=0.02)


def test_a_folder_and_its_config_file_are_the_same(tiny_model_folder):
    shape = model_shape(tiny_model_folder)
    assert shape == model_shape(f"{tiny_model_folder}/config.json")
    decoder = shape.decoder
    assert (decoder.hidden_size, decoder.num_key_value_heads, decoder.head_dim) == (64, 4, 16)


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
    assert message.startswith(f"model {tmp_path} is a whisper; supported families: ")
    assert message.endswith(" (model.family names one of your own)")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen_audio"}))
    assert "is a qwen_audio; the nearest is qwen2_audio; " in error_of(model_shape, str(tmp_path))


@pytest.mark.parametrize(
    ("family", "sentence"),
    [
        ("qwen_audio", "unknown model.family 'qwen_audio': did you mean qwen2_audio?"),
        ("whale", "unknown model.family 'whale': give "),
        ("gone.families:Whale", "model.family is 'gone.families:Whale', but there is no module gone: put"),
        ("json:JSONDecoder", "model.family is 'json:JSONDecoder', which is not a subclass of SpeechModel"),
    ],
)
def test_a_family_that_is_none_is_one_line(tiny_model_folder, family, sentence):
    for call in (load_model, check_model):
        assert error_of(call, ModelOptions(path=tiny_model_folder, family=family)).startswith(sentence)


class Renamed(Qwen2Audio):
    """A family of the user's own, for a model_type that transformers doesn't know."""

    model_types = ("ours",)

    @classmethod
    def parse_config(cls, values):
        return super().parse_config(values | {"model_type": "qwen2_audio"})


@pytest.mark.parametrize("family", ["qwen2_audio", f"{__name__}:Renamed"])
def test_the_family_named_is_the_one_that_loads(tiny_model_folder, tiny_lm, family):
    lm = load_tiny_model(tiny_model_folder, family=family)
    assert type(lm.model).__name__ == ("Renamed" if "Renamed" in family else "Qwen2Audio")
    assert same_weights(lm.model.model, tiny_lm.model.model)


def test_a_model_type_of_its_own_needs_the_family(model_copy):
    values = json.loads((model_copy / "config.json").read_text()) | {"model_type": "ours"}
    (model_copy / "config.json").write_text(json.dumps(values))
    assert "is a ours; supported families: " in error_of(model_shape, str(model_copy))
    family, config = parse_config(str(model_copy), family=f"{__name__}:Renamed")
    assert family is Renamed
    assert config.model_type == "qwen2_audio"


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
        (lambda folder: (folder / WEIGHTS).unlink(), "holds no weights"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b""), "is incomplete: its files hold 0 bytes"),
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
