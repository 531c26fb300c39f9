"""Update of an archive's search index: learn a codec, code what is new, remove what is gone."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from loguru import logger

from speechprune.config import ConfigError
from speechprune.cost import ModelShape
from speechprune.data.index_columns import STATE_COLUMNS
from speechprune.data.index_files import Contents, Part, read_parts
from speechprune.data.index_listing import Shard
from speechprune.data.inverted_lists import SHARDS_SCHEMA, Segment, merge_segments, write_segment
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
from speechprune.index.vocabulary import measure_vocabulary
from speechprune.models.options import ModelOptions
from speechprune.pipeline.answer_stage import load_in_worker
from speechprune.pipeline.executor import make_executor
from speechprune.pipeline.failures import code_error, failure_sentence

# a codec is learned again when the index has this many times the shards that it had then, or when less than
# half of those that it was learned from are still there
GROWTH = 4
SAMPLED_WINDOWS = 1024  # of as many shards, or several of each where there are fewer; of a quarter of them
# word statistics are so rough that recall@20 among 5,000 recordings is 3 points lower
LEARNED_WINDOWS = 256  # that have as many tokens as the codec is learned from
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
        handle = executor.submit(learn, parts, executor.model, block_tokens, with_model=True)
        learned = executor.get(handle)
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
    if learned is not earlier:
        codes.write_codec(learned)
    if learned is not earlier or [segment.name for segment in merged] != names:
        codes.publish(codec, merged)
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
    """Return a codec as long as it fits the archive; None if one is to be learned."""
    if learned is None or len(current) >= GROWTH * learned.num_shards:
        return None
    num_kept = sum(shard in current for shard in learned.sampled)
    return learned if num_kept >= len(learned.sampled) / 2 else None


def learn(parts: Mapping[Shard, Part], model: ModelOptions, block_tokens: int) -> LearnedCodec | None:
    """Learn a codec and word statistics from shards spread evenly over an archive.

    Returns None where these have too few tokens.
    """
    shards = list(parts)
    places = np.linspace(0, len(shards) - 1, min(len(shards), SAMPLED_WINDOWS)).round().astype(int)
    sampled, samples, num_tokens = [], [], 0
    for place in places:
        windows = _read(parts[shards[place]], None)
        if windows is None:
            continue
        sampled.append(shards[place])
        lengths = windows.column("num_tokens").to_numpy()
        num_tokens += int(lengths.sum())
        taken = _spread(np.flatnonzero(lengths), -(-SAMPLED_WINDOWS // len(places)))
        samples += [windows.take([window]) for window in taken]  # copies: the shard itself is large
    step = -(-len(samples) // LEARNED_WINDOWS)
    vectors = [token_vectors(row)[::step] for row in _rows(samples)]
    if sum(map(len, vectors)) < MIN_TOKENS:
        return None
    codec = learn_codec(np.concatenate(vectors), num_tokens * len(parts) // len(sampled))
    statistics = measure_vocabulary(load_in_worker(model, num_threads=None), _rows(samples), block_tokens)
    return LearnedCodec(codec, len(parts), sampled, statistics)


def _spread(places: np.ndarray, num: int) -> list[int]:
    """Choose some places evenly; all of them where there are fewer."""
    if len(places) <= num:
        return places.tolist()
    chosen: list[int] = places[((np.arange(num) + 0.5) * len(places) / num).astype(int)].tolist()
    return chosen


def _rows(tables: Iterable[pa.Table]) -> Iterator[dict[str, Any]]:
    return (row for table in tables for row in table.to_pylist())


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
