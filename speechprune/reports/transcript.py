"""Transcripts with times: of a recording in an index, and of the evidence of an answer."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from speechprune import storage
from speechprune.data import Row
from speechprune.data.index_columns import STATE_COLUMNS
from speechprune.data.index_files import WindowsDirectory, read_parts, stored_parts
from speechprune.data.index_models import NotIndexed, open_index
from speechprune.inference.encoding_options import EncodingOptions
from speechprune.inference.states import load_times, load_token_ids
from speechprune.models.loading import load_transcript_tokenizer
from speechprune.models.options import ModelOptions
from speechprune.reports.answers import AnswerNotFound
from speechprune.reports.subtitles import TimedText

UNFINISHED = "\ufffd"  # decoded from a part of a letter


def read_transcript(index: str, recording: str) -> list[TimedText]:
    """Read the words of an indexed recording, with their times; of several models' the first one's.

    - ``recording``: its address, or the end of it.

    Raises
    ------
    NotIndexed
        There is no index; no model of it wrote transcripts, or none of this recording, or several addresses
        end so.
    ModelError
        The model, whose tokenizer is needed, is gone.
    """
    found: set[str] = set()
    folders = [folder for folder in storage.folders_in(index) if WindowsDirectory(folder).files()]
    if not folders:
        raise NotIndexed(f"there is no index at {index}: give the index.path of speechprune index")
    for folder in folders:
        stored = stored_parts(WindowsDirectory(folder).contents())
        own = [recording] if recording in stored else [uri for uri in stored if uri.endswith(recording)]
        found.update(own)
        if len(own) != 1:
            continue
        rows = [row for row in read_parts(stored[own[0]], STATE_COLUMNS).to_pylist() if row["num_tokens"]]
        if (token_ids := load_token_ids(rows)) is not None:
            settings = storage.read_json(storage.join(folder, "run.json"))["config"]
            options = ModelOptions(**settings["model"])
            encoding = EncodingOptions(**settings.get("encoding", {}))
            open_index(index, options, encoding)  # refuses a model that has changed since
            times = np.concatenate([load_times(row) for row in rows])
            return timed_text(load_transcript_tokenizer(options), token_ids, times)
    if len(found) > 1:
        some = ", ".join(sorted(found)[:3])
        raise NotIndexed(f"{len(found)} recordings of index {index} end in {recording}: {some}, ...")
    if found:
        raise NotIndexed(f"index {index} holds no transcript of {recording}: index it with a cascade")
    raise NotIndexed(f"index {index} does not hold {recording} completely: index it, or give its address")


def timed_text(tokenizer: Any, token_ids: np.ndarray, times: np.ndarray) -> list[TimedText]:
    """Decode tokens one by one, those together that share a letter; the parts joined are the text."""
    parts, first = [], 0
    for last in range(1, len(token_ids) + 1):
        text = tokenizer.decode(token_ids[first:last], clean_up_tokenization_spaces=False)
        if UNFINISHED not in text or last == len(token_ids):
            parts.append(TimedText(float(times[first, 0]), float(times[last - 1, 1]), text))
            first = last
    return parts


def evidence_text(answer: Row) -> list[TimedText]:
    """The transcripts of an answer's evidence by time; a span's characters share its seconds evenly.

    Raises
    ------
    AnswerNotFound
        The answer has no transcripts.
    """
    if answer["evidence_text"] is None:
        raise AnswerNotFound(
            f"{answer['item_id']} has no transcripts of its evidence: answer with a cascade, or with "
            "answering.transcribe_evidence=true"
        )
    parts = []
    spans = zip(answer["evidence"], answer["evidence_text"], strict=True)
    for span, text in sorted(spans, key=lambda pair: pair[0]["start"]):
        seconds = (span["end"] - span["start"]) / max(1, len(text))
        for word in re.finditer(r"\s*\S+", " " + text):
            first, end = (span["start"] + max(0, place - 1) * seconds for place in word.span())
            parts.append(TimedText(first, end, word.group()))
    return parts
