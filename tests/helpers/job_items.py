"""Items of every kind for the main job: good, bad, and about damaged copies of real recordings."""

from pathlib import Path

import numpy as np

from speechprune.audio import SAMPLE_RATE
from tests.helpers.harness import write_sound

CHOICES = ["Monday", "Tuesday", "Thursday", "Friday"]
NUM_DAMAGED = 40  # bytes that are flipped in a damaged copy of a recording
DAMAGED_SECONDS = 20  # of a damaged copy are asked about


def good_items(folder: Path, speech) -> list[dict]:
    """Three recordings, one in two windows, one sliced; questions of every kind, gold spans, carried."""
    short = write_sound(folder / "short.flac", speech(4.0))
    long = write_sound(folder / "long.wav", speech(33.0, start=60.0))
    stereo = write_sound(folder / "stereo.wav", np.stack([speech(6.0, 20.0), speech(6.0, 120.0)], axis=1))
    days = {"question": "Which day?", "choices": CHOICES}
    return [
        {"item_id": "short-1", "audio": short, **days, "answer": "Friday", **gold_span(1.01, 2.03)},
        {"item_id": "short-2", "audio": short, "question": "Who?", "choices": ["Anna", "Bert"], "answer": 0},
        {"item_id": "long-1", "audio": long, **days, "answer": "c", "team": 7, **gold_span(29.01, 31.01)},
        {"item_id": "long-2", "audio": long, "question": "What is planned?", "answer": "a review"},
        {"item_id": "sliced", "audio": long, **days, "start": 5, "end": 12.5, **gold_span(7.01, 9.01)},
        {"item_id": "stereo", "audio": stereo, **days, "tags": ["x", "y"], **gold_span(9.01, 10.01)},
    ]


def gold_span(start: float, end: float) -> dict[str, float]:
    return {"evidence_start": start, "evidence_end": end}


def bad_items(folder: Path, speech) -> list[dict]:
    """Items that can't be answered; they carry the ``error_type`` that they should get."""
    write_sound(folder / "silent.wav", np.zeros(SAMPLE_RATE, np.int16))
    write_sound(folder / "20ms.wav", np.full(SAMPLE_RATE // 50, 3000, np.int16))
    (folder / "text.wav").write_text("This is a letter, not a recording. " * 100)
    (folder / "empty.mp3").touch()
    (folder / "folder.wav").mkdir()
    write_sound(folder / "whole.flac", speech(3.0))
    (folder / "truncated.flac").write_bytes((folder / "whole.flac").read_bytes()[:60])
    by_kind = {
        "missing": ("AudioNotFound", {"audio": "missing.wav"}),
        "silent": ("AudioSilent", {"audio": "silent.wav"}),
        "20ms": ("AudioTooShort", {"audio": "20ms.wav"}),
        "text": ("AudioUnreadable", {"audio": "text.wav"}),
        "empty": ("AudioUnreadable", {"audio": "empty.mp3"}),
        "folder": ("AudioUnreadable", {"audio": "folder.wav"}),
        "truncated": ("AudioUnreadable", {"audio": "truncated.flac"}),
        "beyond": ("AudioEmpty", {"audio": "short.flac", "start": 50}),
        "no-question": ("MalformedRow", {"audio": "short.flac", "question": " "}),
        "no-audio": ("MalformedRow", {"audio": ""}),
        "no-slice": ("MalformedRow", {"audio": "short.flac", "start": 3, "end": 2}),
        "no-span": ("MalformedRow", {"audio": "short.flac", **gold_span(3, 2)}),
        "long-question": ("PromptError", {"audio": "short.flac", "question": "Which day? " * 2000}),
        "no-protocol": ("AudioUnreadable", {"audio": "gopher://host/a.wav"}),
    }
    return [
        {"item_id": name, "question": "Who?", "expected_error": kind} | change
        for name, (kind, change) in by_kind.items()
    ]


def shared_items(folder: Path, recordings: list[Path]) -> list[dict]:
    """Every shared recording whole, and truncated, bit-flipped and renamed copies of it."""
    items = []
    random = np.random.default_rng(0)
    for recording in recordings:
        data = recording.read_bytes()
        flipped = np.frombuffer(data, np.uint8).copy()
        flipped[random.integers(0, len(flipped), NUM_DAMAGED)] ^= random.integers(
            1, 256, NUM_DAMAGED, np.uint8
        )
        copies = {
            f"cut-{recording.name}": data[: int(len(data) * random.uniform(0.05, 0.95))],
            f"flipped-{recording.name}": flipped.tobytes(),
            f"renamed-{recording.name}.wav": data,
        }
        items.append({"item_id": f"whole-{recording.name}", "audio": str(recording.resolve())})
        for name, content in copies.items():
            (folder / name).write_bytes(content)
            items.append({"item_id": name, "audio": name, "end": DAMAGED_SECONDS})
    return [item | {"question": "What is said?", "choices": CHOICES} for item in items]
