"""Damage anywhere in a file is noticed: its bytes have checksums, Parquet's own and two of ours."""

import io
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from speechprune import storage
from speechprune.data.index_files import Part, WindowsDirectory, read_parts
from speechprune.data.parquet_files import DamagedFileError, as_parquet, read_parquet
from tests.data.test_index_files import shard

FLIPPED_BITS, ZEROED_RANGES = 400, 100


def damaged(data: bytes, seed: int = 0):
    """Copies of a file with one bit flipped or a range zeroed, anywhere in it."""
    generator = random.Random(seed)
    for _ in range(FLIPPED_BITS):
        copy = bytearray(data)
        copy[generator.randrange(len(copy))] ^= 1 << generator.randrange(8)
        yield bytes(copy)
    for _ in range(ZEROED_RANGES):
        begin, length = generator.randrange(len(data)), generator.choice([1, 8, 64, 512, 4096])
        end = min(len(data), begin + length)
        yield data[:begin] + bytes(end - begin) + data[end:]


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """Numbers, texts and lists that repeat and don't, with nulls."""
    return pa.table(
        {
            "item_id": [f"item-{i}" for i in range(40)],
            "question": ["Who?", None] * 20,
            "correct": [True, None, False, True] * 10,
            "scores": [[i / 7, 1.0] for i in range(40)],
            "seconds": [i / 3 for i in range(40)],
        }
    )


def test_no_damage_gives_other_values(table, tmp_path):
    file = str(tmp_path / "a.parquet")
    data = as_parquet(table)
    for copy in damaged(data):
        storage.write_bytes(file, copy)
        if copy == data:  # zeros where zeros were
            assert read_parquet(file, lambda parquet: parquet.read()).equals(table)
        else:
            with pytest.raises(DamagedFileError, match=r"a\.parquet is not a whole Parquet file: "):
                read_parquet(file, lambda parquet: parquet.read())


def test_damage_to_the_footer_of_an_index_is_noticed_without_reading_its_pages(tmp_path):
    directory = WindowsDirectory(str(tmp_path))
    directory.write(pa.concat_tables([shard("a", 0, 2), shard("a", 1, 2)]))
    [file] = directory.files()
    data = storage.read_bytes(file)
    parts = [Part(file, 0), Part(file, 1)]
    expected = read_parts(parts)
    begin = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    generator = random.Random(0)
    for _ in range(FLIPPED_BITS // 4):
        copy = bytearray(data)
        copy[generator.randrange(begin, len(copy))] ^= 1 << generator.randrange(8)
        storage.write_bytes(file, bytes(copy))
        with pytest.raises((storage.StorageError, pa.ArrowException, OSError)):
            read_parts(parts)
        assert directory.contents() == {}
    storage.write_bytes(file, data)
    assert read_parts(parts).equals(expected)


def test_a_long_footer_is_verified_too(tmp_path):
    wide = pa.table({f"column {i}": [i] for i in range(900)})
    data = as_parquet(wide)
    (tmp_path / "a.parquet").write_bytes(data)
    file = str(tmp_path / "a.parquet")
    assert read_parquet(file, lambda parquet: parquet.read(), in_parts=True).equals(wide)
    place = data.rindex(b"column 777")
    (tmp_path / "a.parquet").write_bytes(data[:place] + b"column 778" + data[place + 10 :])
    with pytest.raises(DamagedFileError):
        read_parquet(file, lambda parquet: parquet.read(), in_parts=True)


def test_other_readers_read_what_is_written_and_files_of_others_are_read(table, tmp_path):
    assert pq.read_table(io.BytesIO(as_parquet(table))).equals(table)
    pq.write_table(table, tmp_path / "other.parquet")
    for in_parts in (False, True):
        other = str(tmp_path / "other.parquet")
        assert read_parquet(other, lambda parquet: parquet.read(), in_parts=in_parts).equals(table)


def test_a_table_without_rows_is_a_file(table):
    assert pq.read_table(io.BytesIO(as_parquet(table.slice(0, 0)))).equals(table.slice(0, 0))
