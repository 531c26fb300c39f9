"""Search index of a large archive, made from copies of states with noise, and the seconds of a question.

python jobs/bench_search.py INDEX FOLDER QUESTIONS [--recordings N] [--times N ...]

INDEX is a model's folder in an index of the demo model, FOLDER that of the larger archive, which
search_archive.py then searches, exactly or not. No copy has a window with the evidence of a question, if the
manifest has its place: each question still has one recording that answers it. For archives of N times this
size, all files are linked N times under other names, beside FOLDER.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from speechprune import storage
from speechprune.config import load_config
from speechprune.data.index_columns import WINDOWS_SCHEMA
from speechprune.data.index_files import Contents, IndexedRecording, Part, WindowsDirectory, stored_parts
from speechprune.data.inverted_lists import SHARDS_SCHEMA
from speechprune.data.manifest import read_manifest
from speechprune.data.parquet_files import as_parquet
from speechprune.data.search_codes import SearchCodes
from speechprune.data.sources import InputOptions
from speechprune.index.config import IndexConfig
from speechprune.index.search_codes import update_search_codes
from speechprune.inference.states import load_states, store_states
from speechprune.models.loading import load_model
from speechprune.pipeline.executor import make_executor
from speechprune.pruning.late_interaction import block_tokens
from speechprune.search.approximate import SearchIndex, approximate_pass
from speechprune.search.candidates import find_matches
from speechprune.search.config import SearchOptions
from speechprune.search.words import encode_query_words

NOISE = 0.5  # of the copies' states, as a share of each dimension's deviation
RECORDINGS_PER_FILE = 50
PARTS_PER_RECORDING = 40  # of 90 s, where an archive is repeated
NUM_QUESTIONS = 20  # whose medians are printed
MEASURED = (
    *(f"{what}_{clock}" for what in ("listing", "lists", "all") for clock in ("seconds", "cpu_seconds")),
    "list_bytes",
    "list_requests",
    "num_shards_read",
)


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
    contents = directory.settle()
    directory.write_listing(contents)
    start = time.process_time()
    rate = model.shape.token_rate
    counts = update_search_codes(config, SearchCodes(directory.path), contents, block_tokens(rate))
    print(json.dumps({"search_codes": counts, "cpu_seconds": time.process_time() - start}), flush=True)
    executor = make_executor(config.ray, config.model)
    gc.freeze()  # as ``run_search`` does
    for times in options.times:
        larger = directory if times == 1 else linked(directory, times)
        measured = []
        for row in questions[:NUM_QUESTIONS]:
            words = encode_query_words(model, [(row["question"], row["choices"])], config.answering)
            clocks = [(time.perf_counter(), time.process_time())]
            contents = larger.contents()
            index = SearchIndex.open(SearchCodes(larger.path), contents, stored_parts(contents))
            assert index is not None
            clocks.append((time.perf_counter(), time.process_time()))
            _, _, reading = approximate_pass(executor, index, words, rate, SearchOptions.num_candidates)
            clocks.append((time.perf_counter(), time.process_time()))
            find_matches(index.coded, index.learned.codec, words.vectors)
            listing, passed, lists = np.diff([*clocks, (time.perf_counter(), time.process_time())], axis=0)
            read = (reading.num_bytes, reading.num_requests, reading.num_shards)
            measured.append([*listing, *lists, *(listing + passed), *read])
        line = dict(zip(MEASURED, np.median(measured, axis=0).tolist(), strict=True))
        size = {"times": times, "num_shards": sum(len(there.parts) for there in contents.values())}
        print(json.dumps(size | line), flush=True)
    return 0


def linked(directory: WindowsDirectory, times: int) -> WindowsDirectory:
    """Make an index of many times as many parts, of links to the files of one; 40 parts are a recording."""
    larger = WindowsDirectory(f"{directory.path}-times-{times}")
    if larger.files():
        return larger
    parts = {
        (uri, version, shard): part
        for (uri, version), there in directory.contents().items()
        for shard, part in there.parts.items()
    }
    places = {shard: divmod(place, PARTS_PER_RECORDING) for place, shard in enumerate(parts)}
    many: Contents = {}
    for number in range(times):
        for file in directory.files():
            _link(file, _copied(file, number, directory, larger))
        for shard, part in parts.items():
            recording, own = places[shard]
            size = min(PARTS_PER_RECORDING, len(parts) - recording * PARTS_PER_RECORDING)
            there = many.setdefault((f"{number}-{recording}", "1"), IndexedRecording(size))
            there.parts[own] = Part(_copied(part.file, number, directory, larger), part.row_group)
    larger.write_listing(many)
    codes, larger_codes = SearchCodes(directory.path), SearchCodes(larger.path)
    published = codes.published()
    assert published is not None
    learned, names = published
    for number in range(times):
        for segment in codes.segments(learned.codec, names):
            rows = segment.rows.to_pylist()
            for row, shard in zip(rows, segment.shards, strict=True):
                recording, own = places[shard]
                row |= {"recording": f"{number}-{recording}", "version": "1", "shard": own}
            name = storage.join(larger_codes.folder(learned.codec.name), f"{number}-{segment.name}")
            storage.write_bytes(f"{name}.parquet", as_parquet(pa.Table.from_pylist(rows, SHARDS_SCHEMA)))
            _link(storage.join(segment.folder, f"{segment.name}.lists"), f"{name}.lists")
    larger_codes.write_codec(learned)
    names = larger_codes.written(learned.codec)
    larger_codes.publish(learned.codec, larger_codes.segments(learned.codec, names))
    return larger


def _copied(file: str, number: int, directory: WindowsDirectory, larger: WindowsDirectory) -> str:
    folder, _, name = file.replace(directory.path, larger.path).rpartition("/")
    return f"{folder}/{number}-{name}"


def _link(file: str, link: str) -> None:
    os.makedirs(os.path.dirname(link), exist_ok=True)
    os.link(file, link)


def copy_with_noise(
    source: WindowsDirectory,
    target: WindowsDirectory,
    num_recordings: int,
    questions: Sequence[dict[str, Any]],
) -> None:
    """Write the recordings of an index, and then copies of them until there are enough.

    Window i of a copy is window i of any recording that has one without the evidence of a question, with
    noise on all states, so that no copy is like one recording. The norms stay as they are.
    """
    storage.write_json(storage.join(target.path, "run.json"), storage.read_json(f"{source.path}/run.json"))
    rows = source.read_columns(WINDOWS_SCHEMA.names).sort_by("window").to_pylist()
    evidence = {
        one["audio"]: (one["evidence_start"], one["evidence_end"])
        for one in questions
        if one.get("evidence_end") is not None
    }
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
