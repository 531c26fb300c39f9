"""The public face, used as in a notebook."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechprune import AnsweringOptions, NoPruning, SpeechPrune, Truncate
from speechprune.audio import SAMPLE_RATE, AudioNotFound
from speechprune.inference.prompts import PromptError
from speechprune.models.qwen2_audio import WINDOW_SAMPLES
from speechprune.models.whisper_family import num_audio_tokens
from tests.helpers.tiny_models import load_tiny_model

QUESTION, CHOICES = "When is the review?", ["Monday", "Tuesday", "Thursday", "Friday"]


@pytest.fixture(scope="module")
def recording(tmp_path_factory, speech):
    path = tmp_path_factory.mktemp("recordings") / "meeting.flac"
    soundfile.write(path, speech(47), SAMPLE_RATE)
    return path


@pytest.fixture(scope="module")
def audio(tiny_lm, recording):
    return tiny_lm.encode(recording)


def test_the_line_of_the_readme(tiny_lm, audio):
    answer = tiny_lm.answer(audio, QUESTION, choices=CHOICES, method=SpeechPrune(pruning_rate=0.2))
    assert answer.prediction_text == CHOICES["ABCD".index(answer.prediction)]
    assert sum(answer.choice_probabilities) == pytest.approx(1)
    assert len(answer.choice_probabilities) == 4
    assert answer.num_kept_tokens == len(answer.kept_indices) == 600
    assert answer.num_audio_tokens == 47 * 25
    assert answer.evidence
    assert answer.cost.tflops_total > answer.cost.tflops_encode > 0
    default = tiny_lm.answer(audio, QUESTION, CHOICES)
    np.testing.assert_array_equal(default.kept_indices, answer.kept_indices)


def test_every_source_is_encoded_alike(tiny_lm, recording, audio, speech):
    for source in (str(recording), recording.read_bytes(), recording.open("rb"), (speech(47), SAMPLE_RATE)):
        assert torch.equal(tiny_lm.encode(source).embeds, audio.embeds)


def test_a_token_a_twenty_fifth_of_a_second_and_times_from_the_files_beginning(tiny_lm, recording, audio):
    assert audio.embeds.shape == (47 * 25, 64)
    assert audio.seconds == 47
    np.testing.assert_allclose(audio.times[:, 0], np.arange(47 * 25) / 25)
    np.testing.assert_allclose(audio.times[:, 1] - audio.times[:, 0], 1 / 25)
    part = tiny_lm.encode(recording, start=3.5, end=36)
    assert part.embeds.shape == (round(32.5 * 25), 64)
    assert (part.times[0, 0], part.times[-1, 1]) == pytest.approx((3.5, 36), abs=0.04)


def test_windows_are_encoded_apart(tiny_lm, audio, speech):
    """The second window of a recording is what it would be as a recording of its own."""
    (tail,) = tiny_lm.encode_many([speech(17, start=30)])
    assert torch.equal(audio.embeds[750:], tail.embeds)


@settings(max_examples=30)
@given(num_samples=st.integers(1, WINDOW_SAMPLES))
def test_tokens_of_a_window_are_counted_as_hugging_face_counts_them(tiny_lm, num_samples):
    features = tiny_lm.model.processor.feature_extractor(
        np.zeros(num_samples, np.float32),
        sampling_rate=SAMPLE_RATE,
        padding="max_length",
        return_attention_mask=True,
        return_tensors="pt",
    )
    tower = tiny_lm.model.model.model.audio_tower
    _, expected = tower._get_feat_extract_output_lengths(features["attention_mask"].sum(-1))
    assert num_audio_tokens(num_samples) == max(0, int(expected))


def test_many_questions_are_answered_as_one_by_one(tiny_lm, audio, recording, speech):
    (other,) = tiny_lm.encode_many([speech(12, start=60)])
    options = AnsweringOptions(max_new_tokens=4)
    questions = [
        (audio, QUESTION, CHOICES),
        (other, "Who calls?", None),
        (str(recording), "Who speaks first?", CHOICES[:2]),
        (audio, "Why?", None),
    ]
    many = tiny_lm.answer_many(questions, options=options)
    for asked, answer in zip(questions, many, strict=True):
        alone = tiny_lm.answer(*asked, options=options)
        assert answer.prediction == alone.prediction
        np.testing.assert_array_equal(answer.kept_indices, alone.kept_indices)
    assert many[1].choice_probabilities is None
    assert many[1].prediction == many[1].prediction_text


def test_the_same_source_is_encoded_once(tiny_lm, recording, monkeypatch):
    encoded = []
    original = type(tiny_lm).encode
    monkeypatch.setattr(type(tiny_lm), "encode", lambda self, s: encoded.append(s) or original(self, s))
    path = str(recording)
    answers = tiny_lm.answer_many([(path, "Who?", CHOICES), (path, "When?", CHOICES)], method=Truncate())
    assert encoded == [path]
    assert answers[0].cost.tflops_encode == answers[1].cost.tflops_encode


def test_what_cannot_be_answered_is_raised(tiny_lm, audio, tmp_path):
    with pytest.raises(AudioNotFound, match=r"gone\.wav does not exist"):
        tiny_lm.answer(tmp_path / "gone.wav", QUESTION)
    with pytest.raises(PromptError, match="the question is empty"):
        tiny_lm.answer(audio, " ")
    for choices in ([], ["one"], [str(i) for i in range(27)]):
        with pytest.raises(ValueError, match=f"^{len(choices)} choices: give 2 to 26, or None"):
            tiny_lm.answer(audio, QUESTION, choices)
    assert (
        tiny_lm.answer(audio, QUESTION, [str(i) for i in range(26)]).prediction
        in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    )


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_implementations_answer_alike(tiny_model_folder, tiny_lm, audio, speech, attention):
    lm = load_tiny_model(tiny_model_folder, attn_implementation=attention)
    answer = lm.answer(lm.encode_many([speech(47)])[0], QUESTION, CHOICES, method=NoPruning())
    expected = tiny_lm.answer(audio, QUESTION, CHOICES, method=NoPruning())
    assert answer.choice_probabilities == pytest.approx(expected.choice_probabilities, abs=1e-4)
    assert lm.model.model.config.text_config._attn_implementation == attention


def test_the_library_imports_neither_ray_nor_a_logger():
    names = "('ray', 'av', 'loguru', 'datasets', 'rich')"
    code = f"import sys, speechprune; print([name for name in {names} if name in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output == "[]\n"
