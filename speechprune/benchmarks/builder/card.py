"""Quality card of a benchmark, as in the paper's II-C: its contents, and the score of guessing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from speechprune.data import Row
from speechprune.inference.prompts import LETTERS

NUM_PARTS = 10  # of a recording, in which critical facts are counted
NUM_FAILURES_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class QualityOptions:
    """Measurements that need models; they can also be made for a finished benchmark.

    Parameters
    ----------
    asr_model
        Speech recogniser by hub id or folder (``openai/whisper-large-v3``) for the word error rate.
    dnsmos
        Whether to let DNSMOS rate the sound.
    limit
        Number of recordings for the word error rate and for DNSMOS.
    model
        Speech LLM by hub id or folder for the no-audio baseline: its accuracy from question and
        choices alone.
    """

    asr_model: str | None = None
    dnsmos: bool = False
    limit: int = 100
    model: str | None = None

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ValueError(f"limit is {self.limit}: give at least 1 recording")


@dataclass(frozen=True, kw_only=True)
class RecordingFacts:
    """Properties of a recording that the card needs.

    Parameters
    ----------
    questions
        The manifest's rows.
    text
        Transcript.
    audio_seconds
        Length.
    """

    questions: list[Row]
    text: str
    audio_seconds: float

    @classmethod
    def of(cls, manifest_rows: list[Row], transcript: Row) -> RecordingFacts:
        """Make it from the results of ``export.manifest_rows`` and ``export.transcript_record``."""
        sentences = (sentence["text"] for turn in transcript["turns"] for sentence in turn["sentences"])
        return cls(
            questions=manifest_rows, text=" ".join(sentences), audio_seconds=transcript["audio_seconds"]
        )

    @property
    def num_words(self) -> int:
        """Number of words, as separated by spaces."""
        return len(self.text.split())

    @property
    def positions(self) -> list[float]:
        """Relative position of the middle of each critical fact, 0 to 1."""
        return [(q["evidence_start"] + q["evidence_end"]) / 2 / self.audio_seconds for q in self.questions]

    @property
    def wrong_choices_spoken(self) -> list[bool]:
        """Whether each wrong choice is spoken in the recording."""
        return [
            is_spoken(choice, self.text)
            for q in self.questions
            for letter, choice in zip(LETTERS, q["choices"], strict=False)
            if letter != q["answer"]
        ]


def card_values(
    recordings: Sequence[RecordingFacts], failures: dict[str, str], speech: str
) -> dict[str, Any]:
    """Count everything that the card shows.

    Parameters
    ----------
    recordings
        All finished recordings.
    failures
        Reasons for the missing ones, by their ids.
    speech
        Source of the speech, as ``speech.kind`` names it.
    """
    places = [recording.questions[0] for recording in recordings]
    questions = [question for recording in recordings for question in recording.questions]
    seconds = [recording.audio_seconds for recording in recordings]
    words = [recording.num_words for recording in recordings]
    num_choices = max((len(question["choices"]) for question in questions), default=0)
    letters = {
        letter: sum(question["answer"] == letter for question in questions)
        for letter in LETTERS[:num_choices]
    }
    positions = [position for recording in recordings for position in recording.positions]
    wrong_choices = [spoken for recording in recordings for spoken in recording.wrong_choices_spoken]
    return {
        "num_recordings": len(recordings),
        "num_questions": len(questions),
        "failures": failures,
        "hours": sum(seconds) / 3600,
        "seconds": _spread(seconds),
        "words": _spread(words),
        "words_per_minute": 60 * sum(words) / sum(seconds) if seconds else None,
        "scenarios": _counts(place["scenario"] for place in places),
        "topics": _counts(f"{place['scenario']}: {place['topic']}" for place in places),
        "num_subtopics": len({(p["scenario"], p["topic"], p["subtopic"]) for p in places}),
        "speech": speech,
        "num_voices": len({voice for place in places for voice in place["voices"]}),
        "voice_groups": _counts(place["voice_group"] for place in places),
        "letters": letters,
        "letters_p": float(stats.chisquare(list(letters.values())).pvalue) if questions else None,
        "majority_letter_accuracy": max(letters.values()) / len(questions) if questions else None,
        "positions": np.histogram(positions, NUM_PARTS, (0, 1))[0].tolist(),
        "positions_p": float(stats.kstest(positions, "uniform").pvalue) if positions else None,
        "wrong_choices_heard": sum(wrong_choices) / len(wrong_choices) if wrong_choices else None,
    }


def is_spoken(choice: str, text: str) -> bool:
    """Return whether a choice is spoken word for word."""
    return f" {_plain(choice)} " in f" {_plain(text)} "


def _plain(text: str) -> str:
    return " ".join(re.findall(r"[\w']+", text.lower()))


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {"mean": sum(values) / len(values), "min": min(values), "max": max(values)}


def _counts(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def card_markdown(values: dict[str, Any]) -> str:
    """Format the card as ``README.md``.

    Parameters
    ----------
    values
        Result of ``card_values``; with ``no_audio`` (``model``, ``num_questions``, ``accuracy``),
        ``recognition`` (``model``, ``num_recordings``, ``word_error_rate``) and ``dnsmos``
        (``num_recordings``, and the ratings) where they were measured, each with its ``date``.
    """
    lines = [
        "# Benchmark of speech information retrieval",
        "",
        f"{values['num_recordings']:,} recordings, {values['num_questions']:,} questions, "
        f"{values['hours']:.2f} hours of speech.",
        "",
        "`manifest.jsonl` is what `jobs/batch_qa.py` reads, `spiral.jsonl` the same in SPIRAL's form,",
        "`transcripts.jsonl` who says what and when, `run.json` the settings that made it all.",
        "",
        *(_made(values) if values["num_recordings"] else []),
        *(_missing(values["failures"]) if values["failures"] else []),
    ]
    return "\n".join(lines)


def _made(values: dict[str, Any]) -> list[str]:
    return [
        "| | mean | least | most |",
        "|---|---|---|---|",
        _spread_row("seconds", values["seconds"], ",.1f"),
        _spread_row("words", values["words"], ",.0f"),
        "",
        f"{values['words_per_minute']:.0f} words a minute, pauses included.",
        "",
        "## Can it be answered without listening?",
        "",
        "| | |",
        "|---|---|",
        f"| gold letters | {_joined(values['letters'])} |",
        f"| chance that even letters are as uneven (chi-square) | p = {values['letters_p']:.3g} |",
        f"| always the commonest letter | {values['majority_letter_accuracy']:.1%} |",
        f"| no audio | {_no_audio(values.get('no_audio'))} |",
        f"| wrong choices that are said in the recording | {values['wrong_choices_heard']:.1%} |",
        f"| critical facts in each tenth of the time | {', '.join(map(str, values['positions']))} |",
        f"| chance that even moments are as uneven (Kolmogorov-Smirnov) | p = {values['positions_p']:.3g} |",
        "",
        "## Can it be understood?",
        "",
        f"Spoken by {values['speech']} in {values['num_voices']:,} "
        f"voice{'s' if values['num_voices'] > 1 else ''}; groups: {_joined(values['voice_groups'])}.",
        "",
        f"Word error rate: {_recognition(values.get('recognition'))}",
        "",
        f"DNSMOS, 1 to 5: {_dnsmos(values.get('dnsmos'))}",
        "",
        "## What it is about",
        "",
        f"{_joined(values['scenarios'])}; {values['num_subtopics']:,} subtopics.",
        "",
        "| topic | recordings |",
        "|---|---|",
        *(f"| {name} | {count:,} |" for name, count in values["topics"].items()),
        "",
    ]


def _missing(failures: dict[str, str]) -> list[str]:
    shown = list(failures.items())[:NUM_FAILURES_SHOWN]
    more = [f"- and {len(failures) - len(shown):,} more: see card.json"] if len(failures) > len(shown) else []
    return [
        f"## {len(failures):,} recordings could not be made",
        "",
        *(f"- {name}: {reason}" for name, reason in shown),
        *more,
        "",
        "The same command tries them again.",
        "",
    ]


def _spread_row(name: str, spread: dict[str, float], form: str) -> str:
    return f"| {name} | {spread['mean']:{form}} | {spread['min']:{form}} | {spread['max']:{form}} |"


def _joined(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _no_audio(measured: dict[str, Any] | None) -> str:
    if measured is None:
        return "not measured: set `quality.model`"
    return (
        f"{measured['accuracy']:.1%} of {measured['num_questions']:,} by {measured['model']}, "
        f"{measured['date']}"
    )


def _recognition(measured: dict[str, Any] | None) -> str:
    if measured is None:
        return "not measured: set `quality.asr_model`."
    return (
        f"{measured['word_error_rate']:.1%} by {measured['model']} on "
        f"{measured['num_recordings']:,} recordings, {measured['date']}."
    )


def _dnsmos(measured: dict[str, Any] | None) -> str:
    if measured is None:
        return "not measured: set `quality.dnsmos`."
    return (
        f"{measured['overall']:.2f} overall, {measured['speech']:.2f} the speech, "
        f"{measured['background']:.2f} the background (P.835), {measured['p808']:.2f} overall (P.808), "
        f"mean of {measured['num_recordings']:,} recordings, {measured['date']}."
    )
