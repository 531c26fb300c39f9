"""Where in the recording an answer comes from, as spans that can be listened to, and where it should."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from speechprune.pruning.phase1 import frame_scores

NUM_EVIDENCE_SECONDS = 5  # budget frames named as evidence; neighbours are joined to one span
MAX_PAUSE_SECONDS = 5.0  # between frames of a span: windows without silence have neighbours far apart
MAX_TIMELINE_PARTS = 240  # of one answer: as many as a picture of a recording can show
ROUNDING_SECONDS = 1e-6  # of token times: a span that ends where a token begins doesn't overlap it


@dataclass(frozen=True)
class EvidenceSpan:
    """Seconds that phase 1 ranked highest and that survived; ``score`` is their mean similarity."""

    start: float
    end: float
    score: float


def find_evidence(
    scores: np.ndarray, kept_indices: np.ndarray, times: np.ndarray, frame_starts: np.ndarray
) -> list[EvidenceSpan]:
    """The best budget frames by phase 1 that still have tokens, best first.

    Neighbours are joined unless more than ``MAX_PAUSE_SECONDS`` lie between them, and frames whose tokens
    share their times.

    Parameters
    ----------
    scores
        s, shape ``(N,)``.
    kept_indices
        Tokens that survived.
    times
        Begin and end of every token, shape ``(N, 2)``.
    frame_starts
        Boundaries of the budget frames, shape ``(m + 1,)``.
    """
    frames = frame_scores(torch.from_numpy(scores), torch.from_numpy(frame_starts)).numpy()
    alive = np.unique(np.searchsorted(frame_starts, kept_indices, side="right") - 1)
    best = np.sort(alive[np.argsort(-frames[alive], kind="stable")[:NUM_EVIDENCE_SECONDS]])
    begins, ends = times[frame_starts[best], 0], times[frame_starts[best + 1] - 1, 1]
    gaps = begins[1:] - ends[:-1]
    is_apart = ((np.diff(best) > 1) & (gaps >= 0)) | (gaps > MAX_PAUSE_SECONDS)
    spans: list[EvidenceSpan] = []
    for run in np.split(best, np.flatnonzero(is_apart) + 1):
        if len(run) == 0:
            continue
        first, last = frame_starts[run[0]], frame_starts[run[-1] + 1]
        score = max(float(scores[frame_starts[i] : frame_starts[i + 1]].mean()) for i in run)
        spans.append(EvidenceSpan(float(times[first, 0]), float(times[last - 1, 1]), score))
    return sorted(spans, key=lambda span: -span.score)


@dataclass(frozen=True)
class TimelinePart:
    """A part of the recording: the share of its tokens that were kept, and their mean score by phase 1."""

    start: float
    end: float
    kept: float
    score: float | None  # None for methods that don't look at the question


def make_timeline(
    scores: np.ndarray | None, kept_indices: np.ndarray, times: np.ndarray, frame_starts: np.ndarray
) -> list[TimelinePart]:
    """The recording in at most ``MAX_TIMELINE_PARTS`` parts of equally many budget frames.

    For the arguments see ``find_evidence``; ``scores`` is None for methods that don't look at the question.
    """
    frames_per_part = -(-(len(frame_starts) - 1) // MAX_TIMELINE_PARTS)
    first = frame_starts[:-1:frames_per_part]
    last = np.append(first[1:], len(times)) - 1
    is_kept = np.zeros(len(times))
    is_kept[kept_indices] = 1.0

    def means(values: np.ndarray) -> list[float]:
        sums = np.add.reduceat(values.astype(np.float64), first)
        return [float(mean) for mean in np.round(sums / (last - first + 1), 4)]

    of_scores = [None] * len(first) if scores is None else means(scores)
    begins, ends = times[first, 0].tolist(), times[last, 1].tolist()
    return [TimelinePart(*part) for part in zip(begins, ends, means(is_kept), of_scores, strict=True)]


def evidence_text(
    spans: Sequence[EvidenceSpan], token_ids: np.ndarray | None, times: np.ndarray, tokenizer: Any
) -> list[str] | None:
    """Transcript of each span, pruned words included; None where the audio tokens are no text.

    Parameters
    ----------
    token_ids
        Of the recording's tokens, shape ``(N,)``, or None.
    times
        Begin and end of every token, shape ``(N, 2)``.
    """
    if token_ids is None:
        return None
    texts = []
    for span in spans:
        inside = (times[:, 0] >= span.start) & (times[:, 1] <= span.end)
        texts.append(tokenizer.decode(token_ids[inside], clean_up_tokenization_spaces=False).strip())
    return texts


def are_nominal(times: np.ndarray, frame_starts: np.ndarray) -> bool:
    """Whether budget frames divide tokens that share one time: no second of the recording is theirs."""
    return bool((np.diff(times[frame_starts[:-1], 0]) == 0).any())


def evidence_recall(
    kept_indices: np.ndarray, times: np.ndarray, gold_span: tuple[float, float]
) -> float | None:
    """Share of the critical fact's audio tokens that survived pruning.

    recall = |G ∩ kept| / |G|, where G are the tokens whose time overlaps the gold span:
    min(end of token, end of span) > max(begin of token, begin of span).

    Parameters
    ----------
    kept_indices
        Tokens that survived, shape ``(k,)``.
    times
        Begin and end of every token, in seconds of the recording, shape ``(N, 2)``.
    gold_span
        Begin and end of the critical fact, in seconds of the recording, not of the slice of it that was
        asked about.

    Returns
    -------
    float or None
        0 to 1. None where G is empty, as the span lies outside of the slice that was asked about: there
        was nothing that pruning could have kept or lost. Of a span that lies partly outside, the part
        inside counts.
    """
    begin, end = gold_span
    overlap_seconds = np.minimum(times[:, 1], end) - np.maximum(times[:, 0], begin)
    gold = np.flatnonzero(overlap_seconds > ROUNDING_SECONDS)
    return float(np.isin(gold, kept_indices).mean()) if len(gold) else None
