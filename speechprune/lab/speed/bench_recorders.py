"""Compare answers from an index with direct ones, for recordings of different recorders.

    python jobs/bench_recorders.py [--recordings 8]

The demo's first recordings, one behind the other, are written as Opus, as ADPCM in WAV, as two joined
MPEG-TS files, and as WebM whose recorder was paused for a minute. Their questions are asked about each file
from an index and directly, and about the slice of it that is the question's own recording (the others hold
facts of the same kind, so that only there each question has one answer). Prints a table; five minutes on two
cores.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from speechprune.audio import SAMPLE_RATE, decode_audio
from speechprune.data.sources import InputOptions
from speechprune.index.config import ArchiveOptions, IndexConfig, IndexOptions, StandingQuestions
from speechprune.index.job import run_index
from speechprune.lab.speed.measurements import temporary_folder
from speechprune.models.options import ModelOptions
from speechprune.pipeline.batch_qa import run_batch_qa
from speechprune.pipeline.config import BatchQAConfig, OutputOptions
from speechprune.pipeline.options import RayOptions
from speechprune.pipeline.run_store import RunStore

DEMO = Path(__file__).parents[2] / "demo"
PAUSE_AT_SECONDS, PAUSE_SECONDS = 100.0, 60.0
LOCAL = RayOptions(executor="local")
MODEL = ModelOptions(path=str(DEMO / "model"))


def main(arguments: Sequence[str]) -> int:
    """Make the files, index them, ask, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recordings", type=int, default=8, help="of the demo that make a long one")
    options = parser.parse_args(arguments)
    with temporary_folder() as temporary:
        folder = Path(temporary)
        (folder / "archive").mkdir()
        rows = make_archive(folder, options.recordings)
        whole = [{**row, "start": None, "end": None} for row in rows]
        for name, asked in (("whole", whole), ("slices", rows)):
            (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, asked)))
        index = str(folder / "index")
        run_index(
            IndexConfig(
                archive=ArchiveOptions(path=str(folder / "archive")),
                model=MODEL,
                index=IndexOptions(path=index),
                questions=StandingQuestions(path=None),
                ray=LOCAL,
            )
        )
        runs = (("whole", "from_index", index), ("whole", "direct", None), ("slices", "slices", None))
        show(rows, _tokens(folder), *(_ask(folder, *run) for run in runs))
    return 0


def make_archive(folder: Path, num_recordings: int) -> list[dict[str, Any]]:
    """Write the long recordings; returns the rows of a manifest that asks about each of them."""
    items = [json.loads(line) for line in (DEMO / "archive/manifest.jsonl").read_text().splitlines()]
    names = list(dict.fromkeys(item["audio"] for item in items))[:num_recordings]
    pieces = [decode_audio(str(DEMO / "archive" / name)) for name in names]
    ends = np.cumsum([0, *map(len, pieces)]) / SAMPLE_RATE
    spans = dict(zip(names, itertools.pairwise(ends.tolist()), strict=True))
    sound = np.concatenate(pieces)
    half = len(sound) // 2
    files = {
        "control.opus": write_recording(sound, "ogg", "libopus", 48_000),
        "adpcm.wav": write_recording(sound, "wav", "adpcm_ima_wav", bit_rate=128_000),
        "joined.mpg": b"".join(
            write_recording(part, "mpegts", "aac") for part in (sound[:half], sound[half:])
        ),
        "paused.webm": write_recording(sound, "webm", "libopus", 48_000, shift=_pause),
    }
    rows = []
    for name, data in files.items():
        (folder / "archive" / name).write_bytes(data)
        for item in items:
            if item["audio"] in spans:
                start, end = spans[item["audio"]]
                seconds = {"start": start, "end": end}
                seconds |= {key: start + item[key] for key in ("evidence_start", "evidence_end")}
                if name == "paused.webm":
                    seconds = {key: second + _pause(second) for key, second in seconds.items()}
                rows.append(
                    {
                        "item_id": f"{name} {item['item_id']}",
                        "audio": f"archive/{name}",
                        **{key: item[key] for key in ("question", "choices", "answer")},
                        **seconds,
                    }
                )
    return rows


def write_recording(
    samples: np.ndarray,
    container: str,
    codec: str,
    rate: int = SAMPLE_RATE,
    bit_rate: int | None = None,
    shift: Callable[[float], float] | None = None,
) -> bytes:
    """Encode int16 samples at 16 kHz; ``shift``: seconds to add to the timestamp of a packet at a second."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout="mono")
        if bit_rate is not None:
            stream.bit_rate = bit_rate
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
        frame_size = stream.codec_context.frame_size or 1024
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=rate, frame_size=frame_size)
        for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
            for packet in stream.encode(piece):
                if shift is not None and packet.pts is not None:
                    packet.pts += round(shift(float(packet.pts * packet.time_base)) / packet.time_base)
                    packet.dts = packet.pts
                out.mux(packet)
    return file.getvalue()


def _pause(second: float) -> float:
    return PAUSE_SECONDS if second >= PAUSE_AT_SECONDS else 0.0


def _ask(folder: Path, manifest: str, name: str, index: str | None) -> dict[str, dict[str, Any]]:
    """Ask all questions; returns the answers by item."""
    path = str(folder / name)
    run_batch_qa(
        BatchQAConfig(
            input=InputOptions(manifest=str(folder / f"{manifest}.jsonl"), index=index),
            model=MODEL,
            output=OutputOptions(path=path),
            ray=LOCAL,
        )
    )
    columns = ["item_id", "prediction", "correct", "evidence_recall", "num_audio_tokens"]
    return {row["item_id"]: row for row in RunStore(path).read_answers("ok", columns).to_pylist()}


def _tokens(folder: Path) -> dict[str, int]:
    """Audio tokens in the index, by the file's name."""
    (windows,) = (folder / "index").glob("*/windows")
    table = pq.read_table(windows, columns=["recording", "num_tokens"])
    sums = table.group_by("recording").aggregate([("num_tokens", "sum")]).to_pylist()
    return {Path(row["recording"]).name: row["num_tokens_sum"] for row in sums}


def show(rows: list[dict[str, Any]], tokens: dict[str, int], *runs: dict[str, dict[str, Any]]) -> None:
    """Print of each file tokens, right answers, and gold evidence kept.

    ``runs``: answers by item from the index, direct ones, and those about slices.
    """
    table = Table("file", "questions")
    for heading in ("tokens, index", "direct", "right, index", "direct", "slices"):
        table.add_column(heading, justify="right")
    table.add_column("other predictions, index and direct", justify="right")
    table.add_column("evidence kept in slices", justify="right")
    for name in dict.fromkeys(row["audio"] for row in rows):
        ids = [row["item_id"] for row in rows if row["audio"] == name]
        indexed, direct, slices = ([run[item_id] for item_id in ids] for run in runs)
        others = sum(
            one["prediction"] != other["prediction"] for one, other in zip(indexed, direct, strict=True)
        )
        table.add_row(
            Path(name).name,
            str(len(ids)),
            f"{tokens[Path(name).name]:,}",
            f"{direct[0]['num_audio_tokens']:,}",
            *(str(sum(row["correct"] for row in answers)) for answers in (indexed, direct, slices)),
            str(others),
            f"{np.mean([row['evidence_recall'] for row in slices]):.1%}",
        )
    Console(width=140).print(table)
