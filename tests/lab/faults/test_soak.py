"""The soak's measurement finds a process that grows, and not one that doesn't."""

import contextlib
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest

from speechprune.lab.faults import soak

NUM_FILES = 40
LEAK_BYTES = 2_000_000  # an answer file
JOB = """
import sys
answers, num_files, leak = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
kept, handles = [], []
for number in range(num_files):
    sys.stdin.readline()  # between two readings
    if leak:
        kept.append(bytes(range(256)) * (leak // 256))
        handles.append(open(sys.executable, "rb"))
    open(f"{answers}/{number}.parquet", "w").close()
    print(number, flush=True)
"""


@pytest.mark.parametrize("leak", [LEAK_BYTES, 0])
def test_a_process_that_grows_is_seen_and_another_is_not(leak, tmp_path, monkeypatch):
    command = [sys.executable, "-c", JOB, str(tmp_path), str(NUM_FILES), str(leak)]
    job = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def write_a_file(_: float) -> None:
        with contextlib.suppress(BrokenPipeError):  # at the end
            print(file=job.stdin, flush=True)
            job.stdout.readline()

    monkeypatch.setattr(soak, "time", SimpleNamespace(monotonic=time.monotonic, sleep=write_a_file))
    [driver] = soak.growth(soak.watch(psutil.Process(job.pid), tmp_path, NUM_FILES))
    assert job.wait() == 0
    assert driver.role == "driver"
    grown_bytes = driver.memory_bytes["100 %"] - driver.memory_bytes["10 %"]
    grown_files = driver.files["100 %"] - driver.files["10 %"]
    if leak:
        answered_between = (soak.LOOKS["100 %"][0] - soak.LOOKS["10 %"][1]) * NUM_FILES
        assert grown_bytes > (answered_between - 2) * LEAK_BYTES
        assert grown_files > answered_between - 2
        assert driver.files["10 %"] < driver.files["50 %"] < driver.files["100 %"]
    else:
        assert grown_bytes < LEAK_BYTES
        assert grown_files == 0
