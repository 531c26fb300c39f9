"""Questions about three spoken sentences: answered from what the connector recognises, or what Whisper does.

The language model reads its own tokens, which the connector finds in one pass of the
encoder, without a decoder.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import NamedTuple, cast

import torch
from loguru import logger
from safetensors.torch import load_file

from speechprune.benchmarks.builder.espeak import Espeak
from speechprune.benchmarks.builder.kokoro_speech import KokoroOptions, KokoroSpeech
from speechprune.benchmarks.builder.script import Script, ScriptQuestion
from speechprune.inference.no_audio import answer_without_audio
from speechprune.inference.speech_lm import SpeechLM
from speechprune.inference.types import AnsweringOptions
from speechprune.lab.connector.config import ConnectorConfig, SpeechOptions
from speechprune.lab.connector.speakers import Spoken, WindowSpeaker, load_scripts, sentences_of
from speechprune.lab.connector.start import Start, load_start
from speechprune.lab.connector.windows import BLANK, FRAMES_PER_SECOND
from speechprune.models.base import Window
from speechprune.models.cascade import Cascade
from speechprune.models.log_mel import LogMel
from speechprune.models.whisper_text import Segment, Transcriber, Transcript
from speechprune.pruning import NoPruning

Transcribe = Callable[[Sequence[Window]], list[Transcript]]


class Asked(NamedTuple):
    """A question, and the sentences around what it asks for."""

    question: ScriptQuestion
    spoken: Spoken


class ConnectorTranscriber:
    """Writes down windows by the best path of the connector, words with their times.

    - ``start``: the model, with trained weights.
    """

    def __init__(self, start: Start) -> None:
        self._start = start
        self._log_mel = LogMel(start.extractor, next(start.objective.parameters()).device)

    @torch.inference_mode()
    def __call__(self, windows: Sequence[Window]) -> list[Transcript]:
        """Write down each window of a batch."""
        logits = self._start.objective.logits(self._log_mel([window.samples for window in windows]))
        return [Transcript(self._segments(best)) for best in logits.argmax(-1).tolist()]

    def _segments(self, best: Sequence[int]) -> list[Segment]:
        """Words of the best classes of the frames: repeats are one token, blanks are none."""
        words: list[tuple[int, int, list[int]]] = []  # first frame, end, classes
        frame = 0
        for place, repeats in groupby(best):
            end = frame + len(list(repeats))
            if place != BLANK:
                if words and not self._begins_word(place):
                    words[-1] = (words[-1][0], end, [*words[-1][2], place])
                else:
                    words.append((frame, end, [place]))
            frame = end
        return [
            Segment(first / FRAMES_PER_SECOND, end / FRAMES_PER_SECOND, self._start.text_of(places))
            for first, end, places in words
        ]

    def _begins_word(self, place: int) -> bool:
        text: str = self._start.text_of([place])
        return text[:1].isspace()


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
    start = load_start(config, training, Path(config.output.work_path) / "start")
    trained = load_file(Path(config.output.path) / "connector.safetensors")
    if trained.pop("token_ids").tolist() != start.token_ids:
        raise ValueError(f"{config.output.path} was trained on other texts than speech.texts")
    unknown = start.objective.bfloat16().load_state_dict(trained, strict=False).unexpected_keys
    assert not unknown, unknown
    lm = SpeechLM.from_pretrained(options.model, dtype="bfloat16", device=config.run.device)
    model = cast(Cascade, lm.model)
    transcribers: dict[str, Transcribe] = {
        "connector": ConnectorTranscriber(start),
        "whisper": model.transcriber,
    }
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
    model = cast(Cascade, lm.model)
    options = AnsweringOptions(scoring="texts", calibrate=True)
    right = dict.fromkeys(("nothing", *transcribers, "text"), 0)
    number = 0
    for number, (question, spoken) in enumerate(asked, start=1):
        (alone,) = answer_without_audio(model, [(question.question, question.choices)], options)
        if isinstance(alone, Exception):
            raise alone
        right["nothing"] += alone.prediction == question.answer
        for name, transcribe in {**transcribers, "text": partial(_write, spoken.text)}.items():
            model.transcriber = cast(Transcriber, transcribe)
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
