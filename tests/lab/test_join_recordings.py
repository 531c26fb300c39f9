"""Recordings are joined to long ones, with their questions and gold spans."""

import json

import numpy as np
import pytest

from speechprune.audio import decode_audio
from speechprune.lab.join_recordings import main
from tests.helpers.harness import write_sound

RATE = 16_000


def write_manifest(folder, **fields) -> str:
    """A manifest of five recordings of 1 to 5 s, each at its own level, with a question each."""
    lines = []
    for number in range(1, 6):
        name = write_sound(folder / f"{number}.wav", np.full(number * RATE, 1000 * number, np.int16))
        item = {"item_id": str(number), "audio": name, "question": "How loud?", "choices": ["a", "b"]}
        item |= {"answer": "A", "evidence_start": 0.25, "evidence_end": 0.5} | fields
        lines.append(json.dumps(item))
    path = folder / "manifest.jsonl"
    path.write_text("\n".join(lines))
    return str(path)


def test_gold_spans_are_where_the_recordings_now_are(tmp_path, capsys):
    output = tmp_path / "joined"
    assert main([write_manifest(tmp_path), "--recordings", "2", "--output", str(output)]) == 0
    assert "manifest.jsonl" in capsys.readouterr().out
    rows = [json.loads(line) for line in (output / "manifest.jsonl").read_text().splitlines()]
    assert sorted(row["item_id"] for row in rows) == ["1", "2", "3", "4", "5"]
    assert {row["audio"] for row in rows} == {"joined-0.wav", "joined-1.wav"}
    for row in rows:
        samples = decode_audio(str(output / row["audio"]))
        span = samples[round(row["evidence_start"] * RATE) : round(row["evidence_end"] * RATE)]
        assert len(span) == RATE // 4
        assert (span == 1000 * int(row["item_id"])).all()
        assert row["joined_from"].endswith(f"{row['item_id']}.wav")
    seconds = sum(len(decode_audio(str(path))) for path in output.glob("*.wav")) / RATE
    assert seconds == 15 + 5  # a second of silence behind each


def test_slices_are_refused(tmp_path):
    with pytest.raises(ValueError, match="1 is about a slice: give whole recordings"):
        main([write_manifest(tmp_path, start=0.2), "--output", str(tmp_path / "joined")])


def test_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="give at least 1"):
        main([write_manifest(tmp_path), "--recordings", "0", "--output", str(tmp_path / "joined")])
