"""Words have the times at which Whisper's decoder attends to them."""

import os
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, WhisperFeatureExtractor, WhisperForConditionalGeneration

from speechprune.benchmarks.builder.espeak import Espeak
from speechprune.models.base import Window
from speechprune.models.speech_checks import Checks
from speechprune.models.whisper_text import Transcriber
from speechprune.models.word_times import begin_positions
from tests.helpers.scripted_whisper import Script, time_token
from tests.helpers.tiny_cascade import IDS, NO_CHECKS, save_tiny_cascade

FETCHED = Path(os.environ.get("SPEECHPRUNE_MODELS", Path.home() / ".cache/speechprune/models"))
REAL = FETCHED / "whisper-base-smollm2-135m/whisper"
PROMPT = [IDS["<|startoftranscript|>"], IDS["<|en|>"], IDS["<|transcribe|>"]]
HEADS = [(0, 1), (1, 0)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    return save_tiny_cascade(tmp_path_factory.mktemp("cascade")) + "/whisper"


def load(folder: str) -> Transcriber:
    model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    extractor = WhisperFeatureExtractor.from_pretrained(folder)
    return Transcriber(model, AutoTokenizer.from_pretrained(folder), extractor, Checks(**NO_CHECKS))


@given(st.lists(st.integers(1, 6), min_size=1, max_size=8))
def test_a_token_begins_where_attention_moves_on_to_it(lengths):
    begins = np.cumsum([0, *lengths[:-1]])
    attention = np.full((len(lengths), sum(lengths)), -1.0)
    for row, begin, length in zip(attention, begins, lengths, strict=True):
        row[begin : begin + length] = 1.0
    assert begin_positions(attention).tolist() == begins.tolist()


def test_attention_is_that_of_the_queries_that_predict_the_tokens(folder, speech):
    """Against the attention that transformers returns in one eager forward over prompt and tokens."""
    transcriber = load(folder)
    text = transcriber._tokenizer(" the review is on Monday", add_special_tokens=False)["input_ids"]
    tokens = [time_token(0.5), *text, time_token(6)]
    script = Script(transcriber.model, [tokens])
    transcriber([Window(speech(7.0), 0.0)])
    ours = transcriber._alignment.attention(0, len(tokens) + 1, 350)
    eager = WhisperForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    with torch.inference_mode():
        attentions = eager(
            script.features[0], decoder_input_ids=torch.tensor([[*PROMPT, *tokens]]), output_attentions=True
        ).cross_attentions
    weights = torch.stack([attentions[layer][0, head] for layer, head in HEADS])[:, len(PROMPT) - 1 :, :350]
    standard = (weights - weights.mean(1, keepdim=True)) / weights.std(1, keepdim=True, unbiased=False)
    padded = torch.nn.functional.pad(standard, (3, 3), mode="reflect").numpy()
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(padded, 7, axis=-1), axis=-1).mean(axis=0)
    assert ours.shape == smooth.shape == (len(tokens) + 1, 350)
    np.testing.assert_allclose(ours, smooth, atol=2e-3)


def test_words_lie_in_order_in_their_sentences(folder, speech):
    texts = []
    for has_word_times in (True, False):
        transcriber = load(folder)
        if not has_word_times:
            transcriber._alignment = None
        first, second = (
            transcriber._tokenizer(text, add_special_tokens=False)["input_ids"]
            for text in (" the garden 你好 at nine", " and again")
        )
        middle = time_token(4)
        Script(transcriber.model, [[time_token(1), *first, middle, middle, *second, time_token(6)]])
        (transcript,) = transcriber([Window(speech(7.0), 60.0)])
        texts.append(transcript.segments)
    words, sentences = texts
    assert [segment.text for segment in sentences] == [" the garden 你好 at nine", " and again"]
    assert len(words) > len(sentences) == 2
    assert "".join(word.text for word in words) == "".join(segment.text for segment in sentences)
    assert "\ufffd" not in "".join(word.text for word in words)
    assert all(word.start_seconds < word.end_seconds for word in words)
    assert all(one.end_seconds == pytest.approx(next_.start_seconds) for one, next_ in pairwise(words))
    assert (words[0].start_seconds, words[-1].end_seconds) == pytest.approx((61.0, 66.0))
    assert any(word.end_seconds == pytest.approx(64.0) for word in words)


def test_a_sentence_shorter_than_its_tokens_still_has_words_with_a_time(folder, speech):
    transcriber = load(folder)
    text = transcriber._tokenizer(" the review is on Monday", add_special_tokens=False)["input_ids"]
    Script(transcriber.model, [[time_token(1), *text, time_token(1.04)]])
    (transcript,) = transcriber([Window(speech(7.0), 0.0)])
    assert "".join(word.text for word in transcript.segments) == " the review is on Monday"
    assert 1 <= len(transcript.segments) <= 2
    assert all(1.0 <= word.start_seconds < word.end_seconds < 1.041 for word in transcript.segments)


@pytest.mark.skipif(not REAL.is_dir(), reason="fetched by jobs/fetch_models.py")
def test_real_words_begin_where_espeak_speaks_them():
    espeak = Espeak()
    utterance = espeak.speak(
        "Good morning. The annual meeting of the garden club takes place on Thursday, in the old town hall, "
        "and everybody is invited to bring a chair.",
        next(voice for voice in espeak.voices if voice.name == "en-us+m4"),
    )
    transcriber = load(str(REAL))
    spoken = {word.text.lower(): word.start for word in utterance.words if len(word.text) > 4}
    errors = []
    for has_word_times in (True, False):
        if not has_word_times:
            transcriber._alignment = None
        (transcript,) = transcriber([Window(utterance.samples, 0.0)])
        text = "".join(segment.text for segment in transcript.segments)
        moments = np.concatenate(
            [
                np.linspace(one.start_seconds, one.end_seconds, len(one.text), endpoint=False)
                for one in transcript.segments
            ]
        )
        written = {found[0].lower(): moments[found.start()] for found in re.finditer(r"\w+", text)}
        known = spoken.keys() & written.keys()
        assert len(known) >= 10
        errors.append(np.mean([abs(written[word] - spoken[word]) for word in known]))
    assert errors[0] < min(0.15, errors[1])
