"""Model stage of the index job: encodes parts of recordings to windows of the index."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import torch

from speechprune.audio import SAMPLE_RATE, AudioTooShort, Speech
from speechprune.cost import encode_flops
from speechprune.data import Row
from speechprune.data.index_columns import WINDOWS_SCHEMA
from speechprune.inference.encode import cut_windows, in_encoder_batches
from speechprune.inference.encoding_options import Cut
from speechprune.inference.states import StatesDType, store_states, store_times, stored_dtype
from speechprune.inference.timing import Timer
from speechprune.models.base import Window
from speechprune.models.options import ModelOptions
from speechprune.pipeline.answer_stage import load_in_worker, speech_of, task_rows
from speechprune.pipeline.failures import FailureLog, failure_sentence

ENCODED_SCHEMA = pa.schema(
    [*WINDOWS_SCHEMA, pa.field("error_type", pa.string()), pa.field("error", pa.string())]
)


class EncodeStage:
    """The stage with the model: encodes parts of recordings.

    - ``labels``: columns that name the model: ``model`` and ``revision``.
    - ``cut``: where windows end.
    """

    def __init__(
        self,
        *,
        model: ModelOptions,
        num_threads: int | None,
        failures: FailureLog,
        labels: dict[str, str],
        states: StatesDType,
        cut: Cut,
    ) -> None:
        self._model = load_in_worker(model, num_threads)
        self._failures = failures
        self._labels = labels | {"node": node_name()}
        self._states = stored_dtype(self._model, states)
        self._cut = cut

    def __call__(self, decoded: pa.Table) -> pa.Table:
        """Return the windows of some parts of recordings, and one row per failed part."""
        return self._encode(task_rows(decoded))

    def _encode(self, tasks: list[Row]) -> pa.Table:
        decoded_tasks = [task for task in tasks if task["error"] is None]
        failed = [_failed(task, None) for task in tasks if task["error"] is not None]
        error: Exception | None = None
        try:
            self._refuse_too_short(decoded_tasks)
            rows = self._encode_windows(decoded_tasks)
        except Exception as caught:
            error = caught
        if error is not None and len(decoded_tasks) > 1:
            return pa.concat_tables([*failed, *(self._encode([task]) for task in decoded_tasks)])
        for task in decoded_tasks:
            self._failures.note("encoding", task["task_id"], [error])
        if error is not None:
            return pa.concat_tables([*failed, _failed(decoded_tasks[0], error)])
        return pa.concat_tables([*failed, pa.Table.from_pylist(rows, ENCODED_SCHEMA)])

    def _refuse_too_short(self, tasks: list[Row]) -> None:
        for task in tasks:
            is_whole = task["start"] is None and task["end"] is None
            if is_whole and len(task["pcm"]) // 2 < self._model.min_window_samples:
                raise AudioTooShort(f"{task['audio']} is shorter than one audio token")

    def _encode_windows(self, tasks: list[Row]) -> list[Row]:
        """Encode all windows of some parts together; returns their rows."""
        if not tasks:
            return []
        watch = Timer(self._model.device)
        places = []
        for task in tasks:
            start = task["start"] or 0.0
            cut = cut_windows(self._model, np.frombuffer(task["pcm"], np.int16), start, self._cut)
            first = round(start / self._model.window_seconds)
            cut = cut or [Window(np.zeros(0, np.int16), first * self._model.window_seconds)]
            spans = _spans(cut, start, speech_of(task))
            places += [(task, first + i, *own) for i, own in enumerate(zip(cut, spans, strict=True))]
        encodable = [
            i for i, place in enumerate(places) if len(place[2].samples) >= self._model.min_window_samples
        ]
        windows = [places[i][2] for i in encodable]
        made, num_encoded = in_encoder_batches(self._model, windows, self._store_batch)
        by_place = dict(zip(encodable, made, strict=True))
        share = 1 / max(1, len(windows))
        seconds, tflops = watch.seconds() * share, encode_flops(self._model.shape, num_encoded) / 1e12 * share
        num_windows = {id(task): sum(place[0] is task for place in places) for task in tasks}
        return [
            _row(task, number, window, span, num_windows[id(task)])
            | self._labels
            | {"dtype": self._states, "width": self._model.shape.encoder.states_size}
            | _account(task, by_place.get(i), seconds, tflops)
            for i, (task, number, window, span) in enumerate(places)
        ]

    def _store_batch(self, windows: list[Window]) -> list[Row]:
        """Return the stored columns of a batch of windows; times of tokens are those that the model gives."""
        encoded = self._model.encode_windows(windows)
        norms = torch.linalg.vector_norm(self._model.project(encoded.states).float(), dim=-1).cpu().numpy()
        numbers = encoded.states if self._model.states_are_ids else encoded.states.float()
        made = []
        for i, (states, own_norms, times) in enumerate(zip(numbers, norms, encoded.times, strict=True)):
            num_tokens = len(times)
            stored, scales = store_states(states[:num_tokens].cpu().numpy(), self._states)
            made.append(
                {
                    "num_tokens": num_tokens,
                    "states": stored,
                    "scales": scales,
                    "norms": own_norms[:num_tokens],
                    "token_times": times,
                    "tflops_encode": encoded.extra_flops[i] / 1e12 if encoded.extra_flops else 0.0,
                }
            )
        return made


def node_name() -> str:
    """Return the id of the Ray node that this process works on; without Ray the machine's name."""
    ray = sys.modules.get("ray")  # never imported here: the stage runs without it too
    if ray is not None and ray.is_initialized():
        return str(ray.get_runtime_context().get_node_id())
    return socket.gethostname()


def _spans(
    windows: Sequence[Window], start_seconds: float, speech: Speech | None
) -> list[tuple[float, float]]:
    """Return start and end of each window in seconds of the recording.

    Silence that was left out counts to the window behind it, at the end of a part to the last: spans of
    windows add up to the recording.
    """
    if speech is None:
        return [(one.start_seconds, one.start_seconds + len(one.samples) / SAMPLE_RATE) for one in windows]
    kept = np.cumsum([len(window.samples) for window in windows]).tolist()
    ends = [start_seconds + speech.reached(number) / SAMPLE_RATE for number in kept]
    return list(zip([start_seconds, *ends], ends, strict=False))


def _row(task: Row, number: int, window: Window, span: tuple[float, float], num_windows: int) -> Row:
    """Return the columns of a window that don't come from the model."""
    (shard,) = task["items"].to_pylist()
    samples, speech = window.samples, speech_of(task)
    peak = max(int(samples.max()), -int(samples.min())) if len(samples) else 0
    return {
        "recording": task["audio"],
        **shard,
        "window": number,
        "start_seconds": float(span[0]),
        "end_seconds": span[1],
        "peak": peak if speech is None else speech.peak,
        "seconds_decode_audio": task["seconds_decode_audio"] / num_windows,
        "indexed_at": datetime.now(UTC),
    }


def _account(task: Row, stored: Row | None, seconds: float, tflops: float) -> Row:
    """Return what the model makes of a window, with its even share of the batch's seconds and FLOPs."""
    if stored is None:  # shorter than a token
        nothing = {"num_tokens": 0, "states": b"", "norms": [], "token_times": b""}
        return nothing | {"seconds_encode": 0.0, "tflops_encode": 0.0}
    times, speech = stored["token_times"], speech_of(task)
    if speech is not None:
        times = speech.to_recording(times, task["start"] or 0.0)
    tflops += stored["tflops_encode"]
    return stored | {"token_times": store_times(times), "seconds_encode": seconds, "tflops_encode": tflops}


def _failed(task: Row, error: Exception | None) -> pa.Table:
    """Return the row of a part that failed; without ``error`` it failed in decoding."""
    (shard,) = task["items"].to_pylist()
    row = {"recording": task["audio"], **shard, "error_type": task["error_type"], "error": task["error"]}
    if error is not None:
        row |= {"error_type": type(error).__name__, "error": failure_sentence(error)}
    return pa.Table.from_pylist([row], ENCODED_SCHEMA)
