"""Questions about three spoken sentences: answered from what the connector recognises, or what Whisper does.

The connector writes down speech in one pass of the encoder, without a decoder.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, cast

from loguru import logger

from speechprune.benchmarks.builder.espeak import Espeak
from speechprune.benchmarks.builder.kokoro_speech import KokoroOptions, KokoroSpeech
from speechprune.benchmarks.builder.script import Script, ScriptQuestion
from speechprune.inference.no_audio import answer_without_audio
from speechprune.inference.speech_lm import SpeechLM
from speechprune.inference.types import AnsweringOptions
from speechprune.lab.connector.config import ConnectorConfig, SpeechOptions
from speechprune.lab.connector.speakers import Spoken, WindowSpeaker, load_scripts, sentences_of
from speechprune.lab.connector.start import occurring_tokens
from speechprune.models.base import Window
from speechprune.models.ctc_cascade import CtcCascade
from speechprune.models.text_cascade import TextCascade
from speechprune.models.whisper_text import Segment, Transcript
from speechprune.pruning import NoPruning

Transcribe = Callable[[Sequence[Window]], list[Transcript]]


class Asked(NamedTuple):
    """A question, and the sentences around what it asks for."""

    question: ScriptQuestion
    spoken: Spoken


def measure_answers(config: ConnectorConfig) -> dict[str, dict[str, float]]:
    """Answer questions about held-out texts in held-out voices; returns the share of right ones by voice.

    Raises
    ------
    ValueError
        A file of texts is missing, or section questions; or the connector was trained on other texts.
    ModelError
        The cascade, whose language model answers, is missing.
    """
    options = config.questions
    if options is None:
        raise ValueError("questions.model and questions.kokoro are missing, as in configs/connector.yaml")
    training, held_out = load_scripts(config.speech.texts)
    lm = SpeechLM.from_pretrained(options.model, dtype="bfloat16", device=config.run.device)
    trained = SpeechLM.from_pretrained(config.output.path, dtype="bfloat16", device=config.run.device).model
    connector = cast(CtcCascade, trained).transcriber
    if connector.token_ids != occurring_tokens(trained.tokenizer, training):
        raise ValueError(f"{config.output.path} was trained on other texts than speech.texts")
    whisper = cast(TextCascade, lm.model).transcriber
    transcribers: dict[str, Transcribe] = {"connector": connector, "whisper": whisper}
    return {
        voice: _answers(lm, ask(held_out, speaker, options.num_items), transcribers)
        for voice, speaker in _speakers(held_out, config.speech, options.kokoro).items()
    }


def _speakers(
    held_out: Sequence[Script], speech: SpeechOptions, kokoro_folder: str
) -> dict[str, WindowSpeaker]:
    """Voices that no training used: other ones of espeak-ng, and an engine of its own."""
    kokoro = KokoroSpeech(KokoroOptions(model=kokoro_folder))
    return {
        "espeak-ng": WindowSpeaker(held_out, Espeak(), "held_out", speech),
        "Kokoro": WindowSpeaker(held_out, kokoro, "training", speech),
    }


def ask(scripts: Sequence[Script], speaker: WindowSpeaker, num_items: int) -> Iterator[Asked]:
    """The first question of each script, with its key sentence and one before and behind it, spoken.

    Sentences that don't fit into a window are left out; so is a question where none fits.
    """
    rng = random.Random("questions")
    for script in scripts[:num_items]:
        question = script.questions[0]
        pieces = sentences_of(script)
        before = sum(len(turn.sentences) for turn in script.turns[: question.turn])
        key = before + question.sentence
        first = min(max(0, key - 1), max(0, len(pieces) - 3))
        spoken = speaker.say(script, pieces[first : first + 3], rng)
        if spoken.text:
            yield Asked(question, spoken)


def _answers(lm: SpeechLM, asked: Iterator[Asked], transcribers: dict[str, Transcribe]) -> dict[str, float]:
    """Share of right answers: without audio, from what is recognised, and from the true text."""
    model = cast(TextCascade, lm.model)
    options = AnsweringOptions(scoring="texts", calibrate=True)
    right = dict.fromkeys(("nothing", *transcribers, "text"), 0)
    number = 0
    for number, (question, spoken) in enumerate(asked, start=1):
        (alone,) = answer_without_audio(model, [(question.question, question.choices)], options)
        if isinstance(alone, Exception):
            raise alone
        right["nothing"] += alone.prediction == question.answer
        true_text: Transcribe = partial(_write, spoken.text)
        for name, transcribe in {**transcribers, "text": true_text}.items():
            model.transcriber = transcribe
            (audio,) = lm.encode_many([spoken.samples])
            answer = lm.answer(
                audio, question.question, question.choices, method=NoPruning(), options=options
            )
            right[name] += answer.prediction == question.answer
        if number % 20 == 0:
            logger.info("{} questions: {}", number, right)
    return {"questions": number} | {name: count / max(1, number) for name, count in right.items()}


def _write(text: str, windows: Sequence[Window]) -> list[Transcript]:
    """The same text for each window."""
    return [Transcript([Segment(0.0, 1.0, text)]) for _ in windows]
