"""Manifests: four formats say the same, ids hold, a limit is one, embedded audio becomes files."""

import hashlib
import json
from pathlib import Path

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechprune.data import row_files
from speechprune.data.manifest import ManifestError
from tests.helpers.manifest_files import (
    ITEMS,
    ONE,
    read_file,
    write_csv,
    write_csv_with_bars,
    write_dataset,
    write_dataset_with_splits,
    write_jsonl,
    write_parquet,
    write_parquet_folder,
)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("m.jsonl", write_jsonl),
        ("m.parquet", write_parquet),
        ("m.csv", write_csv),
        ("bars.csv", write_csv_with_bars),
        ("saved", write_dataset),
        ("splits", write_dataset_with_splits),
    ],
)
def test_every_format_gives_the_same_items(tmp_path, name, write):
    write(tmp_path / name, ITEMS)
    manifest = read_file(tmp_path / name)
    base = tmp_path / name if (tmp_path / name).is_dir() else tmp_path
    expected = [dict(item) for item in ITEMS]
    for item, letter in zip(expected, ["B", "B", "something"], strict=True):
        item["answer"] = letter
        item["audio"] = item["audio"] if "://" in item["audio"] else str(base / item["audio"])
    assert manifest.items.to_pylist() == expected
    assert manifest.malformed == {}


def test_a_track_is_a_number_and_may_be_set_for_all(tmp_path):
    rows = [ONE | {"item_id": str(i), "track": cell} for i, cell in enumerate([None, "", 0, "2", 3.0])]
    write_jsonl(tmp_path / "m.jsonl", rows)
    assert read_file(tmp_path / "m.jsonl").items.column("track").to_pylist() == [None, None, 0, 2, 3]
    assert read_file(tmp_path / "m.jsonl", track=1).items.column("track").to_pylist() == [1, 1, 0, 2, 3]
    for cell in ("planning", -1, 1.5, True):
        write_jsonl(tmp_path / "m.jsonl", [ONE | {"track": cell}])
        with pytest.raises(ManifestError, match=r"row 1: track is .*: give the number .*; rename the column"):
            read_file(tmp_path / "m.jsonl")


def test_an_id_made_of_a_row_depends_on_its_track_alone_where_it_has_one(tmp_path):
    """Ids of manifests without tracks stay what they were."""
    without, first, second = ({}, {"track": 0}, {"track": 1})
    ids = []
    for track in (without, {"track": None}, first, second):
        write_jsonl(tmp_path / "m.jsonl", [{"audio": "a.wav", "question": "Who?"} | track])
        ids.append(read_file(tmp_path / "m.jsonl").items.column("item_id")[0].as_py())
    assert ids[0] == ids[1] == "2492c4099c658561"
    assert len(set(ids)) == 3


def test_a_folder_of_parquet_files_is_one_manifest(tmp_path):
    folder = write_parquet_folder(tmp_path / "[1] *", ITEMS)  # nothing in its name is a pattern
    items = read_file(folder).items
    assert items.column("item_id").to_pylist() == ["a", "b", "c"]
    assert items.column("audio")[0].as_py() == str(folder / "sound/one.wav")


def test_relative_audio_starts_at_the_manifest_however_it_is_addressed(tmp_path, monkeypatch):
    write_jsonl(tmp_path / "m.jsonl", [ONE])
    monkeypatch.chdir(tmp_path)
    for address in ("m.jsonl", f"{tmp_path}/m.jsonl", f"file://{tmp_path}/m.jsonl"):
        assert read_file(address).items.column("audio").to_pylist() == [str(tmp_path / "a.wav")]


def test_a_split_that_is_not_there_is_named_beside_those_that_are(tmp_path):
    write_dataset_with_splits(tmp_path / "saved", ITEMS)
    with pytest.raises(ManifestError, match=r"no split dev: set input\.split to one of train, test"):
        read_file(tmp_path / "saved", split="dev")


@pytest.mark.parametrize(("name", "write"), [("m.jsonl", write_jsonl), ("m.parquet", write_parquet)])
def test_rows_that_are_read_in_parts_are_the_same_manifest(tmp_path, monkeypatch, name, write):
    rows = [ITEMS[0] | {"item_id": str(i % 5), "start": None, "end": None} for i in range(9)]
    rows[3]["question"] = rows[8]["question"] = "  "  # of id 3, twice
    write(tmp_path / name, rows)
    whole = read_file(tmp_path / name)
    monkeypatch.setattr(row_files, "ROWS_AT_A_TIME", 2)
    parts = read_file(tmp_path / name)
    assert parts.items == whole.items
    assert (parts.malformed, parts.num_repeated) == (whole.malformed, whole.num_repeated)
    assert list(parts.malformed) == ["3"]
    assert read_file(tmp_path / name, limit=4).items == whole.items.slice(0, 4)
    write(tmp_path / name, [*rows, rows[0] | {"question": "Else?"}, rows[1] | {"choices": ["one"]}])
    with pytest.raises(ManifestError, match=r"row 10: item_id '0' already names .*; row 11: choices is"):
        read_file(tmp_path / name)


# ids


def test_ids_are_made_of_the_row_as_written_so_a_moved_archive_keeps_them(tmp_path):
    rows = [{key: value for key, value in item.items() if key != "item_id"} for item in ITEMS]
    (tmp_path / "moved").mkdir()
    here = read_file(write_jsonl(tmp_path / "m.jsonl", rows)).items
    there = read_file(write_parquet(tmp_path / "moved/m.parquet", rows)).items
    ids = here.column("item_id").to_pylist()
    assert ids == there.column("item_id").to_pylist()
    assert len(set(ids)) == 3
    assert (
        read_file(write_jsonl(tmp_path / "m.jsonl", rows[::-1])).items.column("item_id").to_pylist()
        == ids[::-1]
    )


@given(st.sampled_from(["audio", "question", "choices", "answer", "start", "end"]))
def test_everything_that_is_asked_counts_in_an_id(tmp_path_factory, column):
    changed = {
        "audio": "other.wav",
        "question": "Else?",
        "choices": ["x", "Tuesday"],
        "answer": "Friday",
        "start": 2.0,
        "end": 19.0,
    }
    row = {key: value for key, value in ITEMS[0].items() if key != "item_id"}
    path = tmp_path_factory.getbasetemp() / "ids.jsonl"
    ids = read_file(write_jsonl(path, [row, row | {column: changed[column]}])).items.column("item_id")
    assert len(ids) == 2
    assert ids[0] != ids[1]


def test_an_item_said_twice_counts_once(read):
    manifest = read([ONE, ONE | {"question": "What?"}, ONE])
    assert len(manifest.items) == 2
    assert manifest.num_repeated == 1


def test_numbers_as_ids_become_text(read):
    assert read([ONE | {"item_id": 7}]).items.column("item_id").to_pylist() == ["7"]


@given(st.text(st.characters(blacklist_categories=["Cs"]), min_size=1).filter(lambda text: text.strip()))
def test_any_text_survives_as_jsonl(tmp_path_factory, text):
    """Line separators of Unicode too, which are no line ends in JSON."""
    path = tmp_path_factory.getbasetemp() / "text.jsonl"
    path.write_bytes(json.dumps(ONE | {"question": text, "note": text}, ensure_ascii=False).encode())
    (item,) = read_file(path).items.to_pylist()
    assert (item["question"], item["note"]) == (text, text)


def test_a_byte_order_mark_and_long_cells_are_no_obstacle(tmp_path):
    transcript = "word " * 50_000
    content = f"\ufeffaudio,question,transcript\na.wav,Who?,{transcript}\n"
    (tmp_path / "m.csv").write_text(content)
    (item,) = read_file(tmp_path / "m.csv").items.to_pylist()
    assert item["transcript"] == transcript
    (tmp_path / "m.jsonl").write_text("\ufeff" + json.dumps(ONE))
    assert len(read_file(tmp_path / "m.jsonl").items) == 1


# limit, embedded audio


def test_a_limit_takes_the_first_items(read):
    rows = [ONE | {"question": str(i)} for i in (0, 0, 1, 2, 3)]
    assert read(rows, limit=3).items.column("question").to_pylist() == ["0", "1", "2"]


def test_rows_behind_the_limit_are_not_judged(read):
    assert len(read([ONE, ONE | {"choices": ["one"]}], limit=1).items) == 1


def test_embedded_audio_is_written_once_and_spoken_of_as_a_file(tmp_path):
    sounds = [b"RIFF one", b"RIFF two"]
    rows = [{"audio": {"bytes": sounds[i % 2], "path": "x.wav"}, "question": str(i)} for i in range(4)]
    rows.append({"audio": {"bytes": None, "path": "named.wav"}, "question": "4"})
    write_parquet(tmp_path / "m.parquet", rows)
    audio = read_file(tmp_path / "m.parquet").items.column("audio").to_pylist()
    assert [Path(uri).read_bytes() for uri in audio[:4]] == [sounds[0], sounds[1]] * 2
    assert audio[4] == str(tmp_path / "named.wav")
    files = list((tmp_path / "run/audio").iterdir())
    assert len(files) == 2
    before = {file: file.stat().st_mtime_ns for file in files}
    read_file(tmp_path / "m.parquet")
    assert {file: file.stat().st_mtime_ns for file in files} == before
    # plain binary cells are embedded audio too, and the id is of the sound
    plain = [{"audio": sounds[0], "question": "0"}]
    read_again = read_file(write_parquet(tmp_path / "plain.parquet", plain)).items
    assert hashlib.sha256(Path(read_again.column("audio")[0].as_py()).read_bytes()).hexdigest() == (
        hashlib.sha256(sounds[0]).hexdigest()
    )
    first = read_file(tmp_path / "m.parquet").items.column("item_id")[0]
    assert read_again.column("item_id")[0] == first


def test_an_audio_column_of_datasets_is_embedded_audio(tmp_path, speech):
    import soundfile

    soundfile.write(tmp_path / "a.wav", speech(0.5), 16_000)
    sound = {"bytes": (tmp_path / "a.wav").read_bytes(), "path": "a.wav"}
    dataset = datasets.Dataset.from_dict({"audio": [sound], "question": ["Who?"]})
    dataset.cast_column("audio", datasets.Audio()).save_to_disk(tmp_path / "saved")
    (uri,) = read_file(tmp_path / "saved").items.column("audio").to_pylist()
    assert Path(uri).read_bytes() == sound["bytes"]
