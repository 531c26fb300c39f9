"""Files of a search index, in the folder ``search`` of a model's folder in an index.

``manifest.json`` names the codec and the segments that searches use, and is replaced in one step. A codec
has a folder: ``codec.parquet``, with the word statistics, and the segments that it made. Files that the
manifest no longer names stay for a while, for searches that have read an earlier one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
from loguru import logger

from speechprune import storage
from speechprune.data.column import arrow_field
from speechprune.data.index_columns import SHARD_COLUMNS, WINDOWS_SCHEMA
from speechprune.data.index_listing import Shard
from speechprune.data.inverted_lists import Segment
from speechprune.data.parquet_files import DamagedFileError, as_parquet, read_parquet
from speechprune.data.token_codec import TokenCodec, empty_index
from speechprune.data.word_statistics import WordStatistics

SEARCH_FORMAT = 3  # 1 had no inverted lists, 2 a sample of windows in place of word statistics

_CODEC_SCHEMA = pa.schema(
    [
        arrow_field("num_shards", pa.int64(), "shards in the index when the codec was learned"),
        arrow_field(
            "sampled",
            pa.list_(pa.struct([WINDOWS_SCHEMA.field(name) for name in SHARD_COLUMNS])),
            "shards that it was learned from",
        ),
        arrow_field("quantiser", pa.large_binary(), "an IndexIVFPQ of FAISS without tokens"),
        arrow_field("num_windows", pa.int64(), "windows that the words were measured on"),
        arrow_field("sums", pa.large_binary(), "of each word of the vocabulary, float64"),
        arrow_field("squares", pa.large_binary(), "of each word of the vocabulary, float64"),
    ]
)


@dataclass(frozen=True)
class LearnedCodec:
    """A codec, and what a search needs to know of the archive that it was learned from."""

    codec: TokenCodec
    num_shards: int  # number of shards in the index then
    sampled: list[Shard]  # shards that it was learned from
    statistics: WordStatistics  # of the vocabulary, by token id, in their windows


class SearchCodes:
    """Reads and writes the search index in a model's folder of an index.

    ``path``: the model's folder, as of ``WindowsDirectory``.
    """

    def __init__(self, path: str) -> None:
        self.path = storage.join(path, "search")
        self._manifest_uri = storage.join(self.path, "manifest.json")

    def folder(self, codec: str) -> str:
        """Return the folder of a codec's segments."""
        return storage.join(self.path, codec)

    def published(self) -> tuple[LearnedCodec, list[str]] | None:
        """Read the codec and the names of the segments; None where there are none that can be read."""
        try:
            manifest = storage.read_json(self._manifest_uri)
            if manifest.get("format") != SEARCH_FORMAT:
                return None
            uri = storage.join(self.folder(manifest["codec"]), "codec.parquet")
            row = read_parquet(uri, lambda parquet: parquet.read().to_pylist()[0])
        except FileNotFoundError:
            return None
        except (DamagedFileError, storage.StorageError) as error:
            logger.warning("no search index: {}; the next run of the index job makes it again", error)
            return None
        statistics = WordStatistics(
            row["num_windows"], *(np.frombuffer(row[name], "<f8") for name in ("sums", "squares"))
        )
        sampled = [(one["recording"], one["version"], one["shard"]) for one in row["sampled"]]
        learned = LearnedCodec(TokenCodec(row["quantiser"]), row["num_shards"], sampled, statistics)
        return learned, manifest["segments"]

    def segments(self, codec: TokenCodec, names: Sequence[str]) -> list[Segment]:
        """Open segments of a codec, without those that can't be read."""
        num_lists, opened = empty_index(codec).nlist, []
        for name in names:
            try:
                opened.append(Segment.open(self.folder(codec.name), name, num_lists))
            except (FileNotFoundError, DamagedFileError) as error:
                logger.warning("a segment of the search index is passed over: {}", error)
        return opened

    def written(self, codec: TokenCodec) -> list[str]:
        """List the segments of a codec that are there, in the manifest or not, as after a kill."""
        files = storage.files_in(self.folder(codec.name), ".parquet")
        names = [file.rpartition("/")[2].removesuffix(".parquet") for file in files]
        return [name for name in names if name != "codec"]

    def write_codec(self, learned: LearnedCodec) -> None:
        """Write a codec, which searches use once its segments are published."""
        row = {
            "num_shards": learned.num_shards,
            "sampled": [dict(zip(SHARD_COLUMNS, shard, strict=True)) for shard in learned.sampled],
            "quantiser": learned.codec.quantiser,
            "num_windows": learned.statistics.num_windows,
            "sums": learned.statistics.sums.astype("<f8").tobytes(),
            "squares": learned.statistics.squares.astype("<f8").tobytes(),
        }
        uri = storage.join(self.folder(learned.codec.name), "codec.parquet")
        storage.write_bytes(uri, as_parquet(pa.Table.from_pylist([row], _CODEC_SCHEMA)))

    def publish(self, codec: TokenCodec, segments: Sequence[Segment]) -> None:
        """Make a codec and its segments those that searches use, in one step."""
        manifest = {
            "format": SEARCH_FORMAT,
            "codec": codec.name,
            "segments": [segment.name for segment in segments],
        }
        storage.write_json(self._manifest_uri, manifest)

    def withdraw(self) -> None:
        """Remove the search index."""
        storage.remove(self._manifest_uri)
        self.clean(None, [], kept_seconds=0.0)

    def clean(self, codec: TokenCodec | None, segments: Sequence[Segment], kept_seconds: float) -> None:
        """Remove the files that are not in use and older than that; other codecs at once."""
        used = {f"{segment.name}{ending}" for segment in segments for ending in (".lists", ".parquet")}
        for folder in storage.folders_in(self.path):
            is_current = codec is not None and folder.endswith(f"/{codec.name}")
            for file in storage.files_in(folder, ""):
                name = file.rpartition("/")[2]
                if is_current and name in used | {"codec.parquet"}:
                    continue
                if name == "codec.parquet" or _age_seconds(file) >= kept_seconds:
                    storage.remove(file)


def _age_seconds(uri: str) -> float:
    fs, path = storage.filesystem(uri)
    with storage.storage_errors(uri):
        written: datetime = fs.modified(path)
    return (datetime.now(UTC) - written).total_seconds()


def adopt(segments: Sequence[Segment], current: Collection[Shard]) -> list[Segment]:
    """Return the segments that hold shards of the index, no two of them the same one; the first ones stay."""
    coded: set[Shard] = set()
    adopted = []
    for segment in segments:
        own = {shard for shard in segment.shards if shard in current}
        if own and not own & coded:
            coded |= own
            adopted.append(segment)
    return adopted
