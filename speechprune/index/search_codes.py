"""Update of an archive's search index: learn a codec, code what is new, remove what is gone."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from loguru import logger

from speechprune.config import ConfigError
from speechprune.cost import ModelShape
from speechprune.data.index_columns import STATE_COLUMNS
from speechprune.data.index_files import Contents, Part, Shard, as_windows_file, read_parts
from speechprune.data.search_codes import CODES_SCHEMA, LearnedCodec, SearchCodes, shards_of
from speechprune.data.token_codec import (
    MIN_TOKENS,
    TokenCodec,
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
SHARDS_PER_FILE = 64


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
    config: IndexConfig, codes: SearchCodes, contents: Contents
) -> dict[str, float | int] | None:
    """Bring the codes up to date with the windows; returns counts, or None where there are too few tokens.

    A new codec is published when all shards are coded with it: until then searches use the earlier one.

    - ``contents``: of the windows, as they are.
    """
    start = time.perf_counter()
    parts = {
        (uri, version, shard): part
        for (uri, version), there in sorted(contents.items())
        for shard, part in sorted(there.parts.items())
    }
    earlier = codes.learned()
    learned = _still_good(earlier, parts.keys())
    executor = None
    if learned is None:
        executor = make_executor(config.ray, config.model)
        learned = executor.get(executor.submit(learn, list(parts.values())))
        if learned is None:
            logger.info("no search index: the archive has too few tokens for one, and is searched without")
            codes.remove_all_but(None)
            return None
    coded = codes.keep_only(learned.codec, parts.keys())
    missing = [(shard, part) for shard, part in parts.items() if shard not in coded]
    if missing:
        logger.info("search index: {:,} of {:,} parts of recordings to code", len(missing), len(parts))
        executor = executor or make_executor(config.ray, config.model)
        codec = executor.put(learned.codec)
        blocks = [missing[i : i + SHARDS_PER_FILE] for i in range(0, len(missing), SHARDS_PER_FILE)]
        for handle in [executor.submit(code_shards, block, codec, codes) for block in blocks]:
            executor.get(handle)
    if learned != earlier:
        codes.publish(learned)
    codes.remove_all_but(learned.codec)
    return {
        "num_coded": len(missing),
        "num_shards": len(parts),
        "bytes": codes.num_bytes(learned),
        "seconds": time.perf_counter() - start,
    }


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


def code_shards(shards: Sequence[tuple[Shard, Part]], codec: TokenCodec, codes: SearchCodes) -> None:
    """Code the tokens of some shards, and write them as one file."""
    index = empty_index(codec)
    rows = []
    for shard, part in shards:
        windows = _read(part, STATE_COLUMNS)
        if windows is not None:
            rows.append((*shard, encode_tokens(index, windows.to_pylist())))
    if rows:
        named = [dict(zip(CODES_SCHEMA.names, row, strict=True)) for row in rows]
        codes.write(codec, pa.Table.from_pylist(named, CODES_SCHEMA))


def _read(part: Part, columns: Sequence[str] | None) -> pa.Table | None:
    """Read the windows of a shard; None, with a warning, where they are damaged."""
    try:
        return read_parts([part], columns)
    except Exception as error:
        if code_error(error) is not None:
            raise
        logger.warning("a part of a recording in {} gets no codes: {}", part.file, failure_sentence(error))
        return None
