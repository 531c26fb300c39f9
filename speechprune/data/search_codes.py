"""Files of a search index, in the folder ``search`` of a model's folder in an index.

``codec.parquet`` holds the codec and a sample of windows, ``CODEC/*.parquet`` the codes of tokens, one row
per shard of a recording; CODEC is the codec's name. A search reads the states of shards that have no codes,
and leaves out codes of shards that are no longer in the index.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pyarrow as pa
from loguru import logger

from speechprune import storage
from speechprune.data.column import arrow_field
from speechprune.data.index_columns import SHARD_COLUMNS, WINDOWS_SCHEMA
from speechprune.data.index_files import Shard
from speechprune.data.parquet_files import DamagedFileError, as_parquet, open_parquet, read_parquet
from speechprune.data.token_codec import TokenCodec

CODES_FORMAT = 1

CODES_SCHEMA = pa.schema(
    [
        *(WINDOWS_SCHEMA.field(name) for name in SHARD_COLUMNS),
        arrow_field("codes", pa.large_binary(), "of all tokens of the shard, in order"),
    ]
)
_CODEC_SCHEMA = pa.schema(
    [
        arrow_field("format", pa.int32(), "version of these files"),
        arrow_field("num_shards", pa.int64(), "shards in the index when the codec was learned"),
        arrow_field("quantiser", pa.large_binary(), "an IndexIVFPQ of FAISS without tokens"),
        arrow_field("sample", pa.large_binary(), "a Parquet file of windows from all over the archive"),
    ]
)


@dataclass(frozen=True)
class LearnedCodec:
    """A codec, and what a search needs to know of the archive that it was learned from."""

    codec: TokenCodec
    num_shards: int  # number of shards in the index then
    sample: bytes  # a Parquet file of windows, which the statistics of words are measured on

    def sampled_windows(self) -> pa.Table:
        """Read the sample: windows of the index, no two of them of one shard."""
        return open_parquet(io.BytesIO(self.sample)).read()


class SearchCodes:
    """Reads and writes the search index in a model's folder of an index.

    ``path``: the model's folder, as of ``WindowsDirectory``.
    """

    def __init__(self, path: str) -> None:
        self.path = storage.join(path, "search")
        self._codec_uri = storage.join(self.path, "codec.parquet")

    def learned(self) -> LearnedCodec | None:
        """Read the codec; None where there is none, or one that can't be read or is of another version."""
        try:
            row = read_parquet(self._codec_uri, lambda parquet: parquet.read().to_pylist()[0])
        except FileNotFoundError:
            return None
        except DamagedFileError as error:
            logger.warning("no search index: {}; the next run of the index job makes it again", error)
            return None
        if row["format"] != CODES_FORMAT:
            return None
        return LearnedCodec(TokenCodec(row["quantiser"]), row["num_shards"], row["sample"])

    def publish(self, learned: LearnedCodec) -> None:
        """Make a codec the current one, in one step."""
        row = {
            "format": CODES_FORMAT,
            "num_shards": learned.num_shards,
            "quantiser": learned.codec.quantiser,
            "sample": learned.sample,
        }
        storage.write_bytes(self._codec_uri, as_parquet(pa.Table.from_pylist([row], _CODEC_SCHEMA)))

    def remove_all_but(self, codec: TokenCodec | None) -> None:
        """Remove the codes of all other codecs; without one, the search index."""
        if codec is None:
            storage.remove(self._codec_uri)
        for folder in storage.folders_in(self.path):
            if codec is None or not folder.endswith(f"/{codec.name}"):
                for file in storage.files_in(folder, ".parquet"):
                    storage.remove(file)

    def files(self, codec: TokenCodec) -> list[str]:
        """List the files with codes of a codec."""
        return storage.files_in(storage.join(self.path, codec.name), ".parquet")

    def num_bytes(self, learned: LearnedCodec) -> int:
        """Return the bytes of the search index."""
        return sum(map(storage.num_bytes, [self._codec_uri, *self.files(learned.codec)]))

    def write(self, codec: TokenCodec, rows: pa.Table) -> None:
        """Publish codes of some shards as one file, named by the shards in it, in one step."""
        names = "\n".join(map(repr, shards_of(rows)))
        name = hashlib.sha256(names.encode()).hexdigest()[:24]
        uri = storage.join(self.path, codec.name, f"{name}.parquet")
        storage.write_bytes(uri, as_parquet(rows, use_dictionary=["recording", "version"]))

    def keep_only(self, codec: TokenCodec, current: Collection[Shard]) -> set[Shard]:
        """Remove the codes of shards that are no longer in the index; returns the shards with codes."""
        coded: set[Shard] = set()
        for file in self.files(codec):
            try:
                shards = shards_of(
                    read_parquet(file, lambda parquet: parquet.read(list(SHARD_COLUMNS)), in_parts=True)
                )
                kept = [shard in current and shard not in coded for shard in shards]
                if not all(kept):
                    if any(kept):
                        rows = read_parquet(file, lambda parquet: parquet.read())
                        self.write(codec, rows.filter(pa.array(kept)))
                    storage.remove(file)
            except DamagedFileError as error:
                logger.warning("{}: its recordings are coded again", error)
                storage.remove(file)
                continue
            coded.update(shard for shard, is_kept in zip(shards, kept, strict=True) if is_kept)
        return coded


def read_codes(files: Sequence[str]) -> tuple[list[Shard], list[bytes]]:
    """Read shards and their codes; a file that can't be read is passed over."""
    shards: list[Shard] = []
    codes: list[bytes] = []
    for file in files:
        try:
            rows = read_parquet(file, lambda parquet: parquet.read())
        except (FileNotFoundError, DamagedFileError) as error:  # rewritten meanwhile, or damaged
            logger.warning("{} is passed over: {}", file, error)
            continue
        shards += shards_of(rows)
        codes += rows.column("codes").to_pylist()
    return shards, codes


def shards_of(rows: pa.Table) -> list[Shard]:
    """Return the shard of each row."""
    columns = [rows.column(name).to_pylist() for name in SHARD_COLUMNS]
    return list(zip(*columns, strict=True))
