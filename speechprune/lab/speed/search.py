"""Search index of a large archive, made from copies of states with noise, and the time that its lists take.

python jobs/bench_search.py INDEX FOLDER QUESTIONS [--recordings N] [--times N ...]

INDEX is a model's folder in an index of the demo model, FOLDER that of the larger archive, which
search_archive.py then searches, exactly or not. No copy has a window with the evidence of a question, if the
manifest says where that is: each question still has one recording that answers it. The lists are also searched as if the archive had N times its
size, every list N times: what grows with an archive is this, the candidates' states don't.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from speechprune import storage
from speechprune.config import load_config
from speechprune.data.index_columns import WINDOWS_SCHEMA
from speechprune.data.index_files import WindowsDirectory
from speechprune.data.inverted_lists import Segment
from speechprune.data.manifest import read_manifest
from speechprune.data.search_codes import SearchCodes
from speechprune.data.sources import InputOptions
from speechprune.index.config import IndexConfig
from speechprune.index.search_codes import update_search_codes
from speechprune.inference.states import load_states, store_states
from speechprune.models.loading import load_model
from speechprune.pruning.late_interaction import block_tokens
from speechprune.search.approximate import sample_statistics
from speechprune.search.candidates import CodedBlocks, find_candidates, find_matches
from speechprune.search.words import encode_query_words

NOISE = 0.5  # of the copies' states, as a share of each dimension's deviation
RECORDINGS_PER_FILE = 50
NUM_CANDIDATES = 64
MEASURED = (
    "sample_seconds",
    "sample_cpu_seconds",
    "lists_seconds",
    "lists_cpu_seconds",
    "bytes",
    "requests",
)
NUM_QUESTIONS = 20  # for the time of the lists


def main(arguments: Sequence[str]) -> int:
    """Make the archive and its search index; print a line of JSON for that, and one for each size."""
    parser = argparse.ArgumentParser(
        prog="python jobs/bench_search.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("index", help="a model's folder in an index")
    parser.add_argument("folder", help="where to; what is there is used")
    parser.add_argument("questions", help="manifest of questions")
    parser.add_argument("--recordings", type=int, default=5000, help="number of recordings with the copies")
    parser.add_argument("--times", type=int, nargs="*", default=[1, 8, 80], help="sizes of the archive")
    options = parser.parse_args(arguments)
    config = load_config(IndexConfig, "package://configs/index.yaml", ["ray.executor=local"])
    model = load_model(config.model)
    directory = WindowsDirectory(options.folder)
    source = InputOptions(manifest=options.questions)
    questions = read_manifest(source, options.folder, needs_audio=False).items.to_pylist()
    if not directory.files():
        copy_with_noise(WindowsDirectory(options.index), directory, options.recordings, questions)
    codes = SearchCodes(directory.path)
    rate = model.shape.token_rate
    start = time.process_time()
    counts = update_search_codes(config, codes, directory.contents(), block_tokens(rate))
    print(json.dumps({"search_codes": counts, "cpu_seconds": time.process_time() - start}), flush=True)
    published = codes.published()
    assert published is not None
    learned, names = published
    segments = codes.segments(learned.codec, names)
    asked = [(row["question"], row["choices"]) for row in questions[:NUM_QUESTIONS]]
    for times in options.times:
        many = [renamed(segment, number) for number in range(times) for segment in segments]
        coded = CodedBlocks.of(many, {shard for segment in many for shard in segment.shards})
        measured = []
        for question in asked:
            words = encode_query_words(model, [question], config.answering)
            vectors = np.column_stack([words.directions, words.offsets])
            clocks = [(time.perf_counter(), time.process_time())]
            statistics = sample_statistics(learned, words, rate)
            clocks.append((time.perf_counter(), time.process_time()))
            matches = find_matches(coded, learned.codec, vectors)
            find_candidates(coded, [matches], words, statistics, NUM_CANDIDATES)
            clocks.append((time.perf_counter(), time.process_time()))
            measured.append([*np.diff(clocks, axis=0).ravel(), matches.num_bytes, matches.num_requests])
        line = dict(zip(MEASURED, np.median(measured, axis=0).tolist(), strict=True))
        size = {"times": times, "num_shards": len(coded.shards), "num_segments": len(many)}
        print(json.dumps(size | line), flush=True)
    return 0


def renamed(segment: Segment, number: int) -> Segment:
    """Return a segment with the same lists, as of other recordings."""
    uris = pa.array([f"{number}-{uri}" for uri in segment.rows.column("recording").to_pylist()])
    return replace(segment, rows=segment.rows.set_column(0, segment.rows.schema.field(0), uris))


def copy_with_noise(
    source: WindowsDirectory,
    target: WindowsDirectory,
    num_recordings: int,
    questions: Sequence[dict[str, Any]],
) -> None:
    """Write the recordings of an index, and then copies of them until there are enough.

    Window i of a copy is window i of any recording that has one without the evidence of a question, with noise
    on all states, so that no copy is like one recording. The norms stay as they are.
    """
    storage.write_json(storage.join(target.path, "run.json"), storage.read_json(f"{source.path}/run.json"))
    rows = source.read_columns(WINDOWS_SCHEMA.names).sort_by("window").to_pylist()
    evidence = {one["audio"]: (one["evidence_start"], one["evidence_end"]) for one in questions}
    recordings: dict[str, list[dict[str, Any]]] = {}
    to_copy: dict[int, list[dict[str, Any]]] = {}  # by number of the window
    for row in rows:
        recordings.setdefault(row["recording"], []).append(row)
        start, end = evidence.get(row["recording"], (0.0, 0.0))
        if row["end_seconds"] <= start or row["start_seconds"] >= end:
            to_copy.setdefault(row["window"], []).append(row)
    originals = list(recordings.values())
    deviation = np.concatenate([load_states(row) for row in rows[:: len(rows) // 100]]).std(axis=0)
    rng = np.random.default_rng(1)
    made = list(originals)
    for number in range(num_recordings - len(originals)):
        windows = [to_copy[row["window"]] for row in originals[number % len(originals)]]
        made.append([_copy(some[rng.integers(len(some))], number, deviation, rng) for some in windows])
        if len(made) >= RECORDINGS_PER_FILE:
            _write(target, made)
            made = []
    _write(target, made)


def _copy(
    row: dict[str, Any], number: int, deviation: np.ndarray, rng: np.random.Generator
) -> dict[str, Any]:
    states = load_states(row)
    noise = rng.standard_normal(states.shape, np.float32) * (NOISE * deviation)
    stored, scales = store_states(states + noise, row["dtype"])
    return row | {"recording": f"copy-{number:06}", "version": "1", "states": stored, "scales": scales}


def _write(target: WindowsDirectory, recordings: Sequence[Sequence[dict[str, Any]]]) -> None:
    rows = [row for windows in recordings for row in windows]
    if rows:
        target.write(pa.Table.from_pylist(rows, WINDOWS_SCHEMA))
