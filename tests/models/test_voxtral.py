"""What is Voxtral's own and not in the conformance suite."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from speechprune import SpeechLM
from speechprune.models.base import Window
from speechprune.models.loading import load_model
from speechprune.models.options import ModelOptions
from tests.helpers.loaded import error_of, same_weights
from tests.helpers.tiny_models import load_tiny_model
from tests.helpers.tiny_voxtral import save_tiny_voxtral
from tests.models.test_hub import hub_of, set_endpoint

COMMIT = "0" * 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return Path(save_tiny_voxtral(tmp_path_factory.mktemp("voxtral")))


@pytest.fixture(scope="module")
def lm(folder) -> SpeechLM:
    return load_tiny_model(str(folder))


def test_silence_behind_the_sound_has_the_time_of_its_end_and_seconds_of_its_own(lm):
    sound = np.zeros(16_000 * 30 + 16_000 * 2 + 100, np.int16)
    windows = [Window(sound[: 16_000 * 30], 100.0), Window(sound[16_000 * 30 :], 130.0)]
    times = np.concatenate([lm.model.token_times(window) for window in windows])
    np.testing.assert_allclose(times[:400, 0], 100 + np.arange(400) / 12.5)
    np.testing.assert_allclose(times[:400, 1], 100 + np.arange(1, 401) / 12.5)
    np.testing.assert_allclose(times[400:], [[132, 132 + 100 / 16_000]] * 350)
    frames = lm.model.frame_starts(times)
    assert len(frames) - 1 == 60
    assert set(np.diff(frames)) == {12, 13}


def test_it_comes_from_the_hub_and_then_from_its_cache(folder, lm, tmp_path, monkeypatch):
    """Its tokenizer too, for whose file transformers looks only where it can list a repository."""
    with hub_of(folder, tmp_path, monkeypatch):
        downloaded = load_tiny_model("team/tiny", revision=COMMIT)
        assert same_weights(downloaded.model.model, lm.model.model)
    set_endpoint(monkeypatch, tmp_path, "http://127.0.0.1:1")
    monkeypatch.setattr("speechprune.models.hub.time.sleep", lambda seconds: None)
    cached = load_tiny_model("team/tiny", revision=COMMIT).model
    chat = cached.render_chat("Who?")
    assert cached.tokenizer(chat)["input_ids"] == lm.model.tokenizer(chat)["input_ids"]


@pytest.mark.parametrize(
    ("name", "old", "new", "sentence"),
    [
        ("tekken.json", None, None, "file named tekken.json"),
        ("tekken.json", "[BEGIN_AUDIO]", "[IMG]", "tekken.json of model {} has no [BEGIN_AUDIO]: get both"),
        (
            "config.json",
            '"audio_token_id": 24',
            '"audio_token_id": 3',
            "no [AUDIO] at 3, where config.json has it",
        ),
        (
            "preprocessor_config.json",
            '"feature_size": 80',
            '"feature_size": 128',
            "gives 128 mel bins by 3000",
        ),
        ("config.json", '"model_type": "voxtral"', '"model_type": "voxtral_realtime"', "nearest is voxtral;"),
    ],
)
def test_another_models_files_are_one_line(folder, tmp_path, name, old, new, sentence):
    damaged = Path(shutil.copytree(folder, tmp_path / "damaged"))
    text = (damaged / name).read_text()
    if old is None:
        (damaged / name).unlink()
    else:
        assert old in text
        (damaged / name).write_text(text.replace(old, new))
    assert sentence.format(damaged) in error_of(load_model, ModelOptions(path=str(damaged), device="cpu"))
