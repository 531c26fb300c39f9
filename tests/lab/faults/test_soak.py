"""The soak's measurement finds a process that grows, and not one that doesn't."""

import subprocess
import sys

import psutil
import pytest

from speechprune.lab.faults import soak

NUM_FILES = 40
LEAK_BYTES = 2_000_000  # an answer file
JOB = """
import sys, time
answers, num_files, leak = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
kept, handles = [], []
for number in range(num_files):
    if leak:
        kept.append(bytes(range(256)) * (leak // 256))
        handles.append(open(sys.executable, "rb"))
    open(f"{answers}/{number}.parquet", "w").close()
    time.sleep(0.05)
"""


@pytest.mark.parametrize("leak", [LEAK_BYTES, 0])
def test_a_process_that_grows_is_seen_and_another_is_not(leak, tmp_path, monkeypatch):
    monkeypatch.setattr(soak, "SECONDS_BETWEEN_READINGS", 0.01)
    job = subprocess.Popen([sys.executable, "-c", JOB, str(tmp_path), str(NUM_FILES), str(leak)])
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
