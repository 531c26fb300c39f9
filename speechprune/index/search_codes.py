"""Update of an archive's search index: learn a codec, code what is new, remove what is gone."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from loguru import logger

from speechprune.config import ConfigError
from speechprune.cost import ModelShape
from speechprune.data.index_columns import STATE_COLUMNS
from speechprune.data.index_files import Contents, Part, Shard, as_windows_file, read_parts
from speechprune.data.inverted_lists import SHARDS_SCHEMA, Segment, merge_segments, shards_of, write_segment
from speechprune.data.search_codes import LearnedCodec, SearchCodes, adopt
from speechprune.data.token_codec import (
    MIN_TOKENS,
    TokenCodec,
    centroids_of,
    empty_index,
    encode_tokens,
    learn_codec,
    token_vectors,
)
from speechprune.index.config import IndexConfig, IndexOptions
from speechprune.pipeline.executor import make_executor
from speechprune.pipeline.failures import code_error, failure_sentence

# a codec is learned again when the index has this many times the shards that it had then, or when less than
# half of its sample is still there
GROWTH = 4
SAMPLED_SHARDS = 256  # at most: the middle window of each is sampled
SHARDS_PER_SEGMENT = 64
KEPT_SECONDS = 3600.0  # that files stay which the manifest no longer names
FANOUT = 8  # segments of about one size that are merged to one
STALE = 0.1  # share of a segment's shards that may be gone


def check_search_codes(options: IndexOptions, shape: ModelShape) -> None:
    """Refuse ``index.search_codes`` where there can be none, before anything is encoded."""
    if not options.search_codes:
        return
    import faiss  # noqa: F401  an extra, which is named where it is missing

    if shape.encoder.states_size == 1:
        raise ConfigError(
            "index.search_codes is true, but the states of this model are token ids, which a search reads in "
            "less time than codes: set it to false"
        )


def update_search_codes(
    config: IndexConfig, codes: SearchCodes, contents: Contents, block_tokens: int
) -> dict[str, float | int] | None:
    """Bring the search index up to date with the windows; returns counts, or None where tokens are too few.

    A new codec is published when all shards are coded with it: until then searches use the earlier one.

    - ``contents``: of the windows, as they are.
    - ``block_tokens``: number of tokens in a block, half a window.
    """
    start = time.perf_counter()
    parts = {
        (uri, version, shard): part
        for (uri, version), there in sorted(contents.items())
        for shard, part in sorted(there.parts.items())
    }
    earlier, names = codes.published() or (None, [])
    learned = _still_good(earlier, parts.keys())
    executor = None
    if learned is None:
        executor = make_executor(config.ray, config.model)
        learned = executor.get(executor.submit(learn, list(parts.values())))
        names = []
        if learned is None:
            logger.info("no search index: the archive has too few tokens for one, and is searched without")
            codes.withdraw()
            return None
    codec = learned.codec
    there = codes.segments(codec, [*names, *sorted(set(codes.written(codec)) - set(names))])
    segments = adopt(there, parts.keys())
    coded = {shard for segment in segments for shard in segment.shards}
    missing = [(shard, part) for shard, part in parts.items() if shard not in coded]
    written: list[Segment] = []
    if missing:
        logger.info("search index: {:,} of {:,} parts of recordings to code", len(missing), len(parts))
        executor = executor or make_executor(config.ray, config.model)
        shared, folder = executor.put(codec), codes.folder(codec.name)
        blocks = [missing[i : i + SHARDS_PER_SEGMENT] for i in range(0, len(missing), SHARDS_PER_SEGMENT)]
        coding = [executor.submit(code_shards, block, shared, folder, block_tokens) for block in blocks]
        written = [segment for segment in map(executor.get, coding) if segment is not None]
    merged = merge_by_size([*segments, *written], parts.keys())
    known = {segment.name for segment in [*segments, *written]}
    written += [segment for segment in merged if segment.name not in known]
    if learned != earlier or [segment.name for segment in merged] != names:
        codes.publish(learned, merged)
    codes.clean(codec, merged, KEPT_SECONDS)
    return {
        "num_coded": len(missing),
        "num_shards": len(parts),
        "num_segments": len(merged),
        "bytes": sum(segment.num_bytes for segment in merged),
        "bytes_written": sum(segment.num_bytes for segment in written),
        "seconds": time.perf_counter() - start,
    }


def merge_by_size(segments: Sequence[Segment], current: Collection[Shard]) -> list[Segment]:
    """Merge segments until there are fewer than ``FANOUT`` of about one size; each token is merged seldom.

    Segments of which more than a tenth of the shards is no longer in the index are written without these.
    """
    kept = []
    for segment in segments:
        num_gone = sum(shard not in current for shard in segment.shards)
        is_stale = num_gone > STALE * len(segment.shards)
        kept.append(merge_segments([segment], current) if is_stale else segment)
    while True:
        by_size: dict[int, list[Segment]] = defaultdict(list)
        for segment in kept:
            by_size[int(math.log(max(1, segment.num_tokens), FANOUT))].append(segment)
        full = next((some for _, some in sorted(by_size.items()) if len(some) >= FANOUT), None)
        if full is None:
            return kept
        names = {segment.name for segment in full}
        others = [segment for segment in kept if segment.name not in names]
        kept = [*others, merge_segments(full, current)]


def _still_good(learned: LearnedCodec | None, current: Collection[Shard]) -> LearnedCodec | None:
    """Return a codec without sampled windows of recordings that are gone; None if one is to be learned."""
    if learned is None or len(current) >= GROWTH * learned.num_shards:
        return None
    windows = learned.sampled_windows()
    kept = windows.filter(pa.array([shard in current for shard in shards_of(windows)]))
    if len(kept) < min(learned.num_shards, SAMPLED_SHARDS) / 2:
        return None
    return learned if len(kept) == len(windows) else replace(learned, sample=as_windows_file(kept))


def learn(parts: Sequence[Part]) -> LearnedCodec | None:
    """Learn a codec from shards spread evenly over an archive; None where they have too few tokens."""
    places = np.linspace(0, len(parts) - 1, min(len(parts), SAMPLED_SHARDS)).round().astype(int)
    samples, num_tokens = [], 0
    for place in places:
        windows = _read(parts[place], None)
        if windows is None:
            continue
        num_tokens += pc.sum(windows.column("num_tokens")).as_py()
        samples.append(windows.take([len(windows) // 2]))  # a copy: the shard itself is large
    vectors = [token_vectors(row) for some in samples for row in some.to_pylist() if row["num_tokens"]]
    if sum(map(len, vectors)) < MIN_TOKENS:
        return None
    codec = learn_codec(np.concatenate(vectors), num_tokens * len(parts) // len(samples))
    return LearnedCodec(codec, len(parts), as_windows_file(pa.concat_tables(samples)))


def code_shards(
    shards: Sequence[tuple[Shard, Part]], codec: TokenCodec, folder: str, block_tokens: int
) -> Segment | None:
    """Code the tokens of some shards, and write them as a segment; None where none can be read."""
    index = empty_index(codec)
    centroids = centroids_of(index)
    rows: list[dict[str, Any]] = []
    own_lists, own_blocks, own_codes = [], [], []
    first = 0
    for shard, part in shards:
        windows = _read(part, STATE_COLUMNS)
        if windows is None:
            continue
        numbers, coded = encode_tokens(index, centroids, windows.to_pylist())
        num_blocks = max(1, -(-len(numbers) // block_tokens))
        rows.append(dict(zip(SHARDS_SCHEMA.names, (*shard, len(numbers), num_blocks), strict=True)))
        own_lists.append(numbers)
        own_blocks.append(first + np.arange(len(numbers)) // block_tokens)
        own_codes.append(coded)
        first += num_blocks
    if not rows:
        return None
    table = pa.Table.from_pylist(rows, SHARDS_SCHEMA)
    lists, blocks, codes = (np.concatenate(some) for some in (own_lists, own_blocks, own_codes))
    return write_segment(folder, table, lists, blocks, codes, len(centroids))


def _read(part: Part, columns: Sequence[str] | None) -> pa.Table | None:
    """Read the windows of a shard; None, with a warning, where they are damaged."""
    try:
        return read_parts([part], columns)
    except Exception as error:
        if code_error(error) is not None:
            raise
        logger.warning("a part of a recording in {} gets no codes: {}", part.file, failure_sentence(error))
        return None
