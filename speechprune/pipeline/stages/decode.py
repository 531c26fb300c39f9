"""The first stage, on CPUs: recordings to samples. Its workers never load torch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
from loguru import logger

from speechprune.audio import decode_audio
from speechprune.data.index_columns import STATE_COLUMNS
from speechprune.data.index_files import Part, read_parts
from speechprune.pipeline.failures import MalformedRow, TooMuchMemory, failure_sentence
from speechprune.pipeline.retries import Attempts, Limits, give_up_on_killers
from speechprune.pipeline.tasks import TASK_SCHEMA, pack_items

DECODED_SCHEMA = pa.schema(
    [
        *TASK_SCHEMA,
        pa.field(
            "pcm", pa.large_binary()
        ),  # int16, 16 kHz mono; null where decoding failed, or windows are there
        pa.field("windows", pa.large_binary()),  # an Arrow IPC stream of what an index holds; else null
        pa.field("error_type", pa.string()),
        pa.field("error", pa.string()),
        pa.field("seconds_decode_audio", pa.float64()),
    ]
)


def decode_recording(tasks: pa.Table, *, ledger: Any, limits: Limits, are_parts: bool = False) -> pa.Table:
    """Decode the one recording of a one-row table, or the one part of one, to 16 kHz mono int16.

    Of a recording that an index holds the stored windows are read in place of its audio.
    """
    (task,) = tasks.to_pylist()
    attempts = Attempts(ledger, "decode", limits.max_seconds)
    begun = time.perf_counter()
    pcm: np.ndarray | None = None
    windows: bytes | None = None
    error: Exception | None = None
    try:
        if task["problem"]:
            raise MalformedRow(task["problem"])
        give_up_on_killers(attempts, task, limits, "decoding")
        with attempts(task["task_id"]), memory_limit(limits.max_decode_gb, task["audio"]):
            if task["stored"]:
                windows = pack_items(read_parts([Part(**part) for part in task["stored"]], STATE_COLUMNS))
            else:
                start, end = task["start"], task["end"]
                is_part = are_parts and (start is not None or end is not None)
                pcm = decode_audio(task["audio"], start=start, end=end, is_part=is_part)
    except Exception as caught:
        error = caught
        logger.opt(exception=caught).debug("decoding {} failed", task["audio"])
    columns = {
        **{name: tasks.column(name) for name in TASK_SCHEMA.names},
        "pcm": _one_binary(pcm),
        "windows": [windows],
        "error_type": [None if error is None else type(error).__name__],
        "error": [None if error is None else failure_sentence(error)],
        "seconds_decode_audio": [time.perf_counter() - begun],
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
