"""An adapter beside the weights of a model: merged as peft would apply it, or refused in one line."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from speechprune.models.loading import load_model
from speechprune.models.options import ModelOptions
from tests.helpers.loaded import error_of
from tests.helpers.tiny_granite_speech import ALPHA, RANK, save_tiny_granite_speech
from tests.helpers.tiny_models import load_tiny_model

OPTIONS = {"dtype": "float32", "device": "cpu"}
SETTINGS, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
QUERY = "base_model.model.language_model.model.layers.0.self_attn.q_proj.lora_"


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> str:
    return save_tiny_granite_speech(tmp_path_factory.mktemp("granite"))


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def set_up(folder: Path, **changes) -> None:
    file = folder / SETTINGS
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def change(folder: Path, tensors: dict[str, torch.Tensor | None]) -> None:
    weights = load_file(folder / WEIGHTS) | tensors
    save_file({name: weight for name, weight in weights.items() if weight is not None}, folder / WEIGHTS)


def layers(folder: Path | str) -> list[torch.nn.Module]:
    return load_tiny_model(str(folder)).model.language_model.decoder.layers


def test_the_scale_is_alpha_by_rank_or_its_root(folder):
    low, high = (load_file(folder / WEIGHTS)[f"{QUERY}{part}.weight"] for part in "AB")
    plain = layers(folder)[0].self_attn
    set_up(folder, use_rslora=True)
    scaled = layers(folder)[0].self_attn
    difference = scaled.q_proj.weight - plain.q_proj.weight
    expected = (ALPHA / RANK**0.5 - ALPHA / RANK) * high @ low
    torch.testing.assert_close(difference, expected, atol=1e-5, rtol=0)
    assert torch.equal(scaled.k_proj.weight, plain.k_proj.weight)


def test_it_is_the_same_where_peft_is_installed(saved, monkeypatch):
    expected = layers(saved)[0].self_attn.q_proj.weight
    monkeypatch.setattr("transformers.integrations.peft.is_peft_available", lambda: True)
    query = layers(saved)[0].self_attn.q_proj
    assert type(query) is torch.nn.Linear
    assert torch.equal(query.weight, expected)


def test_any_family_may_have_one(model_copy):
    """Under the names that peft gives to the modules of today's transformers."""
    name = "layers.1.mlp.up_proj"
    before = load_tiny_model(str(model_copy)).model.language_model.decoder.get_submodule(name).weight
    low, high = torch.randn(2, before.shape[1]), torch.randn(before.shape[0], 2)
    prefix = f"base_model.model.model.language_model.{name}.lora_"
    save_file({f"{prefix}A.weight": low, f"{prefix}B.weight": high}, model_copy / WEIGHTS)
    (model_copy / SETTINGS).write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 1}))
    after = load_tiny_model(str(model_copy)).model.language_model.decoder.get_submodule(name).weight
    torch.testing.assert_close(after, before + high @ low / 2)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"peft_type": "IA3"}, "is no LoRA with one scale for all layers"),
        ({"alpha_pattern": {"q_proj": 4}}, "is no LoRA with one scale for all layers"),
        ({"r": 0}, "has lora_alpha 8 and r 0"),
        ({"lora_alpha": "8"}, "has lora_alpha '8' and r 4"),
    ],
)
def test_other_settings_are_refused(folder, settings, sentence):
    set_up(folder, **settings)
    message = error_of(load_model, ModelOptions(path=str(folder), **OPTIONS))
    assert f"the adapter of model {folder} {sentence}, which can't be merged here: merge it with" in message


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        ({QUERY.replace("lora_", "lora_magnitude_vector"): torch.ones(4)}, "magnitude_vector, which"),
        ({"base_model.model.encoder.layers.0.attn.to_q.lora_A.weight": torch.ones(4, 32)}, "changes base_m"),
        ({QUERY.replace("q_proj", "qkv_proj") + "A.weight": torch.ones(4, 64)}, "qkv_proj, which"),
        ({f"{QUERY}B.weight": None}, "changes layers.0.self_attn.q_proj, which"),
        ({f"{QUERY}A.weight": torch.ones(4, 32)}, "does not fit layers.0.self_attn.q_proj"),
    ],
)
def test_other_weights_are_refused(folder, tensors, sentence):
    change(folder, tensors)
    assert sentence in error_of(load_model, ModelOptions(path=str(folder), **OPTIONS))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda folder: (folder / WEIGHTS).unlink(), "adapter_model.safetensors"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b"x" * 90), "can't be loaded"),
        (lambda folder: (folder / SETTINGS).write_text("{"), "can't be loaded"),
        (lambda folder: (folder / SETTINGS).write_text("[]"), "is no LoRA"),
    ],
)
def test_damaged_files_are_one_line(folder, damage, sentence):
    damage(folder)
    assert sentence in error_of(load_model, ModelOptions(path=str(folder), **OPTIONS))
