"""What Whisper writes where nobody speaks, and how it is recognised."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

LEAST_REPEATS = 5  # of an n-gram in a row: fewer are speech


@dataclass(frozen=True)
class Written:
    """Tokens of one pass, the closing one included, and how sure Whisper is of them."""

    tokens: list[int]
    text_ids: list[int]  # those that are neither times nor control
    text: str
    no_speech_probability: float
    mean_log_probability: float


@dataclass(frozen=True, kw_only=True)
class Checks:
    """What is taken for no speech: any of these discards the text of a pass over a window.

    The first three are Whisper's own, with its own limits. Where one fails, Whisper decodes again, sampled;
    here nothing is sampled.

    Parameters
    ----------
    no_speech_threshold
        Highest probability of Whisper's token for no speech, unless the text is certain.
    certain_logprob
        Mean log probability of a token from which on a text is certain: synthetic voices may look like no
        speech, but are written down at -0.6 and above; what Whisper base writes on noise and music is below
        -0.7, or in a loop.
    logprob_threshold
        Lowest mean log probability of a token.
    compression_ratio_threshold
        Highest ratio of the text's bytes to their size by zlib: text in a loop is compressed well.
    repeated_share_threshold
        Highest share of the tokens that repetitions of one n-gram in a row may make up.
    """

    no_speech_threshold: float = 0.6
    certain_logprob: float = -0.65
    logprob_threshold: float = -1.0
    compression_ratio_threshold: float = 2.4
    repeated_share_threshold: float = 0.5

    def discard(self, written: Written) -> bool:
        """Whether the text of a pass is taken for no speech."""
        text = written.text.encode()
        is_certain = written.mean_log_probability >= self.certain_logprob
        return (
            (written.no_speech_probability > self.no_speech_threshold and not is_certain)
            or written.mean_log_probability < self.logprob_threshold
            or len(text) / len(zlib.compress(text)) > self.compression_ratio_threshold
            or repeated_share(written.text_ids) > self.repeated_share_threshold
        )


def repeated_share(token_ids: Sequence[int]) -> float:
    """Share of the tokens in the longest run of one n-gram that stands ``LEAST_REPEATS`` times or more."""
    longest = 0
    for size in range(1, len(token_ids) // LEAST_REPEATS + 1):
        run = size  # tokens that continue the n-gram before them, and the first n-gram itself
        for token, earlier in zip(token_ids[size:], token_ids, strict=False):
            run = run + 1 if token == earlier else size
            if run >= LEAST_REPEATS * size:
                longest = max(longest, run)
    return longest / len(token_ids) if token_ids else 0.0
