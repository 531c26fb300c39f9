"""Update of an archive's search index: learn a codec, code what is new, remove what is gone."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from loguru import logger

from speechprune.config import ConfigError
from speechprune.cost import ModelShape
from speechprune.data.index_columns import STATE_COLUMNS
from speechprune.data.index_files import Contents, Part, Shard, as_windows_file, read_parts
from speechprune.data.search_codes import CODES_SCHEMA, LearnedCodec, SearchCodes
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

GROWTH = 4  # a codec is learned again when the index has this many times the shards that it had then
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
    learned = codes.learned()
    executor = None
    if learned is None or len(parts) >= GROWTH * learned.num_shards:
        executor = make_executor(config.ray, config.model)
        learned = executor.get(executor.submit(learn, list(parts.values())))
        if learned is None:
            logger.info("no search index: the archive has too few tokens for one, and is searched without")
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
    codes.publish(learned)
    return {
        "num_coded": len(missing),
        "num_shards": len(parts),
        "bytes": codes.num_bytes(learned),
        "seconds": time.perf_counter() - start,
    }


def learn(parts: Sequence[Part]) -> LearnedCodec | None:
    """Learn a codec from shards spread evenly over an archive; None where they have too few tokens."""
    places = np.linspace(0, len(parts) - 1, min(len(parts), SAMPLED_SHARDS)).round().astype(int)
    samples, num_tokens = [], 0
    for place in places:
        windows = read_parts([parts[place]])
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
    coded = [encode_tokens(index, read_parts([part], STATE_COLUMNS).to_pylist()) for _, part in shards]
    keys = [pa.array(column) for column in zip(*(shard for shard, _ in shards), strict=True)]
    rows = pa.Table.from_arrays([*keys, pa.array(coded, pa.large_binary())], CODES_SCHEMA.names)
    codes.write(codec, rows.cast(CODES_SCHEMA))
