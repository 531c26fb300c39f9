"""Progress: a line whatever happens, of all stages; on a terminal one time left; a traceback once."""

import io
import threading

import pytest
from loguru import logger

from speechprune.pipeline import progress as module
from speechprune.pipeline.progress import Activity, Progress

REPORT = {"num_ok": 2, "num_failed": 0, "num_recordings": 1, "audio_seconds": 60.0, "failures": []}
WORKING = Activity(num_decoding=1, num_with_model=2, num_actors=1, longest="long.wav", longest_seconds=75)


@pytest.fixture
def lines(monkeypatch):
    """What is logged; time passes fast."""
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0.001)
    logged: list[str] = []
    sink = logger.add(lambda message: logged.append(message.record["message"]), level="INFO")
    yield logged
    logger.remove(sink)


def run(progress: Progress, activity=lambda: WORKING, tracebacks=tuple, num_ticks: int = 3) -> None:
    """A run that writes one block of its ten recordings, then nothing for some ticks of the clock."""
    ticked = threading.Semaphore(0)

    def tick() -> Activity:
        ticked.release()
        return activity()

    with progress.running(10, tick, tracebacks):
        progress.add(REPORT)
        for _ in range(num_ticks):
            assert ticked.acquire(timeout=60)


def test_lines_come_though_nothing_is_written(lines):
    run(Progress(20))
    assert len(lines) >= 2
    assert lines[-1].startswith("2 of 20 items, ")
    assert lines[-1].endswith(
        " left; recordings: 6 waiting, 1 decoding, 2 with the model, 1 written; 1 actor; "
        "longest in work: long.wav for 1:15"
    )


def test_what_is_not_known_is_not_said(lines):
    run(Progress(20), activity=Activity)
    assert lines[-1].endswith("recordings: 9 waiting, 0 decoding, 0 with the model, 1 written")


def test_a_traceback_is_logged_once_as_soon_as_it_is_known(lines):
    run(Progress(20), tracebacks=lambda: ["Traceback: first", "Traceback: second"])
    assert [line for line in lines if "Traceback" in line] == [
        "an unexpected exception:\nTraceback: first",
        "an unexpected exception:\nTraceback: second",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_one_time_left(lines, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(module, "screen", lambda: terminal)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("TERM", "xterm")
    run(Progress(20))
    shown = terminal.getvalue()
    assert "2/20" in shown
    assert "1 written; 1 actor; longest in work: long.wav for 1:15" in shown
    assert " left" not in shown
    assert not lines
