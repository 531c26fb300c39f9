"""Whatever lies in an archive: each file becomes samples or a sentence; nothing dies, hangs or eats memory.

pytest tests/pipeline/test_corrupt_audio.py --corrupt-inputs 10000
"""

import resource
import sys
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
import ray

from speechprune.pipeline.options import RayOptions
from speechprune.pipeline.retries import guard_decode, start_tracker
from speechprune.pipeline.stages import TASK_SCHEMA, decode_recording, split_blocks
from tests.helpers.audio_files import ENCODERS, encode
from tests.helpers.corruption import CORRUPTIONS

SECONDS = 2.0
LIMITS = RayOptions(max_attempts=1, max_seconds_per_recording=30.0, max_decode_gb=1.0)
MOST_RESIDENT_BYTES = 2e9  # of a worker: the limit, the process itself, and the file
BLOCK = 50


def decode_and_measure(task: pa.Table, **options) -> pa.Table:
    """The decode stage, without the samples, and with the most memory that the worker ever had."""
    decoded = guard_decode(task, decode=decode_recording, **options)
    [pcm] = decoded.column("pcm").to_pylist()
    return decoded.select(["audio", "error_type", "error"]).append_column(
        "measured",
        pa.array(
            [
                {
                    "seconds": None if pcm is None else len(pcm) / 2 / 16_000,
                    "resident_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                }
            ]
        ),
    )


@pytest.fixture(scope="module")
def num_inputs(request) -> int:
    return request.config.getoption("--corrupt-inputs")


@pytest.fixture(scope="module")
def rows(tmp_path_factory, speech, ray_address, num_inputs) -> list[dict]:
    """What the decode stage says of each; corruptions and formats in turn."""
    folder = tmp_path_factory.mktemp("corrupt")
    sound = {name: encode(speech(SECONDS), name) for name in ENCODERS}
    tasks = []
    for i in range(num_inputs):
        name, corrupt = list(sound)[i % len(sound)], CORRUPTIONS[i // len(sound) % len(CORRUPTIONS)]
        path = folder / f"{i:05}-{corrupt.__name__}.{name}"
        path.write_bytes(corrupt(sound[name], np.random.default_rng(i)))
        tasks.append(dict.fromkeys(TASK_SCHEMA.names) | {"task_id": str(i), "audio": str(path), "items": b""})
    tracker = start_tracker()
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers can't import this module
    dataset = ray.data.from_blocks(list(split_blocks(pa.Table.from_pylist(tasks, TASK_SCHEMA), BLOCK)))
    decoded = dataset.map_batches(
        decode_and_measure,
        batch_size=1,
        batch_format="pyarrow",
        fn_kwargs={"tracker": tracker, "limits": LIMITS},
    ).take_all()
    ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    return decoded


def test_each_becomes_samples_or_a_sentence(rows, num_inputs):
    assert len({row["audio"] for row in rows}) == len(rows) == num_inputs
    for row in rows:
        assert (row["measured"]["seconds"] is None) == bool(row["error"]), row
    assert 0 < sum(row["error"] is None for row in rows) < num_inputs  # some are bad, some still good


def test_no_worker_dies_or_is_held(rows):
    assert not [row for row in rows if row["error_type"] == "PoisonedRecording"]


def test_every_failure_is_of_a_kind_that_names_what_to_do(rows):
    kinds = Counter(row["error_type"] for row in rows)
    known = {"AudioUnreadable", "AudioEmpty", "AudioSilent", "AudioTooShort", "TooMuchMemory", None}
    assert set(kinds) <= known, kinds


def test_no_worker_grows(rows):
    assert max(row["measured"]["resident_bytes"] for row in rows) < MOST_RESIDENT_BYTES
