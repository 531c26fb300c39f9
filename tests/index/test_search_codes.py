"""The search index: what is new is coded once, what is gone is removed, and a kill leaves the earlier one."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from speechprune import storage
from speechprune.config import ConfigError
from speechprune.data.index_columns import WINDOWS_SCHEMA
from speechprune.data.index_files import WindowsDirectory, read_parts
from speechprune.data.parquet_files import DamagedFileError
from speechprune.data.search_codes import SearchCodes
from speechprune.data.word_statistics import WordStatistics
from speechprune.index.config import ArchiveOptions, IndexConfig, IndexOptions
from speechprune.index.search_codes import check_search_codes, update_search_codes
from speechprune.models.options import ModelOptions
from speechprune.pipeline.options import RayOptions

pytest.importorskip("faiss")
pytestmark = pytest.mark.usefixtures("short_codes")

CONFIG = IndexConfig(
    archive=ArchiveOptions(path="sounds"),
    model=ModelOptions(path="model"),
    index=IndexOptions(path="index"),
    ray=RayOptions(executor="local"),
)
WIDTH = 12
KILLS = [0, 1, 3, 5]  # writes before a kill: of segments, a merged one, the manifest


@pytest.fixture
def _no_model(monkeypatch):
    """These states are no model's."""
    monkeypatch.setattr("speechprune.index.search_codes.load_in_worker", lambda *_, **__: None)
    statistics = WordStatistics(1, np.zeros(3), np.zeros(3))
    monkeypatch.setattr("speechprune.index.search_codes.measure_vocabulary", lambda *_: statistics)


def windows_of(recording: str, version: str, num_shards: int = 1, num_tokens: int = 300) -> pa.Table:
    """Random states: one window a shard."""
    rng = np.random.default_rng(sum(map(ord, recording + version)))
    rows = [
        {
            "recording": recording,
            "version": version,
            "shard": shard,
            "num_shards": num_shards,
            "window": shard,
            "num_tokens": num_tokens,
            "states": rng.normal(size=(num_tokens, WIDTH)).astype("<f2").tobytes(),
            "dtype": "float16",
            "width": WIDTH,
            "norms": rng.uniform(1, 2, num_tokens).tolist(),
            "token_times": b"",
        }
        for shard in range(num_shards)
    ]
    return pa.Table.from_pylist(rows, WINDOWS_SCHEMA)


@pytest.fixture
def directory(tmp_path, _no_model) -> WindowsDirectory:
    directory = WindowsDirectory(str(tmp_path / "model-1"))
    for name, num_shards in (("a", 1), ("b", 2), ("c", 1), ("d", 1)):
        directory.write(windows_of(name, "1", num_shards))
    return directory


def update(directory: WindowsDirectory):
    codes = SearchCodes(directory.path)
    return codes, update_search_codes(CONFIG, codes, directory.contents(), block_tokens=7)


def segments(codes: SearchCodes) -> list:
    learned, names = codes.published()
    opened = codes.segments(learned.codec, names)
    assert len(opened) == len(names)
    return opened


def coded(codes: SearchCodes) -> dict:
    """Number of tokens of each shard in each list."""
    tokens = {}
    for segment in segments(codes):
        owners = np.repeat(np.arange(len(segment.shards)), segment.num_blocks)
        counts = np.zeros((len(segment.shards), segment.num_lists), int)
        for number, (blocks, _) in segment.read(np.arange(segment.num_lists))[0].items():
            counts[:, number] = np.bincount(owners[blocks], minlength=len(segment.shards))
        assert not tokens.keys() & set(segment.shards)
        tokens |= dict(zip(segment.shards, counts.tolist(), strict=True))
    return tokens


def files_of(codes: SearchCodes) -> dict:
    return {path: path.stat().st_mtime_ns for path in Path(codes.path).rglob("*") if path.is_file()}


def test_a_run_codes_what_is_new_and_leaves_out_what_is_gone(directory):
    codes, counts = update(directory)
    assert (counts["num_coded"], counts["num_shards"]) == (5, 5)
    before, files = coded(codes), files_of(codes)
    assert set(before) == {("a", "1", 0), ("b", "1", 0), ("b", "1", 1), ("c", "1", 0), ("d", "1", 0)}
    assert {sum(own) for own in before.values()} == {300}
    directory.write(windows_of("e", "1"))
    codes, counts = update(directory)
    assert counts["num_coded"] == 1
    assert counts["bytes_written"] < 0.3 * counts["bytes"]
    unnamed = {path for path in files if path.suffix == ".lists"}
    assert files.items() >= {path: time for path, time in files_of(codes).items() if path in unnamed}.items()
    directory.write(windows_of("a", "2"))  # changed
    directory.settle({"a": "2", "b": "1", "d": "1", "e": "1"})  # c is gone
    codes, counts = update(directory)
    assert counts["num_coded"] == 1
    after = coded(codes)
    assert set(after) == {("a", "2", 0), ("b", "1", 0), ("b", "1", 1), ("d", "1", 0), ("e", "1", 0)}
    kept = before.keys() & after.keys()
    assert {shard: before[shard] for shard in kept} == {shard: after[shard] for shard in kept}
    files = files_of(codes)
    assert update(directory)[1]["num_coded"] == 0
    assert files_of(codes) == files


@pytest.mark.usefixtures("_no_model")
def test_a_night_of_one_percent_touches_one_percent(tmp_path, monkeypatch):
    """Of an earlier segment only the table of its shards is read."""
    directory = WindowsDirectory(str(tmp_path / "model-1"))
    directory.write(pa.concat_tables([windows_of(f"{i}", "1", num_tokens=60) for i in range(99)]))
    codes, _ = update(directory)
    before = files_of(codes)
    directory.write(windows_of("new", "1", num_tokens=60))
    read: list[str] = []
    monkeypatch.setattr("speechprune.data.inverted_lists.read_ranges", lambda uri, _: read.append(uri))
    assert update(directory)[1]["num_coded"] == 1
    assert read == []
    assert sorted(segment.num_tokens for segment in segments(codes)) == [60, 35 * 60, 64 * 60]
    changed = dict(files_of(codes).items() - before.items())
    assert sorted(path.suffix for path in changed) == [".json", ".lists", ".parquet"]


def test_small_segments_are_merged_and_earlier_ones_stay_for_a_while(directory, monkeypatch):
    monkeypatch.setattr("speechprune.index.search_codes.SHARDS_PER_SEGMENT", 1)
    monkeypatch.setattr("speechprune.index.search_codes.FANOUT", 3)
    codes, counts = update(directory)
    earlier = segments(codes)
    directory.write(windows_of("e", "1"))
    codes, counts = update(directory)
    assert counts["num_segments"] < 3
    assert len(coded(codes)) == 6
    assert sum(len(own.read(np.arange(own.num_lists))[0]) for own in earlier)  # by a search from before
    monkeypatch.setattr("speechprune.index.search_codes.KEPT_SECONDS", 0.0)
    update(directory)
    names = {path.stem for path in files_of(codes) if path.suffix == ".lists"}
    assert names == {segment.name for segment in segments(codes)}


@pytest.mark.parametrize("num_writes", KILLS)
def test_a_killed_run_leaves_the_earlier_index_and_is_continued(directory, tmp_path, monkeypatch, num_writes):
    """Killed at any of its writes, while it codes, merges and publishes."""
    monkeypatch.setattr("speechprune.index.search_codes.SHARDS_PER_SEGMENT", 2)
    monkeypatch.setattr("speechprune.index.search_codes.FANOUT", 2)
    undisturbed = WindowsDirectory(str(tmp_path / "undisturbed"))
    shutil.copytree(directory.path, undisturbed.path)
    expected = coded(update(undisturbed)[0])
    before = SearchCodes(directory.path)
    write, num_left = storage.write_bytes, [num_writes]

    def killed(uri, data):
        if not num_left[0]:
            raise KeyboardInterrupt
        num_left[0] -= 1
        write(uri, data)

    with monkeypatch.context() as patch:
        patch.setattr("speechprune.storage.write_bytes", killed)
        with pytest.raises(KeyboardInterrupt):
            update(directory)
    assert before.published() is None
    codes, counts = update(directory)
    assert coded(codes) == expected
    assert counts["num_coded"] == max(0, 5 - 2 * num_writes)


def test_a_grown_archive_gets_a_new_codec(directory):
    codes, _ = update(directory)
    earlier = codes.published()[0].codec
    for number in range(15):
        directory.write(windows_of(f"more-{number}", "1"))
    codes, counts = update(directory)
    assert counts["num_coded"] == counts["num_shards"] == 20
    assert codes.published()[0].codec.name != earlier.name
    assert not Path(codes.folder(earlier.name), "codec.parquet").exists()


def test_an_archive_that_lost_most_recordings_gets_a_new_codec(directory):
    update(directory)
    directory.settle({"b": "1"})
    codes, counts = update(directory)
    assert counts["num_coded"] == 2
    assert set(coded(codes)) == {("b", "1", 0), ("b", "1", 1)}


def test_damaged_files_are_refused_or_made_again(directory):
    codes, _ = update(directory)
    expected = coded(codes)
    [segment] = segments(codes)
    [lists] = Path(codes.path).rglob("*.lists")
    content = lists.read_bytes()
    lists.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(DamagedFileError, match="delete the folder search"):
        segment.read(np.arange(segment.num_lists))
    table = lists.with_suffix(".parquet")
    table.write_bytes(table.read_bytes()[:-100])
    assert update(directory)[1]["num_coded"] == 5
    assert coded(codes) == expected
    codec = lists.with_name("codec.parquet")
    codec.write_bytes(codec.read_bytes()[:-100])
    assert codes.published() is None
    assert update(directory)[1]["num_coded"] == 0  # the same windows give the same codec
    assert coded(codes) == expected


def test_token_ids_need_no_codes(tiny_lm):
    shape = tiny_lm.model.shape
    check_search_codes(IndexOptions(path="index", search_codes=True), shape)
    ids = SimpleNamespace(encoder=SimpleNamespace(states_size=1))
    with pytest.raises(ConfigError, match="are token ids"):
        check_search_codes(IndexOptions(path="index", search_codes=True), ids)


@pytest.mark.usefixtures("_no_model")
def test_an_archive_with_few_tokens_has_none(tmp_path):
    directory = WindowsDirectory(str(tmp_path / "model-1"))
    assert update(directory)[1] is None
    directory.write(windows_of("a", "1", num_tokens=200))
    assert update(directory)[1] is None
    directory.write(windows_of("b", "1", num_shards=2))
    assert update(directory)[1] is not None
    directory.settle({"a": "1"})
    codes, counts = update(directory)
    assert (counts, codes.published(), files_of(codes)) == (None, None, {})


def test_a_damaged_part_gets_no_codes_and_the_others_do(directory, monkeypatch):
    def read(parts, columns=None):
        table = read_parts(parts, columns)
        if read_parts(parts, ["recording"]).column(0)[0].as_py() == "c":
            raise DamagedFileError("its bytes are not those that were written")
        return table

    monkeypatch.setattr("speechprune.index.search_codes.read_parts", read)
    codes, _ = update(directory)
    assert {recording for recording, _, _ in coded(codes)} == {"a", "b", "d"}
