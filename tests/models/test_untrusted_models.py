"""A model folder can't run code, ask on the terminal or end in a traceback."""

import builtins
import json
import pickle
from pathlib import Path

import fsspec
import pytest
import torch

from speechprune.models.hub import ModelError, fetch_folder
from speechprune.models.loading import check_model, load_model
from speechprune.models.options import ModelOptions
from speechprune.models.qwen2_audio import Qwen2Audio
from tests.helpers.loaded import WEIGHTS, error_of
from tests.helpers.tiny_models import load_tiny_model

CODE_RAN = "code of the model folder was run"
OPTIONS = {"dtype": "float32", "device": "cpu"}


def edit(file: Path, **changes) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def set_size(folder: Path, name: str, value: object) -> None:
    """``name`` is dotted: a section of config.json and its key, or a key of the file itself."""
    config = json.loads((folder / "config.json").read_text())
    *section, key = name.split(".")
    (config[section[0]] if section else config)[key] = value
    (folder / "config.json").write_text(json.dumps(config))


def delete_size(folder: Path, section: str, key: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config[section][key]
    (folder / "config.json").write_text(json.dumps(config))


@pytest.fixture
def own_code(model_copy, monkeypatch) -> Path:
    """A folder whose every JSON names a class of its own code."""
    monkeypatch.setattr(builtins, "input", lambda *_: pytest.fail("asked on the terminal"))
    (model_copy / "own.py").write_text(f"raise SystemExit({CODE_RAN!r})\n")
    autos = ["AutoConfig", "AutoProcessor", "AutoFeatureExtractor", "AutoModelForCausalLM", "AutoModel"]
    auto_map = dict.fromkeys(autos, "own.Own") | {"AutoTokenizer": [None, "own.Own"]}
    for name in ("config.json", "processor_config.json", "tokenizer_config.json"):
        edit(model_copy / name, auto_map=auto_map)
    return model_copy


def test_code_beside_a_model_that_is_known_is_not_run(own_code, tiny_lm, speech):
    lm = load_tiny_model(str(own_code))
    assert type(lm.model) is type(tiny_lm.model)


@pytest.mark.parametrize(
    ("file", "changes", "sentence"),
    [
        ("config.json", {"model_type": "own"}, "is a own; supported families: "),
        ("config.json", {"model_type": None}, "is a None; supported families: "),
        (
            "processor_config.json",
            {"processor_class": "Own"},
            "needs code of its own folder, which is never run",
        ),
    ],
)
def test_a_model_that_needs_its_own_code_is_refused(own_code, file, changes, sentence):
    edit(own_code / file, **changes)
    assert sentence in error_of(load_model, ModelOptions(path=str(own_code), **OPTIONS))


class Evil:
    def __reduce__(self):
        return (SystemExit, (CODE_RAN,))


def test_pickled_weights_are_never_loaded(model_copy):
    (model_copy / WEIGHTS).unlink()
    for save in (lambda file: file.write_bytes(pickle.dumps(Evil())), lambda file: torch.save(Evil(), file)):
        save(model_copy / "pytorch_model.bin")
        for call in (check_model, load_model):
            message = error_of(call, ModelOptions(path=str(model_copy), **OPTIONS))
            assert "holds weights as pickles alone, which can hold code and are never loaded: save" in message


def test_a_pickle_beside_safetensors_is_left_alone(model_copy):
    (model_copy / "pytorch_model.bin").write_bytes(pickle.dumps(Evil()))
    load_tiny_model(str(model_copy))


@pytest.mark.parametrize("value", [0, -4, 10**12, "64", [64], None, 1.5, {}], ids=repr)
@pytest.mark.parametrize(
    "name",
    [
        "text_config.hidden_size",
        "text_config.vocab_size",
        "text_config.num_hidden_layers",
        "text_config.num_attention_heads",
        "audio_config.d_model",
        "audio_config.encoder_layers",
        "text_config",
        "audio_token_id",
    ],
)
def test_sizes_that_no_model_has_are_one_line(model_copy, name, value):
    set_size(model_copy, name, value)
    error_of(load_model, ModelOptions(path=str(model_copy), **OPTIONS))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda folder: set_size(folder, "text_config.hidden_size", 0), "head_dim is 0"),
        (lambda folder: set_size(folder, "text_config.intermediate_size", 0), "intermediate_size is 0"),
        (lambda folder: set_size(folder, "text_config.vocab_size", 2**30), "too few for the 68,7"),
        (lambda folder: set_size(folder, "text_config.vocab_size", 10**14), "no model is as large"),
        (lambda folder: set_size(folder, "audio_config.encoder_layers", 10**12), "no model is as large"),
        (lambda folder: set_size(folder, "text_config.hidden_size", "64"), "expected int, got str"),
        (lambda folder: delete_size(folder, "text_config", "hidden_size"), "incomplete"),
        (lambda folder: set_size(folder, "text_config.max_position_embeddings", -1), "takes -1 tokens"),
        (lambda folder: set_size(folder, "audio_token_id", 1), "does not hold token 1, the placeholder"),
        (lambda folder: (folder / "config.json").write_bytes(b"\xff\x00"), "can't be loaded"),
        (lambda folder: (folder / "config.json").write_text("[]"), "is a None"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "can't be loaded"),
        (lambda folder: (folder / "tokenizer.json").write_bytes(b"\xff\x00"), "can't be loaded"),
        (lambda folder: (folder / "processor_config.json").write_text("[]"), "can't be loaded"),
        (lambda folder: edit(folder / "generation_config.json", eos_token_id="end"), "eos_token_id"),
        (lambda folder: (folder / "chat_template.jinja").write_text("{{ 1 / 0 }}"), "ZeroDivisionError"),
        (lambda folder: (folder / "chat_template.jinja").write_text("{% for %}"), "can't be loaded"),
        (lambda folder: (folder / "chat_template.jinja").write_text("no audio"), "does not hold token"),
        (lambda folder: (folder / WEIGHTS).write_bytes(bytes(10**6)), "can't be loaded"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b"\xff" * 10**6), "can't be loaded"),
    ],
)
def test_a_damaged_folder_is_one_line(model_copy, damage, sentence):
    damage(model_copy)
    assert sentence in error_of(load_model, ModelOptions(path=str(model_copy), **OPTIONS))


class Faulty(Qwen2Audio):
    @classmethod
    def load(cls, source):
        raise LookupError("a bug of a family")


def test_an_error_in_a_familys_own_code_shows_its_traceback(tiny_model_folder):
    with pytest.raises(LookupError, match="a bug of a family"):
        load_model(ModelOptions(path=tiny_model_folder, family=f"{__name__}:Faulty", **OPTIONS))


def test_a_file_of_a_store_can_not_be_written_outside_the_cache(remote_model, tmp_path):
    fsspec.filesystem("memory").pipe("/models/tiny/../../../escaped", b"")
    with pytest.raises(ModelError, match="escaped, whose name leads out of it: remove that file"):
        fetch_folder(remote_model)
    assert not list(tmp_path.rglob("escaped"))
