"""Subtitles in SubRip's format (.srt) from words with times."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from typing import NamedTuple

LINE_CHARACTERS = 42
LINES = 2
CUE_SECONDS = 7.0  # longest
PAUSE_SECONDS = 1.0  # from here on a pause separates cues
SENTENCE_CHARACTERS = 20  # a sentence's end separates cues where this much precedes it
_UNPRINTABLE = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_PIECES = re.compile(f" ?[^ ]{{1,{LINE_CHARACTERS - 1}}}| ")
_SENTENCE_END = re.compile(r"[.?!。？！]$")


class TimedText(NamedTuple):
    """A word or a part of one, with the space before it."""

    start_seconds: float
    end_seconds: float
    text: str


def as_srt(parts: Iterable[TimedText]) -> str:
    """Set words as subtitles, in cues of at most two lines of 42 characters, none empty.

    Cues follow each other without overlap, in whole milliseconds, whatever the times of the words are; hours
    may have more than two digits.
    """
    cues: list[str] = []
    end = 0
    for cue in _cues(_words(parts)):
        lines = _wrap("".join(word.text for word in cue))
        start = max(end, round(1000 * cue[0].start_seconds))
        end = max(start + 1, round(1000 * cue[-1].end_seconds))
        cues.append("\n".join([str(len(cues) + 1), f"{_clock(start)} --> {_clock(end)}", *lines]) + "\n")
    return "\n".join(cues)


def _words(parts: Iterable[TimedText]) -> Iterable[TimedText]:
    """Join parts to words of at most a line, without line ends and other control characters."""
    word = TimedText(0.0, 0.0, "")
    for start, end, text in parts:
        for piece in _PIECES.findall(_UNPRINTABLE.sub(" ", text)):
            if piece.startswith(" ") or len(word.text + piece) > LINE_CHARACTERS:
                if word.text.strip():
                    yield word
                word = TimedText(start, end, piece)
            else:
                word = TimedText(word.start_seconds if word.text else start, end, word.text + piece)
    if word.text.strip():
        yield word


def _cues(words: Iterable[TimedText]) -> Iterable[list[TimedText]]:
    """Divide words into cues: at pauses, at the ends of sentences, and where one is full."""
    cue: list[TimedText] = []
    for word in words:
        if cue:
            text = "".join(one.text for one in cue)
            is_full = len(_wrap(text + word.text)) > LINES
            is_long = word.end_seconds - cue[0].start_seconds > CUE_SECONDS
            is_pause = word.start_seconds - cue[-1].end_seconds >= PAUSE_SECONDS
            is_over = bool(_SENTENCE_END.search(text)) and len(text) >= SENTENCE_CHARACTERS
            if is_full or is_long or is_pause or is_over:
                yield cue
                cue = []
        cue.append(word)
    if cue:
        yield cue


def _wrap(text: str) -> list[str]:
    """Break text into lines, without what a reader of SubRip takes for a time."""
    return textwrap.wrap(text.strip().replace("-->", "→"), LINE_CHARACTERS, break_on_hyphens=False)


def _clock(milliseconds: int) -> str:
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02},{milliseconds:03}"
