"""A cascade without a decoder: what is refused, words and times of a best path, weights in 4 bits."""

import os
import shutil
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from speechprune.models.base import Window
from speechprune.models.ctc import BLANK, CtcTranscriber
from speechprune.models.loading import check_model, load_model
from speechprune.models.options import ModelOptions
from speechprune.models.packed_weights import pack, unpack
from tests.helpers.loaded import edit, error_of
from tests.helpers.tiny_ctc_cascade import save_tiny_ctc_cascade

FETCHED = Path(os.environ.get("SPEECHPRUNE_MODELS", Path.home() / ".cache/speechprune/models"))
REAL = FETCHED / "whisper-base-ctc-smollm2-135m"
OPTIONS = {"dtype": "float32", "device": "cpu"}
CONNECTOR = "connector.safetensors"
TEXT = " The review is on Monday."


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> str:
    return save_tiny_ctc_cascade(tmp_path_factory.mktemp("ctc"))


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"connector": None}, "give numbers for ['hidden_size', 'num_tokens']"),
        ({"connector": {"hidden_size": 16}}, "give numbers for"),
        ({"connector": {"hidden_size": 16, "num_tokens": "all"}}, "give numbers for"),
        ({"connector": {"hidden_size": 0, "num_tokens": 16}}, "connector_size is 0"),
        ({"whisper": "llm"}, "is a llama, no Whisper"),
    ],
)
def test_a_wrong_entry_of_config_json_is_one_line(folder, values, sentence):
    edit(folder / "config.json", **values)
    assert sentence in error_of(check_model, ModelOptions(path=str(folder)))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"connector.norm.bias": None}, "connector.norm.bias"),
        ({"connector.norm.bias": torch.zeros(3)}, "connector.norm.bias"),
        ({"encoder.layers.9.fc1.bias": torch.zeros(3)}, "encoder.layers.9.fc1.bias"),
        ({"token_ids": torch.arange(3, dtype=torch.int32)}, "token_ids"),
        ({"token_ids": torch.full((593,), 10_000, dtype=torch.int32)}, "token_ids"),
    ],
    ids=["missing", "other shape", "unknown", "too few tokens", "unknown tokens"],
)
def test_a_connector_of_other_models_is_one_line(folder, change, name):
    stored = load_file(folder / CONNECTOR) | change
    save_file({key: weight for key, weight in stored.items() if weight is not None}, folder / CONNECTOR)
    sentence = error_of(load_model, ModelOptions(path=str(folder), **OPTIONS))
    assert sentence.startswith(f"{name} in {CONNECTOR} of model {folder} is missing or does not fit")


def test_a_missing_connector_is_one_line(folder):
    (folder / CONNECTOR).unlink()
    assert "can't be loaded" in error_of(load_model, ModelOptions(path=str(folder), **OPTIONS))


class Known(torch.nn.Module):
    """A recogniser whose best classes are known."""

    def __init__(self, best: list[int], num_classes: int) -> None:
        super().__init__()
        self.directions = torch.zeros(num_classes - 1, 1)
        self.best = torch.nn.functional.one_hot(torch.tensor(best), num_classes).float()

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        return self.best.expand(len(features), -1, -1)


def test_words_have_the_frames_of_their_tokens_up_to_the_end_of_the_sound(saved):
    model = load_model(ModelOptions(path=saved, **OPTIONS))
    tokenizer, extractor = model.tokenizer, model.transcriber.extractor
    token_ids = tokenizer(TEXT.lstrip(), add_special_tokens=False)["input_ids"]
    known = sorted(set(token_ids))
    # each token for two frames of 80 ms, with a blank behind it, which parts equal neighbours
    path = list(chain.from_iterable((1 + known.index(id_),) * 2 + (BLANK,) for id_ in token_ids))
    transcriber = CtcTranscriber(Known(path, 1 + len(known)), extractor, tokenizer, known)
    num_samples = len(path) * 1280
    whole, short = transcriber(
        [Window(np.zeros(num_samples, np.int16), 30.0), Window(np.zeros(3 * 1280 - 1, np.int16), 0.0)]
    )
    words = [segment.text for segment in whole.segments]
    assert "".join(words) == TEXT  # the first word of a window has a space before it, too
    assert words[:2] == [" The", " review"]
    starts = [segment.start_seconds for segment in whole.segments]
    ends = [segment.end_seconds for segment in whole.segments]
    assert starts[0] == 30.0
    assert ends[-1] == pytest.approx(30.0 + (len(path) - 1) * 0.08)
    assert all(end < start for end, start in zip(ends, starts[1:], strict=False))
    assert len(short.segments) == 1
    assert TEXT.strip().startswith(short.segments[0].text.strip())
    assert short.segments[0].end_seconds == pytest.approx(0.16)


def test_weights_in_four_bits_are_off_by_half_a_step_of_their_group():
    torch.manual_seed(0)
    weights = {"a": torch.randn(3, 192) * torch.tensor([[1e-3], [1.0], [1e3]]), "b": torch.randn(5)}
    weights["a"][1, :64] = 0
    packed = pack(weights)
    assert packed["a"].dtype == torch.uint8
    assert packed["a"].shape == (3, 96)
    found = unpack(packed)
    assert found.keys() == weights.keys()
    step = weights["a"].unflatten(1, (3, 64)).abs().amax(-1, keepdim=True) / 7
    off = (found["a"] - weights["a"]).unflatten(1, (3, 64)).abs()
    assert (off <= 0.51 * step).all()
    torch.testing.assert_close(found["b"], weights["b"], rtol=1e-3, atol=0)


@pytest.mark.skipif(not REAL.is_dir(), reason="fetched by jobs/fetch_models.py")
def test_the_shipped_connector_writes_down_neither_noise_nor_music():
    model = load_model(ModelOptions(path=str(REAL), **OPTIONS))
    seconds = np.arange(10 * 16_000) / 16_000
    chord = sum(np.sin(2 * np.pi * hertz * seconds) for hertz in (262, 330, 392)) * 3000
    noise = np.random.default_rng(0).normal(0, 3000, len(seconds))
    windows = [Window(sound.astype(np.int16), 0.0) for sound in (chord, noise, 0 * noise)]
    assert model.transcribe(windows) == [[], [], []]
