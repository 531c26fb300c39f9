"""One pass over an index, spread over the cluster: scan every recording, then score it against all questions.

Scores are measured against the whole archive, so they wait for every recording's statistics; what a scan
leaves of a recording (11 kB an hour and word) waits in Ray's object store.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from speechprune.data.index_columns import STATE_COLUMNS
from speechprune.data.index_files import Part, read_parts
from speechprune.pipeline.failures import failure_sentence
from speechprune.pruning.late_interaction import block_tokens
from speechprune.search.ranking import Score, score
from speechprune.search.scan import Scan, WordStatistics, scan
from speechprune.search.words import QueryWords

RECORDINGS_PER_BLOCK = 8


def search_pass(
    stored: Mapping[str, Sequence[Part]], words: QueryWords, token_rate: float
) -> tuple[dict[str, list[Score]], dict[str, str]]:
    """Score every recording for every question of a pass.

    Parameters
    ----------
    stored
        Where the windows of each recording are, by address.
    words
        Of the questions.
    token_rate
        f.

    Returns
    -------
    tuple
        Scores by recording, one a question; and of recordings that can't be read a sentence each.
    """
    settings = {"words": ray.put(words), "token_rate": token_rate}
    rows = [{"recording": uri, "parts": [vars(part) for part in parts]} for uri, parts in stored.items()]
    blocks = [
        pa.Table.from_pylist(rows[i : i + RECORDINGS_PER_BLOCK])
        for i in range(0, len(rows), RECORDINGS_PER_BLOCK)
    ]
    scans = (
        ray.data.from_blocks(blocks)
        .map_batches(scan_recordings, batch_size=None, batch_format="pyarrow", fn_kwargs=settings)
        .materialize()
    )
    table = _gather(scans.select_columns(["recording", "num_windows", "sums", "squares", "error"]))
    table = table.sort_by("recording")  # sums of floats hang on their order
    unreadable = {row["recording"]: row["error"] for row in table.to_pylist() if row["error"]}
    parts = [
        WordStatistics(row["num_windows"], np.array(row["sums"]), np.array(row["squares"]))
        for row in table.to_pylist()
        if not row["error"] and row["num_windows"]
    ]
    if not parts:
        return {}, unreadable
    statistics = functools.reduce(operator.add, parts)
    scored = _gather(
        scans.map_batches(
            score_recordings,
            batch_size=None,
            batch_format="pyarrow",
            fn_kwargs={"words": settings["words"], "statistics": statistics},
        )
    )
    scores = {row["recording"]: [Score(**one) for one in row["scores"]] for row in scored.to_pylist()}
    return scores, unreadable


def _gather(dataset: ray.data.Dataset) -> pa.Table:
    batches = dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    return pa.concat_tables(list(batches), promote_options="permissive")


SCANNED_SCHEMA = pa.schema(
    [
        pa.field("recording", pa.string()),
        pa.field("maxima", pa.large_binary()),  # float32, (B, V)
        pa.field("means", pa.large_binary()),
        pa.field("times", pa.large_binary()),  # float64, (B, 2)
        pa.field("num_windows", pa.int64()),
        pa.field("sums", pa.list_(pa.float64())),
        pa.field("squares", pa.list_(pa.float64())),
        pa.field("error", pa.string()),
    ]
)


def scan_recordings(rows: pa.Table, *, words: Any, token_rate: float) -> pa.Table:
    """Scan the recordings of a block, a shard in memory at a time."""
    words = ray.get(words)
    made = []
    for row in rows.to_pylist():
        parts = [Part(**part) for part in row["parts"]]
        windows = (window for part in parts for window in read_parts([part], STATE_COLUMNS).to_pylist())
        try:
            found = scan(windows, words, block_tokens(token_rate))
        except Exception as error:
            made.append({"recording": row["recording"], "error": failure_sentence(error)})
            continue
        statistics = WordStatistics.of(found.maxima)
        made.append(
            {
                "recording": row["recording"],
                "maxima": found.maxima.tobytes(),
                "means": found.means.tobytes(),
                "times": found.times.tobytes(),
                "num_windows": statistics.num_windows,
                "sums": statistics.sums,
                "squares": statistics.squares,
            }
        )
    return pa.Table.from_pylist(made, SCANNED_SCHEMA)


SCORE = pa.struct([(name, pa.float64()) for name in ("late_interaction", "similarity", "start", "end")])
SCORED_SCHEMA = pa.schema([pa.field("recording", pa.string()), pa.field("scores", pa.list_(SCORE))])


def score_recordings(rows: pa.Table, *, words: Any, statistics: WordStatistics) -> pa.Table:
    """Score the recordings of a block for every question."""
    words = ray.get(words)
    num_words = len(words.offsets)
    made = []
    for row in rows.to_pylist():
        if row["error"]:
            continue
        found = Scan(
            np.frombuffer(row["maxima"], np.float32).reshape(-1, num_words),
            np.frombuffer(row["means"], np.float32).reshape(-1, num_words),
            np.frombuffer(row["times"], np.float64).reshape(-1, 2),
        )
        scores = [vars(score(found, own, statistics)) for own in words.of_query]
        made.append({"recording": row["recording"], "scores": scores})
    return pa.Table.from_pylist(made, SCORED_SCHEMA)
