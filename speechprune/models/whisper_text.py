"""Speech to text with Whisper: segments with times, of windows of at most 30 s."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers import LogitsProcessor

from speechprune.audio import MEL_HOP_SAMPLES, SAMPLE_RATE, SILENCE_PEAK
from speechprune.models.base import Window
from speechprune.models.log_mel import LogMel

TIMESTAMP_SECONDS = 0.02
MEL_FRAMES_PER_TIMESTAMP = 2
MAX_PASSES = 4  # over one window
SHORTEST_REST = 50  # mel frames: what Whisper leaves at a window's end is taken up again from this length on
LEAST_REPEATS = 5  # of an n-gram in a row: fewer are speech


@dataclass(frozen=True)
class Segment:
    """A stretch of text, as Whisper divides it."""

    start_seconds: float  # in the recording
    end_seconds: float
    text: str  # with the space before it


@dataclass(frozen=True)
class Transcript:
    """What Whisper writes down of one window."""

    segments: list[Segment] = field(default_factory=list)
    pass_tokens: list[int] = field(default_factory=list)  # tokens written in each pass, for the cost


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

    The first three are Whisper's own, with its own limits. Whisper joins the first two and decodes again,
    sampled, where another fails; here nothing is sampled, and each of them is enough: on silence Whisper base
    writes "you" at a mean log probability of -0.8.

    Parameters
    ----------
    no_speech_threshold
        Highest probability of Whisper's token for no speech.
    logprob_threshold
        Lowest mean log probability of a token.
    compression_ratio_threshold
        Highest ratio of the text's bytes to their size by zlib: text in a loop is compressed well.
    repeated_share_threshold
        Highest share of the tokens that repetitions of one n-gram in a row may make up.
    """

    no_speech_threshold: float = 0.6
    logprob_threshold: float = -1.0
    compression_ratio_threshold: float = 2.4
    repeated_share_threshold: float = 0.5

    def discard(self, written: Written) -> bool:
        """Whether the text of a pass is taken for no speech."""
        text = written.text.encode()
        return (
            written.no_speech_probability > self.no_speech_threshold
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


class Transcriber:
    """Whisper behind its own ``generate``: greedy, each window for itself, language found for each.

    A batch keeps one shape in all of its passes, so that a window's text doesn't depend on the others.

    - ``model``: a loaded ``WhisperForConditionalGeneration`` in eval mode, with its generation config.
    - ``tokenizer``, ``extractor``: its tokenizer and its ``WhisperFeatureExtractor``.
    """

    def __init__(self, model: Any, tokenizer: Any, extractor: Any, checks: Checks) -> None:
        self.model = model
        self._tokenizer = tokenizer
        self._checks = checks
        self._log_mel = LogMel(extractor, model.device)
        ids = model.generation_config
        self._first_timestamp = ids.no_timestamps_token_id + 1
        self._no_speech = ids.no_timestamps_token_id - 1
        self._languages = dict(ids.lang_to_id) if ids.is_multilingual else {}

    @torch.inference_mode()
    def __call__(self, windows: Sequence[Window]) -> list[Transcript]:
        """Write down each window of a batch.

        Whisper leaves out a sentence that the end of its input cuts: the next pass begins there, as its own
        decoder's does. A window of silence is not given to it.
        """
        features = self._log_mel([window.samples for window in windows])
        ends = [-(-len(window.samples) // MEL_HOP_SAMPLES) for window in windows]
        starts = [
            0 if _peak(window.samples) >= SILENCE_PEAK else end
            for window, end in zip(windows, ends, strict=True)
        ]
        transcripts = [Transcript() for _ in windows]
        for number in range(MAX_PASSES):
            least = SHORTEST_REST if number else 1
            rows = [i for i in range(len(windows)) if ends[i] - starts[i] >= least]
            if not rows:
                break
            filled = (rows + [rows[0]] * len(windows))[: len(windows)]
            for i, written in zip(rows, self._write(_from(features, starts, filled)), strict=False):
                transcripts[i].pass_tokens.append(len(written.tokens))
                pieces, rest = self._split(written.tokens)
                window, origin = windows[i], starts[i] * MEL_HOP_SAMPLES / SAMPLE_RATE
                starts[i] = ends[i] if rest is None else starts[i] + rest * MEL_FRAMES_PER_TIMESTAMP
                if self._checks.discard(written):
                    starts[i] = ends[i]
                    continue
                seconds = len(window.samples) / SAMPLE_RATE
                for begin, end, text_ids in pieces:
                    start = origin + begin * TIMESTAMP_SECONDS
                    stop = seconds if end is None else min(seconds, origin + end * TIMESTAMP_SECONDS)
                    text = self._decode(text_ids)
                    if start < stop and text.strip():  # text behind the sound is invented
                        own = Segment(window.start_seconds + start, window.start_seconds + stop, text)
                        transcripts[i].segments.append(own)
        return transcripts

    def _write(self, features: torch.Tensor) -> list[Written]:
        """Run one pass over a batch."""
        encoded = self.model.get_encoder()(features.to(self.model.dtype))
        ids = self.model.generation_config
        start = torch.full((len(features), 1), ids.decoder_start_token_id, device=features.device)
        logits = self.model(encoder_outputs=encoded, decoder_input_ids=start, use_cache=False).logits[:, -1]
        no_speech = logits.float().softmax(-1)[:, self._no_speech].tolist()
        options: dict[str, Any] = {}
        if self._languages:
            likeliest = logits[:, list(self._languages.values())].argmax(-1).tolist()
            options = {"language": [list(self._languages)[i] for i in likeliest], "task": "transcribe"}
        chosen = _ChosenLogProbabilities()
        rows = self.model.generate(
            encoder_outputs=encoded,
            attention_mask=torch.ones(len(features), 1, device=features.device),  # else it is warned of
            logits_processor=[chosen],
            return_timestamps=True,
            force_unique_generate_call=True,
            do_sample=False,
            num_beams=1,
            **options,
        ).tolist()
        log_probabilities = torch.stack(chosen.steps, dim=1).tolist()
        return [
            self._written(row, *sure) for row, *sure in zip(rows, no_speech, log_probabilities, strict=True)
        ]

    def _written(self, row: list[int], no_speech: float, log_probabilities: list[float]) -> Written:
        """Cut a generated row: Whisper's first own token is a time, its last the closing one."""
        first = next(k for k, token in enumerate(row) if token >= self._first_timestamp)
        tokens = row[first:]
        if self._end in tokens:
            tokens = tokens[: tokens.index(self._end) + 1]
        text_ids = [token for token in tokens if token < self._end]
        mean = float(np.mean(log_probabilities[: len(tokens)]))
        return Written(tokens, text_ids, self._decode(text_ids), no_speech, mean)

    def _split(self, tokens: Sequence[int]) -> tuple[list[tuple[int, int | None, list[int]]], int | None]:
        """Split the tokens of a pass at its times.

        Returns
        -------
        tuple
            Start, end and text ids of each segment, times in units of 20 ms (end None: the sound's), and
            where the next pass begins: at a sentence without an end behind one that has one, else None.
        """
        pieces: list[tuple[int, int | None, list[int]]] = []
        start, text_ids = 0, list[int]()
        is_open = False
        for token in tokens:
            if token < self._end:
                text_ids.append(token)
            elif token >= self._first_timestamp:
                time = token - self._first_timestamp
                is_open = not text_ids
                if text_ids:
                    pieces.append((start, time, text_ids))
                start, text_ids = time, []
        if not pieces:
            return ([(start, None, text_ids)] if text_ids else []), None
        return pieces, start if is_open or text_ids else None

    @property
    def _end(self) -> int:
        """The closing token: text has smaller ids, control tokens and times larger ones."""
        end: int = self.model.config.eos_token_id
        return end

    def _decode(self, text_ids: list[int]) -> str:
        text: str = self._tokenizer.decode(text_ids, clean_up_tokenization_spaces=False)
        return text


class _ChosenLogProbabilities(LogitsProcessor):
    """Collects the log probability of each token that greedy decoding chooses: the likeliest."""

    def __init__(self) -> None:
        self.steps: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.steps.append(scores.float().log_softmax(-1).amax(-1))
        return scores


def _from(features: torch.Tensor, starts: Sequence[int], rows: Sequence[int]) -> torch.Tensor:
    """Shift the features of windows to where a pass begins, zeros behind them, as Whisper's decoder does."""
    shifted = torch.zeros_like(features[: len(rows)])
    for k, i in enumerate(rows):
        shifted[k, :, : features.shape[-1] - starts[i]] = features[i, :, starts[i] :]
    return shifted


def _peak(samples: np.ndarray) -> int:
    return max(int(samples.max()), -int(samples.min())) if len(samples) else 0
