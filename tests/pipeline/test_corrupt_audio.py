"""Whatever lies in an archive: each file becomes samples or a sentence; nothing dies, hangs or eats memory.

pytest tests/pipeline/test_corrupt_audio.py --corrupt-inputs 10000
"""

import resource
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import ray
import soundfile

from speechprune.pipeline.failures import FailureLog
from speechprune.pipeline.options import RayOptions
from speechprune.pipeline.retries import guard_decode, start_tracker
from speechprune.pipeline.stages import decode_recording
from speechprune.pipeline.tasks import TASK_SCHEMA, split_blocks
from tests.helpers.audio_files import ENCODERS, encode
from tests.helpers.corruption import CORRUPTIONS

SECONDS = 2.0
FOREIGN_HERTZ = 7_000  # of the sound in the files that playlists name, which speech hardly has
FOREIGN_SHARE = 0.3  # of a recording's power, from which on it is theirs
LIMITS = RayOptions(max_attempts=1, max_seconds_per_recording=30.0, max_decode_gb=1.0)
MOST_RESIDENT_BYTES = 2e9  # of a worker: the limit, the process itself, and the file
BLOCK = 50


@dataclass(frozen=True)
class Targets:
    """What playlists name."""

    file: Path
    listener: socket.socket
    port: int

    def name_in(self, data: bytes) -> bytes:
        """A corrupt input with the names of these."""
        address = f"http://127.0.0.1:{self.listener.getsockname()[1]}/secret.wav"
        data = data.replace(b"@FILE@", bytes(self.file)).replace(b"@ADDRESS@", address.encode())
        return data.replace(b"@PORT@", str(self.port).encode())


def decode_and_measure(task: pa.Table, **options) -> pa.Table:
    """The decode stage, see ``measure``."""
    return measure(guard_decode(task, decode=decode_recording, **options))


def measure(decoded: pa.Table) -> pa.Table:
    """Replace the samples by what is measured of them, and by the most memory that the worker ever had."""
    [pcm] = decoded.column("pcm").to_pylist()
    power = np.abs(np.fft.rfft(np.frombuffer(pcm or b"\0\0", np.int16).astype(float))) ** 2
    hertz = np.linspace(0, 8_000, len(power))
    near = np.abs(hertz - FOREIGN_HERTZ) < 20
    return decoded.select(["audio", "error_type", "error"]).append_column(
        "measured",
        pa.array(
            [
                {
                    "seconds": None if pcm is None else len(pcm) / 2 / 16_000,
                    "foreign_share": float(power[near].sum() / max(power.sum(), 1.0)),
                    "resident_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                }
            ]
        ),
    )


@pytest.fixture(scope="module")
def num_inputs(request) -> int:
    return request.config.getoption("--corrupt-inputs")


@pytest.fixture(scope="module")
def targets(tmp_path_factory) -> Iterator[Targets]:
    """What playlists name: a file, an address that a socket listens on, a port that is free."""
    path = tmp_path_factory.mktemp("targets") / "secret.wav"
    wave = np.sin(2 * np.pi * FOREIGN_HERTZ * np.arange(3 * 16_000) / 16_000)
    soundfile.write(path, (20_000 * wave).astype(np.int16), 16_000)
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(type=socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        yield Targets(path, listener, free.getsockname()[1])


@pytest.fixture(scope="module")
def rows(tmp_path_factory, speech, ray_address, num_inputs, targets) -> list[dict]:
    """What the decode stage says of each; corruptions and formats in turn."""
    folder = tmp_path_factory.mktemp("corrupt")
    sound = {name: encode(speech(SECONDS), name) for name in ENCODERS}
    tasks = []
    for i in range(num_inputs):
        name, corrupt = list(sound)[i % len(sound)], CORRUPTIONS[i // len(sound) % len(CORRUPTIONS)]
        path = folder / f"{i:05}-{corrupt.__name__}.{name}"
        path.write_bytes(targets.name_in(corrupt(sound[name], np.random.default_rng(i))))
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


def test_nothing_else_is_opened(rows, targets):
    """Not a sample of the file that playlists name, and nobody knocks at the address."""
    assert not [row for row in rows if row["measured"]["foreign_share"] > FOREIGN_SHARE]
    targets.listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        targets.listener.accept()


def test_the_file_that_playlists_name_would_be_noticed(targets):
    task = dict.fromkeys(TASK_SCHEMA.names) | {"task_id": "0", "audio": str(targets.file), "items": b""}
    decoded = measure(decode_recording(pa.Table.from_pylist([task], TASK_SCHEMA), failures=FailureLog(print)))
    assert decoded.column("measured")[0].as_py()["foreign_share"] > FOREIGN_SHARE


def test_no_worker_dies_or_is_held(rows):
    assert not [row for row in rows if row["error_type"] == "PoisonedRecording"]


def test_every_failure_is_of_a_kind_that_names_what_to_do(rows):
    kinds = Counter(row["error_type"] for row in rows)
    known = {"AudioUnreadable", "AudioEmpty", "AudioSilent", "AudioTooShort", "TooMuchMemory", None}
    assert set(kinds) <= known, kinds


def test_no_worker_grows(rows):
    assert max(row["measured"]["resident_bytes"] for row in rows) < MOST_RESIDENT_BYTES
