"""What is Gemma 4's own and not in the conformance suite: its repository's layout, other variants, times."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from speechprune.models.gemma4 import Gemma4, num_mel_frames
from speechprune.models.loading import check_model, load_model, model_shape
from speechprune.models.options import ModelOptions
from tests.helpers.loaded import error_of
from tests.helpers.tiny_gemma4 import save_tiny_gemma4
from tests.helpers.tiny_models import load_tiny_model

OPTIONS = {"dtype": "float32", "device": "cpu"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> str:
    return save_tiny_gemma4(tmp_path_factory.mktemp("gemma"))


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def test_the_vision_encoder_takes_no_memory(saved):
    model = load_tiny_model(saved).model.model
    assert {name for name, _ in model.model.named_children()} == {
        "language_model",
        "audio_tower",
        "embed_audio",
    }


def test_logits_stay_inside_their_range(saved):
    head = load_tiny_model(saved).model.language_model.head
    assert head(100 * torch.randn(4, 64)).abs().max() <= 30


def test_a_token_is_40_ms_up_to_the_end_of_the_sound(saved, speech):
    (audio,) = load_tiny_model(saved).encode_many([speech(2.03)], [100.0])
    starts, ends = (audio.times - 100).T
    assert starts == pytest.approx(np.arange(51) * 0.04)
    assert ends == pytest.approx([*np.arange(1, 51) * 0.04, 2.03])
    assert np.diff(audio.frame_starts).tolist() == [25, 25, 1]


def test_the_borders_of_short_and_full_windows_are_those_of_mel_frames():
    assert num_mel_frames(Gemma4.min_window_samples - 1) == 0
    assert num_mel_frames(Gemma4.min_window_samples) == 1
    assert num_mel_frames(Gemma4.full_window_samples - 1) == 2998
    assert num_mel_frames(Gemma4.full_window_samples) == num_mel_frames(480_000) == 2999


def test_a_model_without_an_audio_encoder_is_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"audio_config": None}))
    message = error_of(check_model, ModelOptions(path=str(folder)))
    assert "is a Gemma 4 without an audio encoder: give one that has it" in message


def test_text_alone_is_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config["text_config"]))
    message = error_of(check_model, ModelOptions(path=str(folder)))
    assert "is a gemma4_text; the nearest is gemma4" in message


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (
            lambda folder: _drop(folder, "model.embed_audio.embedding_projection.weight"),
            "is incomplete: 1 we",
        ),
        (lambda folder: (folder / "chat_template.jinja").unlink(), "has no chat template"),
        (lambda folder: (folder / "processor_config.json").unlink(), "can't be loaded"),
        (
            lambda folder: _change_mel_bins(folder),
            "gives 20 mel bins every 160 samples, its encoder takes 16",
        ),
    ],
)
def test_a_part_of_the_model_is_refused(folder, damage, sentence):
    damage(folder)
    assert sentence in error_of(load_model, ModelOptions(path=str(folder), **OPTIONS))


def _drop(folder: Path, name: str) -> None:
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    file = folder / index["weight_map"][name]
    weights = load_file(file)
    del weights[name]
    save_file(weights, file, metadata={"format": "pt"})


def _change_mel_bins(folder: Path) -> None:
    processor = json.loads((folder / "processor_config.json").read_text())
    processor["feature_extractor"]["feature_size"] = 20
    (folder / "processor_config.json").write_text(json.dumps(processor))


def test_the_published_sizes():
    shape = model_shape("gemma-4-e2b")
    decoder = shape.decoder
    embeddings = decoder.vocab_size * (decoder.hidden_size + 35 * decoder.per_layer_size)
    assert (decoder.num_weights + embeddings) == pytest.approx(4.63e9, rel=1e-2)
    assert decoder.all_keys_size == 12 * 256 + 3 * 512  # of the 15 layers that have keys
    assert shape.token_rate == 25
