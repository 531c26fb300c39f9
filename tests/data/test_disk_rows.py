"""Rows on disk are those of the table that was written, however they are read."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from speechprune.data import manifest as manifest_module
from speechprune.data import row_files
from speechprune.data.disk_rows import DiskFile, DiskRows
from speechprune.data.row_keys import KeySet
from speechprune.pipeline.tasks import make_tasks, unpack_items
from tests.helpers.manifest_files import read_file, write_jsonl

PARTS = st.lists(st.integers(1, 5), min_size=1, max_size=5)


def table_of(sizes: list[int]) -> pa.Table:
    """Chunks of some sizes, with a dictionary of its own each."""
    ends = np.cumsum(sizes).tolist()
    spans = [range(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    return pa.concat_tables(
        [
            pa.table(
                {
                    "number": list(span),
                    "texts": pa.array(
                        [[f"row {n}", None] if n % 3 else None for n in span], pa.list_(pa.string())
                    ),
                    "kind": pa.array([f"kind {n % 4}" for n in span]).dictionary_encode(),
                }
            )
            for span in spans
        ]
    )


@given(PARTS, st.data())
def test_parts_are_those_of_the_table(sizes, data):
    table, file = table_of(sizes), DiskFile()
    for batch in table.to_batches():
        file.add(pa.Table.from_batches([batch]))
    rows = DiskRows(pa.concat_tables(file.tables), file)
    places = st.lists(st.integers(0, len(table) - 1), max_size=20)
    wanted = data.draw(places)
    some = rows.subset(np.array(wanted, np.int64))
    assert (len(rows), len(some), rows.column_names) == (len(table), len(wanted), table.column_names)
    expected = table.to_pylist()
    assert rows.take(np.array(wanted, np.int64)).to_pylist() == [expected[place] for place in wanted]
    assert rows.take(np.array(wanted, np.int64)).schema == table.schema
    assert rows.slice(1, 7).to_pylist() == expected[1:8]
    assert some.slice(1, 7).to_pylist() == [expected[place] for place in wanted][1:8]
    if wanted:
        assert some.take(np.array([len(wanted) - 1])).to_pylist() == [expected[wanted[-1]]]


def test_a_manifest_in_many_parts_is_that_in_one(tmp_path, monkeypatch):
    """Recordings are scattered, rows repeat, and a column's values have several types."""
    rows = [
        {"audio": f"{n % 4}.wav", "question": f"{n % 5}?", "note": 1 if n < 5 else "one", "weight": n / 2}
        for n in range(30)
    ]
    rows[7]["question"] = ""
    path = write_jsonl(tmp_path / "m.jsonl", rows)

    def everything() -> tuple:
        manifest = read_file(path)
        tasks = make_tasks(manifest, KeySet(manifest.ids[3:5])).table().to_pylist()
        packed = [unpack_items(task.pop("items")) for task in tasks]
        items = [(part.schema, part.to_pylist()) for part in packed]
        return manifest.items.to_pylist(), manifest.malformed, manifest.num_repeated, tasks, items

    whole = everything()
    for module in (row_files, manifest_module):
        monkeypatch.setattr(module, "ROWS_AT_A_TIME", 3)
    assert everything() == whole
    assert whole[2] > 0
