"""What is Granite Speech's own and not in the conformance suite: features, versions, times, sizes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import GraniteSpeechForConditionalGeneration

from speechprune import SpeechLM
from speechprune.audio import SAMPLE_RATE
from speechprune.models.base import SplicedPrompt
from speechprune.models.granite_speech import WINDOW_SAMPLES, GraniteSpeech, num_positions
from speechprune.models.loading import check_model, load_model, model_shape
from speechprune.models.options import ModelOptions
from tests.helpers.loaded import error_of
from tests.helpers.tiny_granite_speech import (
    GraniteSpeechOracle,
    save_tiny_granite_speech,
    save_tiny_granite_speech_4,
    torchaudio_features,
)
from tests.helpers.tiny_models import load_tiny_model

OPTIONS = {"dtype": "float32", "device": "cpu"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> str:
    return save_tiny_granite_speech(tmp_path_factory.mktemp("granite"))


@pytest.fixture(scope="module")
def lm(saved) -> SpeechLM:
    return load_tiny_model(saved)


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


# Features


@pytest.mark.parametrize("loudness", [0, 1, 3000, 32_767])
@pytest.mark.parametrize("length", [257, 319, 320, 480, 5000, WINDOW_SAMPLES])
def test_features_are_those_of_torchaudio(lm, length, loudness):
    noise = np.random.default_rng(length).standard_normal((2, length)) * loudness
    windows = np.clip(noise.round(), -32_768, 32_767).astype(np.int16)
    features = lm.model.features(list(windows))
    assert features.shape == (2, num_positions(length), 32)
    for own, window in zip(features, windows, strict=True):
        expected = torchaudio_features(torch.from_numpy(window.astype(np.float32) / 32768)[None])[0]
        torch.testing.assert_close(own, expected, atol=1e-5, rtol=0)


def test_shorter_sound_has_no_spectrum(lm):
    assert GraniteSpeech.min_window_samples == 257
    with pytest.raises(RuntimeError, match="Padding size"):
        lm.model.features([np.ones(256, np.int16)])


# Prompts and answers


def test_full_windows_as_rows_are_the_own_forward_of_token_ids(lm, speech):
    """Which adds that the oracle's own way of windows one by one is the family's."""
    samples, oracle = speech(2 * 36), GraniteSpeechOracle(lm.model)
    inputs = oracle.inputs(samples, "Who?")
    rows = torch.cat(inputs.pop("windows"))
    with torch.inference_mode():
        own = oracle._model.whole(**inputs, input_features=rows).logits[0, -1] / 2.0
    torch.testing.assert_close(own, oracle.logits(samples, "Who?"), atol=1e-5, rtol=0)


def test_a_later_version_has_no_adapter_and_a_template_without_system_prompt(tmp_path, speech):
    folder = save_tiny_granite_speech_4(tmp_path)
    lm = load_tiny_model(folder)
    assert lm.model.render_chat("Who?") == "USER: <|audio|>Who?\n ASSISTANT:"
    own = GraniteSpeechForConditionalGeneration.from_pretrained(folder).eval()
    assert own.lm_head.weight is not own.get_input_embeddings().weight
    (audio,) = lm.encode_many([speech(0.3)])
    prompt = SplicedPrompt(audio.embeds, [lm.model.language_model.audio_token_id] * len(audio.embeds))
    with torch.inference_mode():
        expected = own(inputs_embeds=audio.embeds[None]).logits[0, -1] / 2.0
    torch.testing.assert_close(lm.model.next_token_logits([prompt])[0], expected, atol=1e-5, rtol=0)


def test_tokens_have_the_times_of_their_block_up_to_the_end_of_the_sound(lm, speech):
    (audio,) = lm.encode_many([speech(1.25)], [100.0])
    starts, ends = (audio.times - 100).T
    assert starts == pytest.approx(np.repeat([0, 0.3, 0.6, 0.9, 1.2], 3))
    assert ends == pytest.approx(np.repeat([0.3, 0.6, 0.9, 1.2, 1.25], 3))
    assert np.diff(audio.frame_starts).tolist() == [12, 3]


# Its repository


def test_nothing_asks_for_a_package_that_is_not_needed(saved, capfd):
    load_tiny_model(saved)
    assert "peft" not in "".join(capfd.readouterr())


def test_a_model_without_its_adapter_is_refused(folder):
    (folder / "adapter_config.json").unlink()
    message = error_of(load_model, ModelOptions(path=str(folder), **OPTIONS))
    assert "lacks its adapter (adapter_config.json and weights)" in message


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"model_type": "granite_speech_plus"}, "is a granite_speech_plus; the nearest is granite_speech"),
        ({"model_type": "granite_speech_nar"}, "is a granite_speech_nar; the nearest is granite_speech"),
        ({"window_size": 4}, "the sizes in config.json"),
        ({"downsample_rate": 0}, "the sizes in config.json"),
    ],
)
def test_a_variant_is_refused(folder, change, sentence):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    assert sentence in error_of(check_model, ModelOptions(path=str(folder)))


def test_a_template_is_needed(folder):
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    del settings["chat_template"]
    file.write_text(json.dumps(settings))
    assert "has no chat template" in error_of(load_model, ModelOptions(path=str(folder), **OPTIONS))


def test_the_published_sizes():
    shape = model_shape("granite-speech-4.1-2b")
    decoder, encoder = shape.decoder, shape.encoder
    assert decoder.num_weights + 2 * decoder.vocab_size * decoder.hidden_size == pytest.approx(
        1.84e9, rel=1e-2
    )
    assert encoder.flops(1) + encoder.project_flops(1) == 1_644_715_905_024  # as torch counts
    assert (shape.token_rate, encoder.window_tokens, encoder.states_size) == (10, 360, 1024)
    assert encoder.num_positions * 320 == 36 * SAMPLE_RATE
