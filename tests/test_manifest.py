"""Manifests: four formats say the same, and what can't be asked is named before any worker starts."""

import contextlib
import csv
import datetime
import hashlib
import json
import math
import string
from decimal import Decimal
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechprune.config import InputOptions
from speechprune.manifest import Manifest, ManifestError, gold_letter, read_manifest

ITEMS = [
    {
        "item_id": "a",
        "audio": "sound/one.wav",
        "question": "Wann? “Dienstag”, say",
        "choices": ["Monday", "Tuesday", "Friday"],
        "answer": "Tuesday",
        "start": 1.5,
        "end": 20.0,
        "speaker": "Anna",
    },
    {
        "item_id": "b",
        "audio": "sound/one.wav",
        "question": "Who, then?",
        "choices": ["1", "2"],
        "answer": "B",
        "start": None,
        "end": None,
        "speaker": None,
    },
    {
        "item_id": "c",
        "audio": "s3://bucket/two.opus",
        "question": "What\nis said?",
        "choices": None,
        "answer": "something",
        "start": None,
        "end": None,
        "speaker": "Bert, C.",
    },
]
ONE = {"audio": "a.wav", "question": "Who speaks?"}


@pytest.fixture
def read(tmp_path):
    """``read(rows)``: a JSONL manifest of these rows, read."""

    def read_rows(rows: list[dict], **options) -> Manifest:
        return read_file(write_jsonl(tmp_path / "manifest.jsonl", rows), **options)

    return read_rows


def read_file(path, **options) -> Manifest:
    return read_manifest(InputOptions(manifest=str(path), **options), str(Path(path).parent / "run/audio"))


def write_jsonl(path, rows):
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    return path


def write_parquet(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def write_parquet_folder(path, rows):
    path.mkdir()
    write_parquet(path / "0.parquet", rows[:1])
    write_parquet(path / "1.parquet", rows[1:])
    return path


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            choices = row["choices"] and json.dumps(row["choices"])
            writer.writerow(row | {"choices": choices})
    return path


def write_csv_with_bars(path, rows):
    return write_csv(path, rows) and path.write_text(
        path.read_text()
        .replace('"[""Monday"", ""Tuesday"", ""Friday""]"', "Monday | Tuesday|Friday")
        .replace('"[""1"", ""2""]"', "1|2")
    )


def write_dataset(path, rows):
    datasets.Dataset.from_list(rows).save_to_disk(path)
    return path


def write_dataset_with_splits(path, rows):
    dataset = datasets.Dataset.from_list(rows)
    datasets.DatasetDict({"train": dataset.select([0]), "test": dataset}).save_to_disk(path)
    return path


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


# gold answers

TEXTS = st.lists(
    st.text(alphabet=string.ascii_letters + " äß", min_size=2, max_size=8).filter(
        lambda text: len(text.strip()) > 1
    ),
    min_size=2,
    max_size=26,
    unique_by=lambda text: text.strip().casefold(),
)


@given(TEXTS, st.data())
def test_text_letter_and_index_of_a_choice_mean_the_same_letter(choices, data):
    index = data.draw(st.integers(0, len(choices) - 1))
    letter = string.ascii_uppercase[index]
    for answer in (
        choices[index],
        f"  {choices[index].swapcase()} " if choices[index].isascii() else choices[index],
        letter,
        letter.lower(),
        f"({letter})",
        f"{letter}.",
        index,
        float(index),
        str(index),
    ):
        assert gold_letter(answer, choices) == letter


@given(TEXTS, st.one_of(st.integers(), st.text(), st.floats(), st.booleans()))
def test_a_gold_answer_is_a_letter_of_the_choices_or_refused(choices, answer):
    with contextlib.suppress(ManifestError):
        assert gold_letter(answer, choices) in string.ascii_uppercase[: len(choices)]


def test_a_text_goes_before_a_letter_and_a_letter_before_an_index():
    assert gold_letter("B", ["B", "A"]) == "A"
    assert gold_letter("1", ["1", "2"]) == "A"
    assert gold_letter(1, ["1", "2"]) == "B"
    assert gold_letter(True, ["False", "True"]) == "B"


def test_a_text_that_two_choices_share_is_refused():
    with pytest.raises(ManifestError, match="more than one of the choices"):
        gold_letter("yes", ["yes", "Yes "])


# refusals: each of these ends the job before any worker starts


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"choices": ["only one"]}, "row 2: choices is ['only one']: give a list of 2 to 26"),
        ({"choices": []}, "row 2: choices is []: give a list of 2 to 26"),
        ({"choices": [str(i) for i in range(27)]}, "give a list of 2 to 26"),
        ({"choices": {"A": "x"}}, "row 2: choices is {'A': 'x'}: give a list"),
        ({"choices": ["a", " "]}, "row 2: choices is ['a', ' ']: a choice has no text"),
        ({"choices": ["a", None]}, "a choice has no text"),
        ({"choices": ["a", "b"], "answer": "z"}, "row 2: answer 'z' matches none of the choices ['a', 'b']"),
        ({"choices": ["a", "b"], "answer": 2}, "row 2: answer 2 is no index into 2 choices (from 0)"),
        ({"choices": ["a", "b"], "answer": -1}, "row 2: answer -1 is no index"),
        ({"choices": ["a", "A"], "answer": "a"}, "row 2: answer 'a' matches more than one"),
        ({"start": "soon"}, "row 2: start is 'soon': give seconds"),
        ({"end": [1]}, "row 2: end is [1]: give seconds"),
        ({"item_id": "first"}, "row 2: item_id 'first' already names a different item"),
        ({"question": "half a pair: \ud800"}, "row 2: its text is not valid Unicode"),
    ],
)
def test_a_row_that_can_be_no_item_is_named(tmp_path, change, sentence):
    rows = [{"item_id": "first", "audio": "z.wav", "question": "?"}, ONE | change]
    path = tmp_path / "manifest.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    with pytest.raises(ManifestError) as refusal:
        read_file(path)
    assert sentence in str(refusal.value)
    assert "manifest.jsonl" in str(refusal.value)


def test_many_bad_rows_are_counted_after_the_first_five(read):
    with pytest.raises(ManifestError, match=r"row 1: .*row 5: .*; and 3 more$"):
        read([ONE | {"question": str(i), "choices": ["x"]} for i in range(8)])


@pytest.mark.parametrize("column", ["audio", "question"])
def test_a_manifest_without_audio_or_question_is_refused(read, column):
    rows = [{key: value for key, value in item.items() if key != column} for item in ITEMS]
    with pytest.raises(ManifestError, match=f"has no column {column}; it has item_id, "):
        read(rows)


@pytest.mark.parametrize("column", ["prediction", "status", "error", "evidence_recall"])
def test_columns_that_answers_have_can_not_be_carried(read, column):
    with pytest.raises(ManifestError, match=f"rename {column}"):
        read([ONE | {column: "x"}])


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("none.jsonl", None, "does not exist"),
        ("empty.jsonl", b"", "has no rows"),
        ("empty.csv", b"audio,question\n", "has no rows"),
        ("m.jsonl", b'{"audio": "a"\n', "line 1 of the manifest is not JSON"),
        ("m.jsonl", b'{"audio": "a", "question": "q"}\n[1]\n', "line 2 of the manifest is not a JSON object"),
        ("m.jsonl", b"\xff\xfe\x00", "can't be read"),
        ("m.csv", b"audio,question\na,b,c\n", "line 2 of the manifest has more cells than the header"),
        ("m.parquet", b"PAR1 not really", "can't be read"),
        ("m.parquet", b"", "can't be read"),
        ("folder/none", None, "neither a file here nor a dataset that can be loaded"),
    ],
)
def test_a_file_that_is_no_manifest_is_named(tmp_path, monkeypatch, name, content, sentence):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ManifestError, match=sentence):
        read_file(tmp_path / name)


# malformed rows: a failed row each, and the job goes on


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"question": ""}, "question is empty: give its text"),
        ({"question": "  \n"}, "question is empty"),
        ({"question": None}, "question is empty"),
        ({"audio": ""}, "audio is empty: give a URI"),
        ({"audio": None}, "audio is empty"),
        ({"start": 5, "end": 5}, "no slice: give 0 <= start < end"),
        ({"start": 5, "end": 2}, "no slice"),
        ({"start": -1}, "no slice"),
        ({"end": 0}, "no slice"),
        ({"start": math.nan}, "no slice"),
        ({"end": math.nan}, "no slice"),
        ({"end": math.inf}, "no slice"),
        ({"start": math.inf}, "no slice"),
        (
            {"evidence_start": 5, "evidence_end": 2},
            "evidence_start 5 and evidence_end 2 are no span: give seconds",
        ),
        ({"evidence_start": 5, "evidence_end": 5}, "are no span"),
        ({"evidence_start": -1, "evidence_end": 5}, "are no span"),
        (
            {"evidence_start": "soon", "evidence_end": 5},
            "evidence_start 'soon' and evidence_end 5 are no span",
        ),
        ({"evidence_start": 5, "evidence_end": [6]}, "are no span"),
        ({"evidence_start": True, "evidence_end": 5}, "are no span"),
        ({"evidence_start": 5}, "evidence_start 5 and evidence_end None are no span"),
        ({"evidence_end": 5}, "are no span"),
        ({"evidence_start": math.nan, "evidence_end": 5}, "are no span"),
        ({"evidence_start": 5, "evidence_end": math.inf}, "are no span"),
    ],
)
def test_a_malformed_row_is_an_item_with_a_sentence(read, change, sentence):
    manifest = read([ONE, ONE | {"item_id": "bad"} | change])
    assert len(manifest.items) == 2
    assert list(manifest.malformed) == ["bad"]
    assert sentence in manifest.malformed["bad"]


# carried columns


def test_carried_columns_keep_their_types(tmp_path):
    carried = {
        "count": pa.array([1, None], pa.int16()),
        "weight": pa.array([0.1, 0.2], pa.float32()),
        "day": pa.array([datetime.date(2026, 1, 2), None]),
        "moment": pa.array([1, 2], pa.timestamp("ns", tz="Europe/Berlin")),
        "price": pa.array([Decimal("1.20"), None], pa.decimal128(10, 2)),
        "meta": pa.array([{"a": [1, 2], "b": None}, {"a": [], "b": "x"}]),
        "tags": pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int32())),
        "kind": pa.array(["x", "y"]).dictionary_encode(),
        "blob": pa.array([b"\x00\xff", None]),
        "large": pa.array([2**63 + 1, 1], pa.uint64()),
        "flag": pa.array([True, None]),
    }
    own = {"audio": ["a.wav", "b.wav"], "question": ["x", "y"]}
    pq.write_table(pa.table(own | carried), tmp_path / "m.parquet")
    items = read_file(tmp_path / "m.parquet").items
    written = pq.read_table(tmp_path / "m.parquet")
    assert items.select(list(carried)) == written.select(list(carried))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2], [1, 2]),
        ([1, 2.5], [1.0, 2.5]),
        ([{"a": 1}, {"b": [2]}], [{"a": 1, "b": None}, {"a": None, "b": [2]}]),
        ([1, "a"], ["1", '"a"']),
        ([True, 1], ["true", "1"]),
        ([{"a": 1}, {"a": "x"}], ['{"a": 1}', '{"a": "x"}']),
        ([{}, {}], ["{}", "{}"]),  # Parquet has no struct without fields
        ([2**70, 1], [str(2**70), "1"]),
        ([None, None], [None, None]),
        ([[], []], [[], []]),
        (["\ud800", "x"], ['"\\ud800"', '"x"']),
    ],
)
def test_values_without_a_common_type_are_carried_as_json(tmp_path, values, expected):
    path = tmp_path / "m.jsonl"
    rows = [ONE | {"question": str(i), "extra": value} for i, value in enumerate(values)]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    items = read_file(path).items
    pq.write_table(items, tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").column("extra").to_pylist() == expected


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_gold_spans_are_carried_as_seconds_and_null_where_there_is_none(tmp_path, suffix):
    """Text in one row, or in all as in a CSV file, does not change the column's type."""
    spans = [(1, 2.5), (None, None), ("3", "4e0"), ("soon", 9)]
    rows = [
        {"audio": "a.wav", "question": str(i), "choices": None, "evidence_start": start, "evidence_end": end}
        for i, (start, end) in enumerate(spans)
    ]
    path = tmp_path / f"m.{suffix}"
    (write_csv if suffix == "csv" else write_jsonl)(path, rows)
    manifest = read_file(path)
    columns = manifest.items.select(["evidence_start", "evidence_end"])
    assert columns.schema.types == [pa.float64()] * 2
    assert columns.to_pydict() == {"evidence_start": [1, None, 3, None], "evidence_end": [2.5, None, 4, 9]}
    assert list(manifest.malformed) == [manifest.items.column("item_id")[3].as_py()]


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
