"""Speech to text with Whisper: segments with times, of windows of at most 30 s."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import LogitsProcessor

from speechprune.audio import MEL_HOP_SAMPLES, SAMPLE_RATE, SILENCE_PEAK
from speechprune.models.base import Window
from speechprune.models.cpu_threads import one_thread
from speechprune.models.log_mel import LogMel
from speechprune.models.speech_checks import Checks, Written
from speechprune.models.word_times import AlignmentHeads, begin_positions

TIMESTAMP_SECONDS = 0.02
MEL_FRAMES_PER_TIMESTAMP = 2
UNFINISHED = "\ufffd"  # decoded from a part of a letter
MAX_PASSES = 4  # over one window
SHORTEST_REST = 50  # mel frames: what Whisper leaves at a window's end is taken up again from this length on


@dataclass(frozen=True)
class Segment:
    """A stretch of text with a time of its own: a word or a part of it, else a sentence."""

    start_seconds: float  # in the recording
    end_seconds: float
    text: str  # with the space before it


@dataclass(frozen=True)
class Transcript:
    """What Whisper writes down of one window."""

    segments: list[Segment] = field(default_factory=list)
    pass_tokens: list[int] = field(default_factory=list)  # tokens written in each pass, for the cost


class Piece(NamedTuple):
    """A sentence among the tokens of one pass."""

    begin: int  # times in units of 20 ms from where the pass begins
    end: int | None  # None: that of the sound
    tokens: slice


class Transcriber:
    """Whisper behind its own ``generate``: greedy, each window for itself, language found for each.

    A batch keeps one shape in all of its passes, so that a window's text doesn't depend on the others. Words
    have times where the generation config names ``alignment_heads``, else only sentences have.

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
        heads = getattr(ids, "alignment_heads", None)
        self._alignment = AlignmentHeads(model, heads) if heads else None

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
            for k, (i, written) in enumerate(
                zip(rows, self._write(_from(features, starts, filled)), strict=False)
            ):
                transcripts[i].pass_tokens.append(len(written.tokens))
                pieces, rest = self._split(written.tokens)
                window, origin = windows[i], starts[i] * MEL_HOP_SAMPLES / SAMPLE_RATE
                num_positions = -(-(ends[i] - starts[i]) // MEL_FRAMES_PER_TIMESTAMP)
                starts[i] = ends[i] if rest is None else starts[i] + rest * MEL_FRAMES_PER_TIMESTAMP
                if self._checks.discard(written):
                    starts[i] = ends[i]
                    continue
                seconds = len(window.samples) / SAMPLE_RATE
                for begin, end, text in self._timed_text(k, written, pieces, num_positions):
                    start = origin + begin * TIMESTAMP_SECONDS
                    stop = min(seconds, origin + end * TIMESTAMP_SECONDS)
                    if start < stop:
                        own = Segment(window.start_seconds + start, window.start_seconds + stop, text)
                        transcripts[i].segments.append(own)
        return transcripts

    def alignment_flops(self, num_written: int) -> int:
        """FLOPs of the times of words in a pass that writes some tokens."""
        positions = self.model.config.max_source_positions
        return self._alignment.flops(num_written, positions) if self._alignment else 0

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
        if self._alignment:
            self._alignment.clear()
        with one_thread():
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

    def _split(self, tokens: Sequence[int]) -> tuple[list[Piece], int | None]:
        """Split the tokens of a pass at its times.

        Returns
        -------
        tuple
            The sentences, and where the next pass begins: at a sentence without an end behind one that has
            one, else None.
        """
        pieces: list[Piece] = []
        start, first = 0, 0  # of the sentence that is being read: its begin, its first token
        is_open = has_text = False
        for place, token in enumerate(tokens):
            if token < self._end:
                has_text = True
            elif token >= self._first_timestamp:
                time = token - self._first_timestamp
                is_open = not has_text
                if has_text:
                    pieces.append(Piece(start, time, slice(first, place)))
                start, first, has_text = time, place + 1, False
        if not pieces:
            last = len(tokens) - (tokens[-1] == self._end)
            return ([Piece(start, None, slice(first, last))] if has_text else []), None
        return pieces, start if is_open or has_text else None

    def _timed_text(
        self, row: int, written: Written, pieces: Sequence[Piece], num_positions: int
    ) -> Iterator[tuple[int, int, str]]:
        """Give begin and end, in units of 20 ms, and text of each word or sentence of a pass.

        - ``row``: the pass's row in its batch.
        - ``num_positions``: the encoder's positions of the sound; text behind them is invented.
        """
        attention = None
        if self._alignment and pieces:
            attention = self._alignment.attention(row, len(written.tokens), num_positions)
        for begin, end, place in pieces:
            stop = num_positions if end is None else min(end, num_positions)
            ids = written.tokens[place]
            if begin >= stop or not self._decode(ids).strip():
                continue
            first, cuts = 0, [begin] * len(ids) + [stop]
            if attention is not None:
                cuts[:-1] = (begin + begin_positions(attention[place, begin:stop])).tolist()
            for last in range(1, len(cuts)):
                text = self._decode(ids[first:last])
                if last == len(ids) or (cuts[last] > cuts[first] and UNFINISHED not in text):
                    yield cuts[first], cuts[last], text
                    first = last

    @property
    def _end(self) -> int:
        """The closing token: text has smaller ids, control tokens and times larger ones."""
        end: int = self.model.config.eos_token_id
        return end

    def _decode(self, ids: Sequence[int]) -> str:
        """Decode the text among some tokens."""
        text_ids = [token for token in ids if token < self._end]
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
