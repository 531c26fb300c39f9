"""Kills of the index job at random moments: its search index then holds the same and finds the same."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from loguru import logger

from speechprune.config import load_config
from speechprune.data.index_files import WindowsDirectory
from speechprune.data.index_models import open_index
from speechprune.data.search_codes import SearchCodes
from speechprune.lab.faults.kills import Kills, kill_after
from speechprune.search.config import SearchConfig
from speechprune.search.job import run_search

# a segment of each part, and merges of two: few recordings are coded, merged and published in many steps
PROGRAM = """
import sys
import speechprune.index.search_codes as search_codes
from speechprune.entry import call
search_codes.SHARDS_PER_SEGMENT, search_codes.FANOUT = 1, 2
sys.exit(call("speechprune.cli:main", "index", sys.argv[1:]))
"""
SETTINGS = (
    "index.search_codes=true",
    "index.shard_minutes=0.5",
    "questions.output=null",
    "ray.executor=local",
)
RECORDINGS = "audio/recording-000[0-3].opus"  # of the demo's archive: 16 parts
KILL_SECONDS = 0.2  # after a number of files is there, at most


def index_kills(folder: Path, num_kills: int, archive: Path, model: str, seed: int = 0) -> list[Kills]:
    """Kill index jobs, each on an index of its own, let each be done by a second launch, and compare.

    - ``archive``: a folder with ``audio`` and ``manifest.jsonl``, whose questions are then searched for.
    - ``model``: the setting that names it.
    """
    generator = random.Random(seed)
    if code := _launch(folder / "reference", archive, model).wait():
        raise RuntimeError(f"the run without a fault exits {code}")
    num_files = len(_files(folder / "reference"))
    reference = _coded(folder / "reference", model), _hits(folder / "reference", archive, model)
    exit_codes: list[int] = []
    num_killed = while_writing = 0
    parts, hits = Counter[str](), Counter[str]()
    for number in range(num_kills):
        index = folder / f"killed-{number}"
        job = _launch(index, archive, model)
        num_there, seconds = generator.randrange(num_files), generator.uniform(0, KILL_SECONDS)
        kill_after(job, partial(_files, index), num_there, seconds)
        num_killed += job.wait() == -signal.SIGKILL
        while_writing += 0 < len(_files(index)) < num_files
        exit_codes.append(_launch(index, archive, model).wait())
        parts.update(_compared(_coded(index, model), reference[0]))
        hits.update(_compared(_hits(index, archive, model), reference[1]))
        logger.info("kill {} of {}: after {} of {} files", number + 1, num_kills, num_there, num_files)
    names = ("items", "lost", "duplicated", "different")
    return [
        Kills(scene, num_kills, num_killed, while_writing, exit_codes, *(found[name] for name in names))
        for scene, found in (("index job killed: parts", parts), ("index job killed: hits", hits))
    ]


def _files(index: Path) -> list[Path]:
    return list(index.glob("*/search/*/*"))


def _launch(index: Path, archive: Path, model: str) -> subprocess.Popen[bytes]:
    paths = (f"archive.path={archive / RECORDINGS}", f"index.path={index}", "questions.path=null")
    settings = ("package://configs/index.yaml", model, *paths, *SETTINGS)
    with open(index.with_suffix(".log"), "ab") as log:
        return subprocess.Popen([sys.executable, "-c", PROGRAM, *settings], stdout=log, stderr=log)


def _search_config(index: Path, model: str, *settings: str) -> SearchConfig:
    every = [model, f"search.index={index}", "ray.executor=local", *settings]
    return load_config(SearchConfig, "package://configs/search.yaml", every)


def _coded(index: Path, model: str) -> dict[Any, list[Any]]:
    """Coded tokens of each part, once for each segment that has it."""
    config = _search_config(index, model)
    directory = open_index(config.search.index, config.model, config.encoding)
    codes = SearchCodes(WindowsDirectory(directory.path).path)
    published = codes.published()
    assert published is not None
    learned, names = published
    coded: dict[Any, list[Any]] = defaultdict(list)
    for segment in codes.segments(learned.codec, names):
        owners = np.repeat(np.arange(len(segment.shards)), segment.num_blocks)
        firsts = np.cumsum(segment.num_blocks) - segment.num_blocks
        tokens: list[list[Any]] = [[] for _ in segment.shards]
        for number, (blocks, some) in segment.read(np.arange(segment.num_lists))[0].items():
            for block, code in zip(blocks, some, strict=True):
                owner = owners[block]
                tokens[owner].append((number, int(block - firsts[owner]), code.tobytes()))
        for shard, own in zip(segment.shards, tokens, strict=True):
            coded[shard].append((learned.codec.name, sorted(own)))
    return coded


def _hits(index: Path, archive: Path, model: str) -> dict[Any, list[Any]]:
    """Hits of each question, by rank."""
    questions = f"search.questions={archive / 'manifest.jsonl'}"
    output = f"output.path={index}-hits"
    config = _search_config(index, model, questions, output, "search.num_answered=0")
    hits: dict[Any, list[Any]] = defaultdict(list)
    for hit in run_search(config).hits.to_pylist():
        hits[hit["question_id"], hit["rank"]].append(hit)
    return hits


def _compared(found: dict[Any, list[Any]], reference: dict[Any, list[Any]]) -> Counter[str]:
    return Counter(
        items=len(found),
        lost=len(reference.keys() - found.keys()),
        duplicated=sum(len(some) > 1 for some in found.values()),
        different=sum(some[0] != reference.get(key, [None])[0] for key, some in found.items()),
    )
