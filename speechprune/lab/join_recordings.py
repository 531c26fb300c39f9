"""Join short recordings to a few long ones, which answer all of their questions.

    python jobs/join_recordings.py A.jsonl B.jsonl --recordings 3 --output runs/joined

Recordings of all manifests are shuffled and dealt out to the long ones, a second of silence behind each. The
new manifest names, in ``joined_from``, the recording that each question was asked about; its gold spans are
shifted.
"""

from __future__ import annotations

import argparse
import json
import random
import wave
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from speechprune.audio import SAMPLE_RATE, decode_audio
from speechprune.data import Row
from speechprune.data.columns import GOLD_SPAN_COLUMNS
from speechprune.data.manifest import read_manifest
from speechprune.data.sources import InputOptions

CARRIED = ("item_id", "question", "choices", "answer")
PAUSE = np.zeros(SAMPLE_RATE, np.int16)


def main(arguments: Sequence[str]) -> int:
    """Write the recordings and their manifest; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python jobs/join_recordings.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("manifests", nargs="+", metavar="MANIFEST")
    parser.add_argument("--recordings", type=int, default=1, help="number of long recordings")
    parser.add_argument("--output", required=True, help="folder of the recordings and of manifest.jsonl")
    options = parser.parse_args(arguments)
    if options.recordings < 1:
        raise ValueError(f"--recordings is {options.recordings}: give at least 1")
    manifest = join_recordings(options.manifests, options.recordings, Path(options.output))
    print(f"wrote {manifest}")
    return 0


def join_recordings(manifests: Sequence[str], num_joined: int, output: Path) -> Path:
    """Write WAV files and a manifest that names them; returns the manifest's path.

    Items whose recording is sliced (``start``, ``end``) are refused: a joined one holds all of it.
    """
    output.mkdir(parents=True, exist_ok=True)
    items: dict[str, list[Row]] = defaultdict(list)
    for manifest in manifests:
        for item in read_manifest(
            InputOptions(manifest=manifest), str(output / "embedded")
        ).items.to_pylist():
            if item["start"] is not None or item["end"] is not None:
                raise ValueError(f"{manifest}: {item['item_id']} is about a slice: give whole recordings")
            items[item["audio"]].append(item)
    recordings = sorted(items)
    random.Random(0).shuffle(recordings)
    rows = []
    for number in range(num_joined):
        name, moment, samples = f"joined-{number}.wav", 0.0, list[np.ndarray]()
        for recording in recordings[number::num_joined]:
            rows += [_row(item, name, moment) for item in items[recording]]
            samples += [decode_audio(recording), PAUSE]
            moment = sum(map(len, samples)) / SAMPLE_RATE
        with wave.open(str(output / name), "wb") as file:
            file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))  # mono, two bytes a sample
            file.writeframes(np.concatenate(samples).astype("<i2").tobytes())
    path = output / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _row(item: Row, name: str, moment: float) -> Row:
    """Return the row of an item whose recording begins at some moment of the joined one."""
    row = {column: item[column] for column in CARRIED} | {"audio": name, "joined_from": item["audio"]}
    for column in GOLD_SPAN_COLUMNS:
        if item.get(column) is not None:
            row[column] = item[column] + moment
    return row
