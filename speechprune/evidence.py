"""Where in the recording an answer comes from, as spans that can be listened to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from speechprune.pruning.similarity import frame_scores

NUM_EVIDENCE_SECONDS = 5  # budget frames named as evidence; neighbours are joined to one span


@dataclass(frozen=True)
class EvidenceSpan:
    """Seconds that phase 1 ranked highest and that survived; ``score`` is their mean similarity."""

    start: float
    end: float
    score: float


def find_evidence(
    scores: np.ndarray, kept_indices: np.ndarray, times: np.ndarray, frame_tokens: int
) -> list[EvidenceSpan]:
    """The best budget frames by phase 1 that still have tokens, neighbours joined, best first.

    Parameters
    ----------
    scores
        s, shape ``(N,)``.
    kept_indices
        Tokens that survived.
    times
        Begin and end of every token, shape ``(N, 2)``.
    frame_tokens
        f.
    """
    frames = frame_scores(scores, frame_tokens)
    alive = np.unique(kept_indices // frame_tokens)
    best = np.sort(alive[np.argsort(-frames[alive], kind="stable")[:NUM_EVIDENCE_SECONDS]])
    spans: list[EvidenceSpan] = []
    for run in np.split(best, np.flatnonzero(np.diff(best) > 1) + 1):
        if len(run) == 0:
            continue
        first, last = run[0] * frame_tokens, min((run[-1] + 1) * frame_tokens, len(scores))
        score = max(float(scores[i * frame_tokens : (i + 1) * frame_tokens].mean()) for i in run)
        spans.append(EvidenceSpan(float(times[first, 0]), float(times[last - 1, 1]), score))
    return sorted(spans, key=lambda span: -span.score)
