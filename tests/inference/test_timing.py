"""Timers and copies between host and device, on a CPU and on a device that is simulated."""

import numpy as np
import pytest
import torch

from speechprune.inference import timing
from speechprune.inference.timing import SecondsByName, Timer
from speechprune.pruning.transfers import Download, upload


@pytest.fixture
def clock(monkeypatch):
    """A host's clock that a test sets."""
    now = [100.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    return now


@pytest.fixture
def queue(monkeypatch, clock):
    """A GPU's queue: events get the time at which they are recorded. Returns those that were waited for."""
    waited = []

    class Event:
        def __init__(self, enable_timing=False):
            assert enable_timing

        def record(self, stream):
            self.seconds = clock[0]

        def synchronize(self):
            waited.append(self.seconds)

        def elapsed_time(self, end):
            return (end.seconds - self.seconds) * 1000

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    return waited


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_stopped_timer_keeps_its_seconds_and_shares_them_out(clock, queue, device):
    timer = Timer(torch.device(device), num_sharing=4)
    clock[0] += 2.0
    timer.stop()
    clock[0] += 5.0
    assert queue == []  # nothing has been waited for
    assert timer.seconds() == 0.5
    assert SecondsByName({"a": timer}) == {"a": 0.5}
    assert queue == ([102.0] * 2 if device == "cuda" else [])
    assert timer.seconds_until(103.0) == 3.0


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_running_timer_is_read_now(clock, queue, device):
    timer = Timer(torch.device(device))
    for _ in range(2):
        clock[0] += 1.5
        assert timer.seconds() == clock[0] - 100.0


@pytest.mark.parametrize(
    "values", [[3, 5], np.array([3, 5]), torch.tensor([3, 5])], ids=lambda v: type(v).__name__
)
def test_values_come_to_a_device_and_back(values):
    tensor = upload(values, torch.device("cpu"))
    assert tensor.dtype == torch.int64
    np.testing.assert_array_equal(Download(tensor).numpy(), [3, 5])
