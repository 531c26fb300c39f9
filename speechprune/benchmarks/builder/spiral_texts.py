"""SPIRAL's own texts as scripts: its JSONL, or the SPIRAL-like JSONL of a built benchmark."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from os import PathLike
from pathlib import Path
from typing import Any

from speechprune.benchmarks.builder.script import Gender, Script, ScriptQuestion, Speaker, Turn
from speechprune.benchmarks.spiral import spiral_row
from speechprune.data import Row

SPIRAL_ADDRESS = "https://github.com/linyueqian/SPIRAL_Dataset"
# SPIRAL's sentence splitter cut after these, 200 times: "I was speaking with Dr." / "Smith, a researcher ..."
_CUT_NAME = re.compile(r"\b(Dr|St)\.$")
# voices' names end in the gender: .../839_M.wav
_VOICE_GENDER = re.compile(r"_([FM])(\.wav)?$")
_GENDERS: dict[str, Gender] = {"F": "female", "M": "male"}


def read_spiral_scripts(path: str | PathLike[str]) -> list[tuple[str, Script]]:
    """Read every item's id and script.

    Sentences are those that SPIRAL's recordings were made of (``combined.sentences``); names that its
    splitter cut are whole again. A critical fact that spans several sentences becomes one sentence of the
    script, spoken in one go.

    Parameters
    ----------
    path
        ``data.jsonl``, ``data_h.jsonl``, or JSONL with the same fields.

    Raises
    ------
    ValueError
        The file is missing. Or a record can't be read: its line is named, and what is wrong.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path} is missing; SPIRAL's is at {SPIRAL_ADDRESS}")
    scripts = []
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
                scripts.append((record["metadata"]["id"], _script(record)))
            except KeyError as error:
                raise ValueError(f"{path}, line {number}: field {error} is missing") from error
            except (ValueError, TypeError, AttributeError) as error:
                raise ValueError(f"{path}, line {number}: {error}") from error
    return scripts


def _script(record: Row) -> Script:
    row = spiral_row(record, audio_root=".")
    combined = record["audio_data"]["combined"]
    key_indices = record["audio_data"]["key_sentences"]["indices"]
    turns, place = _join_sentences(record["transcript"], combined["sentences"], *key_indices)
    return Script(
        scenario=row["transcript_type"],
        topic=row["main_topic"],
        subtopic=row["subtopic"],
        speakers=tuple(
            Speaker(name=name, gender=_gender(name, combined["prompts_used"][name]))
            for name in dict.fromkeys(turn["speaker"] for turn in record["transcript"])
        ),
        turns=turns,
        questions=(
            ScriptQuestion(
                question=row["question"],
                choices=tuple(row["choices"]),
                answer=row["answer"],
                turn=place[0],
                sentence=place[1],
            ),
        ),
    )


def _gender(speaker: str, voice: str) -> Gender:
    if not (match := _VOICE_GENDER.search(voice)):
        raise ValueError(f"the voice {voice!r} of {speaker} does not end in _F or _M, for its gender")
    return _GENDERS[match[1]]


def _join_sentences(
    transcript: list[dict[str, Any]], pieces: list[str], key_start: int, key_end: int
) -> tuple[tuple[Turn, ...], tuple[int, int]]:
    """Turns of whole sentences, and the (turn, sentence) of the critical fact.

    ``pieces[key_start:key_end]`` say the fact. Where they belong to two speakers (6 of 1,012 items), the
    fact is what the second says.
    """
    if not 0 <= key_start < key_end <= len(pieces):
        raise ValueError(f"indices [{key_start}, {key_end}] are not among the {len(pieces)} sentences")
    turn_of_piece = _turns_of(["".join(turn["text"]) for turn in transcript], pieces)
    sentences: list[list[str]] = [[] for _ in transcript]
    place = (0, 0)
    for index, (piece, turn) in enumerate(zip(pieces, turn_of_piece, strict=True)):
        own = sentences[turn]
        if own and (_CUT_NAME.search(own[-1]) or key_start < index < key_end):
            own[-1] += f" {piece}"
        else:
            own.append(piece)
        if index == key_end - 1:
            place = (turn, len(own) - 1)
    turns = tuple(
        Turn(speaker=turn["speaker"], sentences=tuple(own))
        for turn, own in zip(transcript, sentences, strict=True)
    )
    return turns, place


def _turns_of(turn_texts: Sequence[str], pieces: Sequence[str]) -> list[int]:
    """Number of the turn that each piece belongs to, by counting characters; spaces differ."""
    ends = list(accumulate(_num_characters(text) for text in turn_texts))
    piece_ends = list(accumulate(map(_num_characters, pieces)))
    if piece_ends[-1] != ends[-1]:
        raise ValueError("the combined sentences are not the transcript's text")
    return [bisect_left(ends, end) for end in piece_ends]


def _num_characters(text: str) -> int:
    return len("".join(text.split()))
