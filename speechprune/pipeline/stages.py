"""The first and the last stage: recordings to samples, rows to files. Their workers never load torch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
from loguru import logger

from speechprune.audio import Speech, decode_audio, decode_speech
from speechprune.data import column_values
from speechprune.data.columns import RECORDING_COLUMNS
from speechprune.data.index_columns import STATE_COLUMNS
from speechprune.data.index_files import Part, read_parts
from speechprune.pipeline.failures import (
    FailureLog,
    MalformedRow,
    TooMuchMemory,
    UnexpectedError,
    failure_sentence,
)
from speechprune.pipeline.run_store import RunStore
from speechprune.pipeline.tasks import TASK_SCHEMA, pack_items

DECODED_SCHEMA = pa.schema(
    [
        *TASK_SCHEMA,  # its error is then of whatever kind
        pa.field("error_type", pa.string()),
        # int16, 16 kHz mono; null where decoding failed, or windows are there
        pa.field("pcm", pa.large_binary()),
        # where silence was left out of the samples: the fields of ``Speech``; else null
        pa.field(
            "speech",
            pa.struct(
                [
                    pa.field("starts", pa.list_(pa.int64())),
                    pa.field("lengths", pa.list_(pa.int64())),
                    pa.field("num_samples", pa.int64()),
                    pa.field("peak", pa.int32()),
                ]
            ),
        ),
        pa.field("windows", pa.large_binary()),  # an Arrow IPC stream of what an index holds; else null
        pa.field("seconds_decode_audio", pa.float64()),
    ]
)
PROGRESS_SCHEMA = pa.schema(
    [
        pa.field("num_ok", pa.int64()),
        pa.field("num_failed", pa.int64()),
        pa.field("num_recordings", pa.int64()),  # parts of recordings where those are the tasks
        pa.field("audio_seconds", pa.float64()),
        pa.field("failures", pa.list_(pa.string())),  # the first few, for the screen
    ]
)
MODEL_PROGRESS_SCHEMA = pa.schema(
    [
        *PROGRESS_SCHEMA,
        pa.field("model_seconds", pa.float64()),  # of the actor with the model
        pa.field("tflops", pa.float64()),
    ]
)
NUM_FAILURES_SHOWN = 3  # a block
MODEL_STAGES = ("encode", "prune", "prefill", "generate")


def decode_recording(
    tasks: pa.Table,
    *,
    failures: FailureLog,
    max_gigabytes: float | None = None,
    detector: bytes | None = None,
) -> pa.Table:
    """Decode the one recording of a one-row table, or the one part of one, to 16 kHz mono int16.

    Of a recording that an index holds the stored windows are read in place of its audio.

    - ``detector``: leaves silence out, see ``decode_speech``; None keeps it.
    - ``max_gigabytes``: memory that decoding may take, in 10^9 bytes; None for no limit.

    Returns one row of ``DECODED_SCHEMA``; a recording that can't be decoded has an error in it.
    """
    (task,) = tasks.to_pylist()
    start_seconds = time.perf_counter()
    pcm: np.ndarray | None = None
    speech: Speech | None = None
    windows: bytes | None = None
    error: Exception | None = None
    try:
        if task["error"]:
            raise MalformedRow(task["error"])
        with memory_limit(max_gigabytes, task["audio"]):
            if task["index_parts"]:
                parts = [Part(**part) for part in task["index_parts"]]
                windows = pack_items(read_parts(parts, STATE_COLUMNS))
            else:
                span = {name: task[name] for name in ("start", "end", "track", "part_of")}
                if detector is None:
                    pcm = decode_audio(task["audio"], **span)
                else:
                    pcm, speech = decode_speech(task["audio"], detector, **span)
    except Exception as caught:
        error = caught
        logger.debug("decoding {} failed: {}", task["task_id"], UnexpectedError.of(caught).traceback)
    failures.note("decoding", task["task_id"], [error])
    return _decoded(tasks, pcm, windows, error, time.perf_counter() - start_seconds, speech)


def failed_recording(tasks: pa.Table, error: Exception) -> pa.Table:
    """A one-row table of tasks, decoded or not, as of a recording that could not be decoded."""
    seconds = 0.0
    if "seconds_decode_audio" in tasks.column_names:
        (seconds,) = tasks.column("seconds_decode_audio").to_pylist()
    return _decoded(tasks, None, None, error, seconds)


def _decoded(
    tasks: pa.Table,
    pcm: np.ndarray | None,
    windows: bytes | None,
    error: Exception | None,
    seconds: float,
    speech: Speech | None = None,
) -> pa.Table:
    columns = {
        **{name: tasks.column(name) for name in TASK_SCHEMA.names},
        "error": [None if error is None else failure_sentence(error)],
        "error_type": [None if error is None else type(error).__name__],
        "pcm": _one_binary(pcm),
        "speech": [None if speech is None else vars(speech)],
        "windows": [windows],
        "seconds_decode_audio": [seconds],
    }
    return pa.table(columns, schema=DECODED_SCHEMA)


def _one_binary(samples: np.ndarray | None) -> pa.Array:
    """A one-row binary column over the samples themselves: hours of audio are not copied."""
    if samples is None:
        return pa.nulls(1, pa.large_binary())
    offsets = pa.py_buffer(np.array([0, samples.nbytes], np.int64))
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, pa.py_buffer(samples)])


@contextlib.contextmanager
def memory_limit(gigabytes: float | None, audio: str) -> Iterator[None]:
    """Let this process take so much more private memory; a recording that asks for more fails.

    A file that unpacks to more than a node has would otherwise take the whole node with it, or whichever
    worker the kernel or Ray picks to be killed. Shared memory doesn't count.
    """
    if gigabytes is None or not hasattr(psutil, "RLIMIT_DATA"):
        yield
        return
    # what a worker loads for its first recording is no part of that recording
    import av  # noqa: F401
    import soxr  # noqa: F401

    process = psutil.Process()
    before = process.rlimit(psutil.RLIMIT_DATA)
    process.rlimit(psutil.RLIMIT_DATA, (process.memory_info().data + int(gigabytes * 1e9), before[1]))
    try:
        yield
    except MemoryError as error:
        raise TooMuchMemory(
            f"{audio} can't be decoded in {gigabytes:g} GB: give start and end, or raise ray.max_decode_gb"
        ) from error
    finally:
        process.rlimit(psutil.RLIMIT_DATA, before)


def write_answers(rows: pa.Table, *, run_path: str, key_columns: Sequence[str]) -> pa.Table:
    """Publish a block of answers, and report them in one row for the driver's progress."""
    run = RunStore(run_path, key_columns)
    recordings = {
        tuple(recording): seconds or 0.0
        for *recording, seconds in column_values(rows, (*RECORDING_COLUMNS, "audio_seconds"))
    }
    counts = {}
    failures: list[str] = []
    for status in ("ok", "failed"):
        part = rows.filter(pc.equal(rows.column("status"), status)).drop_columns("status")
        counts[status] = len(part)
        if len(part):
            run.write_answers(status, part)
        if status == "failed":
            shown = part.slice(0, NUM_FAILURES_SHOWN).select(["item_id", "error"]).to_pylist()
            failures = [f"{row['item_id']}: {row['error']}" for row in shown]
    return pa.table(
        {
            "num_ok": [counts["ok"]],
            "num_failed": [counts["failed"]],
            "num_recordings": [len(recordings)],
            "audio_seconds": [sum(recordings.values())],
            "model_seconds": [sum(_total(rows, f"seconds_{stage}") for stage in MODEL_STAGES)],
            "tflops": [_total(rows, "tflops_total")],
            "failures": [failures],
        },
        schema=MODEL_PROGRESS_SCHEMA,
    )


def _total(rows: pa.Table, column: str) -> float:
    return pc.sum(rows.column(column)).as_py() or 0.0
