"""The middle stage of the nightly job, where the model is: parts of recordings to windows of the index."""

from __future__ import annotations

import socket
import sys
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from speechprune.audio import SAMPLE_RATE, WINDOW_SECONDS, AudioTooShort, split_windows
from speechprune.cost import encode_flops
from speechprune.data.index_columns import WINDOWS_SCHEMA
from speechprune.inference.encode import in_encoder_batches
from speechprune.inference.states import StatesDType, store_states
from speechprune.inference.timing import Stopwatch
from speechprune.models.loading import ModelOptions
from speechprune.pipeline.answer_stage import load_in_worker, task_rows
from speechprune.pipeline.failures import FailureLog, failure_sentence

Row = dict[str, Any]
ENCODED_SCHEMA = pa.schema(
    [*WINDOWS_SCHEMA, pa.field("error_type", pa.string()), pa.field("error", pa.string())]
)


class EncodeStage:
    """The stage with the model: encode, store.

    Parameters
    ----------
    model, num_threads, failures
        See ``Stages.model``.
    labels
        What rows say of the model: ``model`` and ``revision``.
    states
        How states are stored.
    """

    def __init__(
        self,
        *,
        model: ModelOptions,
        num_threads: int | None,
        failures: FailureLog,
        labels: dict[str, str],
        states: StatesDType,
    ) -> None:
        self._model = load_in_worker(model, num_threads)
        self._failures = failures
        self._labels = labels | {"node": node_name()}
        self._states = states

    def __call__(self, decoded: pa.Table) -> pa.Table:
        """Windows of some parts of recordings; of a part that failed, one row that says so."""
        return self._encode(task_rows(decoded))

    def _encode(self, tasks: list[Row]) -> pa.Table:
        heard = [task for task in tasks if task["error"] is None]
        failed = [_failed(task, None) for task in tasks if task["error"] is not None]
        error: Exception | None = None
        try:
            self._refuse_too_short(heard)
            rows = self._encode_windows(heard)
        except Exception as caught:
            error = caught
        if error is not None and len(heard) > 1:
            return pa.concat_tables([*failed, *(self._encode([task]) for task in heard)])
        for task in heard:
            self._failures.note("encoding", task["task_id"], [error])
        if error is not None:
            return pa.concat_tables([*failed, _failed(heard[0], error)])
        return pa.concat_tables([*failed, pa.Table.from_pylist(rows, ENCODED_SCHEMA)])

    def _refuse_too_short(self, tasks: list[Row]) -> None:
        for task in tasks:
            is_whole = task["start"] is None and task["end"] is None
            if is_whole and not self._model.num_audio_tokens(len(task["pcm"]) // 2):
                raise AudioTooShort(f"{task['audio']} is shorter than one audio token")

    def _encode_windows(self, tasks: list[Row]) -> list[Row]:
        """Rows of all windows of some parts, encoded together."""
        if not tasks:
            return []
        watch = Stopwatch(self._model.device)
        places = []
        for task in tasks:
            cut = split_windows(np.frombuffer(task["pcm"], np.int16)) or [np.zeros(0, np.int16)]
            begin = round((task["start"] or 0.0) / WINDOW_SECONDS)
            places += [(task, begin + i, window) for i, window in enumerate(cut)]
        audible = [i for i, (_, _, window) in enumerate(places) if self._model.num_audio_tokens(len(window))]
        windows = [places[i][2] for i in audible]
        made, num_encoded = in_encoder_batches(self._model, windows, self._store_batch)
        by_place = dict(zip(audible, made, strict=True))
        share = 1 / max(1, len(windows))
        seconds, tflops = watch.seconds() * share, encode_flops(self._model.shape, num_encoded) / 1e12 * share
        num_windows = {id(task): sum(owner is task for owner, _, _ in places) for task in tasks}
        return [
            _row(task, number, window, num_windows[id(task)])
            | self._labels
            | {"dtype": self._states, "width": self._model.shape.encoder_hidden_size}
            | by_place.get(i, {"num_tokens": 0, "states": b"", "norms": []})
            | {
                "seconds_encode": seconds if i in by_place else 0.0,
                "tflops_encode": tflops if i in by_place else 0.0,
            }
            for i, (task, number, window) in enumerate(places)
        ]

    def _store_batch(self, windows: list[np.ndarray]) -> list[Row]:
        """What is stored of a batch of windows."""
        states = self._model.encode_states(windows)
        norms = torch.linalg.vector_norm(self._model.project(states).float(), dim=-1).cpu().numpy()
        made = []
        for i, window in enumerate(windows):
            num_tokens = self._model.num_audio_tokens(len(window))
            stored, scales = store_states(states[i, :num_tokens].float().cpu().numpy(), self._states)
            made.append(
                {"num_tokens": num_tokens, "states": stored, "scales": scales, "norms": norms[i, :num_tokens]}
            )
        return made


def node_name() -> str:
    """Id of the Ray node that this process works on; without Ray the machine's name."""
    ray = sys.modules.get("ray")  # never imported here: the stage runs without it too
    if ray is not None and ray.is_initialized():
        return str(ray.get_runtime_context().get_node_id())
    return socket.gethostname()


def _row(task: Row, number: int, window: np.ndarray, num_windows: int) -> Row:
    """What a row says of a window apart from what the model made of it."""
    (shard,) = task["items"].to_pylist()
    start = number * WINDOW_SECONDS
    return {
        "recording": task["audio"],
        **shard,
        "window": number,
        "start_seconds": float(start),
        "end_seconds": start + len(window) / SAMPLE_RATE,
        "peak": max(int(window.max()), -int(window.min())) if len(window) else 0,
        "seconds_decode_audio": task["seconds_decode_audio"] / num_windows,
        "indexed_at": datetime.now(UTC),
    }


def _failed(task: Row, error: Exception | None) -> pa.Table:
    """One row of a part that could not be encoded; without an error it was not even decoded."""
    (shard,) = task["items"].to_pylist()
    row = {"recording": task["audio"], **shard, "error_type": task["error_type"], "error": task["error"]}
    if error is not None:
        row |= {"error_type": type(error).__name__, "error": failure_sentence(error)}
    return pa.Table.from_pylist([row], ENCODED_SCHEMA)
