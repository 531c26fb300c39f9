"""Whisper's text becomes segments with times; text of no speech is discarded."""

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, WhisperFeatureExtractor, WhisperForConditionalGeneration

from speechprune.models.base import Window
from speechprune.models.speech_checks import Checks, Written, repeated_share
from speechprune.models.whisper_text import Transcriber
from tests.helpers.scripted_whisper import UNSURE, Script, time_token
from tests.helpers.tiny_cascade import NO_CHECKS, save_tiny_cascade

RATE = 16_000
NOISE = np.random.default_rng(0).normal(0, 3000, 30 * RATE).astype(np.int16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    return save_tiny_cascade(tmp_path_factory.mktemp("cascade")) + "/whisper"


def load(folder: str, checks: Checks, *, has_word_times: bool = False) -> Transcriber:
    model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    if not has_word_times:
        del model.generation_config.alignment_heads
    extractor = WhisperFeatureExtractor.from_pretrained(folder)
    return Transcriber(model, AutoTokenizer.from_pretrained(folder), extractor, checks)


@pytest.fixture
def transcriber(folder) -> Transcriber:
    return load(folder, Checks())


def ids_of(transcriber: Transcriber, text: str) -> list[int]:
    return transcriber._tokenizer(text, add_special_tokens=False)["input_ids"]


def times_and_text(transcript) -> list[tuple[float, float, str]]:
    return [
        (pytest.approx(segment.start_seconds), pytest.approx(segment.end_seconds), segment.text)
        for segment in transcript.segments
    ]


def test_a_sentence_that_the_window_cuts_is_taken_up_in_a_second_pass(transcriber):
    first, second, third = (
        ids_of(transcriber, text) for text in (" the first", " unfinished", " to the end")
    )
    begin, middle, end = time_token(0.5), time_token(24), time_token(3)
    script = Script(
        transcriber.model,
        [[begin, *first, middle, middle, *second], [time_token(0), *third, end]],
    )
    (transcript,) = transcriber([Window(NOISE, 60.0)])
    assert times_and_text(transcript) == [(60.5, 84.0, " the first"), (84.0, 87.0, " to the end")]
    assert transcript.pass_tokens == [len(first) + len(second) + 4, len(third) + 3]
    whole, rest = script.features
    assert torch.equal(rest[..., :600], whole[..., 2400:])
    assert (rest[..., 600:] == 0).all()


def test_a_pass_ends_a_window_where_its_last_sentence_ends(transcriber):
    text = ids_of(transcriber, " all of it")
    script = Script(transcriber.model, [[time_token(0), *text, time_token(12)]])
    (transcript,) = transcriber([Window(NOISE, 0.0)])
    assert times_and_text(transcript) == [(0.0, 12.0, " all of it")]
    assert len(script.features) == 1


def test_a_text_without_an_end_goes_on_to_the_end_of_the_sound(transcriber):
    text = ids_of(transcriber, " on and")
    Script(transcriber.model, [[time_token(1), *text]])
    (transcript,) = transcriber([Window(NOISE[: 7 * RATE], 30.0)])
    assert times_and_text(transcript) == [(31.0, 37.0, " on and")]


def test_nothing_is_said_behind_the_end_of_the_sound(transcriber):
    one, two = ids_of(transcriber, " heard"), ids_of(transcriber, " invented")
    middle = time_token(4)
    Script(transcriber.model, [[time_token(0), *one, middle, middle, *two, time_token(9)]])
    (transcript,) = transcriber([Window(NOISE[: 3 * RATE], 0.0)])
    assert times_and_text(transcript) == [(0.0, 3.0, " heard")]


def test_silence_is_not_given_to_whisper(transcriber):
    script = Script(transcriber.model, [])
    silence, faint = np.zeros(30 * RATE, np.int16), np.full(RATE, 2, np.int16)
    assert [t.segments + t.pass_tokens for t in transcriber([Window(silence, 0.0), Window(faint, 0.0)])] == [
        [],
        [],
    ]
    assert script.features == []


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("you", {"is_speech": False, "sureness": UNSURE}),
        ("what is hardly audible", {"sureness": UNSURE}),
        ("1.5% " * 6, {}),
    ],
)
def test_what_nobody_says_is_no_text_and_ends_the_window(transcriber, text, options):
    ids, middle = ids_of(transcriber, text)[:25], time_token(5)
    tokens = [time_token(0), *ids, middle, middle]
    script = Script(transcriber.model, [tokens], **options)
    (transcript,) = transcriber([Window(NOISE, 0.0)])
    assert transcript.segments == []
    assert transcript.pass_tokens[0] > 1  # it has a cost
    assert len(script.features) == 1


def test_the_text_of_a_window_does_not_depend_on_its_batch(folder, speech):
    """Of four windows one is silent, and some take more passes than others."""
    transcriber = load(folder, Checks(**NO_CHECKS), has_word_times=True)
    windows = [Window(speech(length, start=9.0 * i), 30.0 * i) for i, length in enumerate((30, 7, 30))]
    windows.insert(1, Window(np.zeros(RATE, np.int16), 0.0))
    together = transcriber(windows)
    assert together == [transcriber([window])[0] for window in windows]
    assert [bool(transcript.segments) for transcript in together] == [True, False, True, True]
    assert len({len(transcript.pass_tokens) for transcript in together}) == 3


def written(
    text: str, *, no_speech: float = 0.1, log_probability: float = -0.3, ids: list[int] | None = None
):
    ids = list(range(9)) if ids is None else ids
    return Written(ids, ids, text, no_speech, log_probability)


LOOP = " and then we will go to the shop"


@pytest.mark.parametrize(
    ("one", "is_discarded"),
    [
        (written(" And so my fellow Americans, ask not"), False),
        (written(""), False),
        (written(" you", no_speech=0.61, log_probability=-0.7), True),
        (written(" And so my fellow Americans", no_speech=0.8, log_probability=-0.6), False),
        (written(" you", log_probability=-1.01), True),
        (written(LOOP), False),
        (written(LOOP * 8), True),
        (written(" you you you you you", ids=[5] * 5), True),
        (written(" no, no, no, no, never", ids=[5, 6] * 4 + [7]), False),
    ],
)
def test_each_check_is_enough_to_discard_a_text(one, is_discarded):
    assert Checks().discard(one) == is_discarded


@pytest.mark.parametrize(
    ("ids", "share"),
    [
        ([], 0),
        ([1, 2, 3], 0),
        ([4] * 4, 0),  # four times is speech
        ([4] * 5, 1),
        ([1, 2, *[4, 5] * 5], 10 / 12),
        ([1, *[4, 5, 6] * 5, 4, 5], 17 / 18),  # the last is unfinished
        ([*[1] * 5, 2, *[3] * 6], 6 / 12),
    ],
)
def test_the_repeated_share_is_the_longest_run_of_an_n_gram(ids, share):
    assert repeated_share(ids) == pytest.approx(share)
