"""What is Ultravox's own and not in the conformance suite: its parts, and tokens at a window's end."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import WhisperModel

from speechprune.models.base import Window
from speechprune.models.config_files import read_config
from speechprune.models.loading import check_model, load_model, model_shape
from speechprune.models.options import ModelOptions
from speechprune.models.ultravox_config import PINNED
from tests.helpers.loaded import WEIGHTS, edit, error_of, same_weights
from tests.helpers.tiny_models import load_tiny_model
from tests.helpers.tiny_ultravox import TOWER, save_tiny_ultravox
from tests.models.test_hub import hub_of, set_endpoint

OPTIONS = {"dtype": "float32", "device": "cpu"}
COMMIT = "0" * 40


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> str:
    return save_tiny_ultravox(tmp_path_factory.mktemp("ultravox"))


@pytest.fixture(scope="module")
def lm(saved):
    return load_tiny_model(saved)


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def split_weights(folder: Path, into: list[dict[str, torch.Tensor]]) -> None:
    """Store shards with an index, in place of the one file."""
    (folder / WEIGHTS).unlink()
    files = [f"model-{i:05}-of-{len(into):05}.safetensors" for i in range(1, len(into) + 1)]
    for file, weights in zip(files, into, strict=True):
        save_file(weights, folder / file, metadata={"format": "pt"})
    places = {name: file for file, weights in zip(files, into, strict=True) for name in weights}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


def of_tower(folder: Path, *, kept: bool) -> dict[str, torch.Tensor]:
    weights = load_file(folder / WEIGHTS)
    return {name: weight for name, weight in weights.items() if name.startswith(TOWER) == kept}


# Its parts


def test_the_published_names_are_of_one_commit_each(folder, monkeypatch):
    llama, _, whisper = PINNED
    edit(folder / "config.json", text_model_id=llama, audio_model_id=whisper)
    asked = []

    def read(path, revision=None, subfolder=""):
        asked.append((path, revision, subfolder))
        return read_config(str(folder / ("whisper" if "whisper" in path else "llama")))

    monkeypatch.setattr("speechprune.models.parts.read_config", read)
    model_shape(str(folder))
    assert asked == [(name, PINNED[name], "") for name in (llama, whisper)]


def test_the_named_encoder_is_loaded_where_its_own_weights_have_none(folder):
    edit(folder / "config.json", audio_model_id="whisper")
    projector = of_tower(folder, kept=False)
    save_file(projector, folder / WEIGHTS, metadata={"format": "pt"})
    tower = load_tiny_model(str(folder)).model.model.model.audio_tower
    assert same_weights(tower, WhisperModel.from_pretrained(folder / "whisper").encoder)


def test_a_tuned_encoder_takes_the_place_of_the_named_one(folder, lm):
    """In shards, as larger ones are saved."""
    edit(folder / "config.json", audio_model_id="whisper")
    split_weights(folder, [of_tower(folder, kept=False), of_tower(folder, kept=True)])
    tower = load_tiny_model(str(folder)).model.model.model.audio_tower
    assert same_weights(tower, lm.model.model.model.audio_tower)


def test_it_comes_from_the_hub_and_then_from_its_cache(folder, lm, tmp_path, monkeypatch):
    with hub_of(folder, tmp_path, monkeypatch):
        downloaded = load_tiny_model("team/tiny", revision=COMMIT).model
        tower = lm.model.model.model.audio_tower
        assert same_weights(downloaded.model.model.audio_tower, tower)
    set_endpoint(monkeypatch, tmp_path, "http://127.0.0.1:1")
    monkeypatch.setattr("speechprune.models.hub.time.sleep", lambda seconds: None)
    cached = load_tiny_model("team/tiny", revision=COMMIT).model
    assert same_weights(cached.model.model.language_model, lm.model.model.model.language_model)
    assert cached.render_chat("Who?") == lm.model.render_chat("Who?")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"projector_ln_mid": False}, "is an Ultravox of version 0.4.1 or older: give 0.5 or later"),
        ({"projector_act": "gelu"}, "with another projector"),
        ({"num_projector_layers": 2}, "with another projector"),
        ({"audio_latency_block_size": 100}, "for streams"),
        ({"text_model_id": None}, "text_model_id in config.json"),
        ({"text_model_id": "whisper"}, "is a whisper: give a llama"),
        ({"text_model_id": "meta-llama/Llama-9"}, "where no model is"),
        ({"audio_model_id": "../whisper"}, "give a folder beside it"),
        ({"audio_config": {"model_type": "wav2vec2"}}, "names no encoder: give a Whisper as audio_model_id"),
        ({"stack_factor": 0}, "the sizes in config.json"),
    ],
)
def test_a_wrong_entry_of_config_json_is_one_line(folder, values, sentence):
    edit(folder / "config.json", **values)
    assert sentence in error_of(check_model, ModelOptions(path=str(folder)))


def rename_weight(folder: Path, old: str, new: str) -> None:
    weights = load_file(folder / WEIGHTS)
    weights[new] = weights.pop(old) if old else torch.zeros(4, 4)
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda folder: (folder / WEIGHTS).unlink(), "can't be loaded"),
        (
            lambda folder: rename_weight(folder, "multi_modal_projector.linear_2.weight", "multi.weight"),
            "is incomplete: 1 weights, such as multi_modal_projector.linear_2.weight",
        ),
        (
            lambda folder: rename_weight(folder, "", "language_model.model.layers.0.q_proj.lora_A.weight"),
            "has weights of other parts, such as language_model.model.layers.0.q_proj.lora_A.weight",
        ),
        (lambda folder: (folder / "llama" / WEIGHTS).unlink(), "can't be loaded"),
        (lambda folder: (folder / "chat_template.jinja").unlink(), "has no chat template"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "can't be loaded"),
    ],
)
def test_a_part_that_is_missing_or_unknown_is_one_line(folder, damage, sentence):
    damage(folder)
    assert sentence in error_of(load_model, ModelOptions(path=str(folder), **OPTIONS))


# Tokens at a window's end


@pytest.mark.parametrize(
    ("num_samples", "num_tokens"),
    [(1, 1), (16 * 160, 1), (16 * 160 + 1, 2), (479_839, 188), (480_000, 188)],
)
def test_a_token_is_of_160_ms_and_ends_with_the_sound(lm, num_samples, num_tokens):
    times = lm.model.token_times(Window(np.zeros(num_samples, np.int16), 30.0))
    np.testing.assert_allclose(times[:, 0], 30 + np.arange(num_tokens) * 0.16)
    np.testing.assert_allclose(times[:-1, 1], times[1:, 0])
    assert times[-1, 1] == 30 + num_samples / 16_000
