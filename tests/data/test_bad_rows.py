"""What can't be asked is named: before any worker starts, or as a failed row."""

import json
import math

import datasets
import pytest

from speechprune.data.manifest import ManifestError
from tests.helpers.manifest_files import ITEMS, ONE, read_file

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
        ({"choices": ["us", "US"], "answer": "Us"}, "row 2: answer 'Us' matches more than one"),
        ({"choices": ["café", "cafe\u0301"], "answer": "café"}, "matches more than one"),
        ({"choices": ["1", "2"], "answer": 1}, "answer 1 is the text of choice A and the index of choice B"),
        ({"choices": "['one' 'two']"}, 'in a CSV file ["one", "two"] (JSON, or a Python list'),
        ({"choices": "[" * 5000}, "give a list of 2 to 26"),
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
        ("m.jsonl", b'{"audio": "a"\n', "line 1 is not JSON"),
        ("m.jsonl", b'{"audio": "a", "question": "q"}\n[1]\n', "line 2 is not a JSON object"),
        ("m.jsonl", b"\xff\xfe\x00", "can't be read"),
        ("m.csv", b"audio,question\na,b,c\n", "line 2 has more cells than the header"),
        ("m.csv", b"audio,question,question\na,b,c\n", "two columns are named 'question': rename one"),
        ("m.tsv", b"audio\tquestion\taudio\na\tb\tc\n", "two columns are named 'audio'"),
        ("m.jsonl", b'{"audio": "a", "question": "q", "question": "r"}', "line 1: two columns are named"),
        ("m.json", b'[{"audio": "a", "question": "q"}, 1]', "entry 2 is not a JSON object"),
        ("m.json", b'[{"audio": ', "it is not JSON"),
        ("m.jsonl", b"[" * 5000, "line 1 is not JSON"),
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
