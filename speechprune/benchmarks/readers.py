"""READERS, the published benchmarks that can be read by name, and the manifests made from them.

A reader takes the folder of the manifest, then settings of its own; the ``manifest`` command offers those
without a default as arguments and the others as options, with the words of the reader's docstring.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loguru import logger

from speechprune import storage
from speechprune.benchmarks.audiobench import read_cn_college_listen, read_dream_tts
from speechprune.benchmarks.rows import Benchmark
from speechprune.benchmarks.spiral import read_spiral
from speechprune.data.formats import counted

READERS: dict[str, Callable[..., Benchmark]] = {
    "spiral": read_spiral,
    "dream_tts": read_dream_tts,
    "cn_college_listen": read_cn_college_listen,
}


def make_benchmark_manifest(name: str, manifest: Path, **settings: Any) -> Benchmark:
    """Read a published benchmark and write its manifest; a log line names each record that can't be read.

    Recordings that the reader extracts are put beside it; ``settings`` are the reader's.

    Raises
    ------
    ValueError
        No item is left; nothing is written then. Or what the reader raises.
    """
    benchmark = READERS[name](manifest.parent, **settings)
    for reason in benchmark.unreadable:
        logger.warning("skipped {}", reason)
    if not benchmark.rows:
        raise ValueError(f"no item left ({left_out(benchmark)}), nothing written")
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in benchmark.rows]
    storage.write_bytes(str(manifest), "".join(lines).encode())
    recordings = list(dict.fromkeys(row["audio"] for row in benchmark.rows))
    if missing := [uri for uri in recordings if not _is_there(storage.resolve(uri, str(manifest.parent)))]:
        logger.warning(
            "missing recordings: {:,} of {:,}, such as {}: download the audio, or give its folder again",
            len(missing),
            len(recordings),
            missing[0],
        )
    return benchmark


def _is_there(uri: str) -> bool:
    """Whether a recording is there; one in an object store is taken on trust."""
    return storage.is_remote(uri) or Path(storage.absolute(uri)).is_file()


def left_out(benchmark: Benchmark) -> str:
    """Counts of the records that are not in the manifest, by reason."""
    return f"{len(benchmark.unreadable)} unreadable, {benchmark.num_too_short} too short"


def describe(benchmark: Benchmark) -> str:
    """Counts of items and recordings, and the share of each gold letter: the score of always answering it."""
    rows = benchmark.rows
    letters = Counter(row["answer"] for row in rows)
    shares = ", ".join(f"{letter} {count / len(rows):.1%}" for letter, count in sorted(letters.items()))
    num_recordings = len({row["audio"] for row in rows})
    return (
        f"{counted(len(rows), 'item')} about {counted(num_recordings, 'recording')}; gold letters {shares}; "
        f"left out: {left_out(benchmark)}"
    )
