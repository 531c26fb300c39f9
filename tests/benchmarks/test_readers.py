"""Benchmark readers: SPIRAL's real texts, and a small dataset in AudioBench's layout with audio files."""

import inspect
import io
import json
from collections import Counter
from pathlib import Path

import av
import datasets
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from speechprune.benchmarks import make_manifest
from speechprune.benchmarks.audiobench import duration_and_suffix
from speechprune.benchmarks.choices import parse_choices, parse_gold_answer, strip_labels
from speechprune.benchmarks.readers import READERS

ROOT = Path(__file__).parents[2]
SPIRAL = ROOT / "../shared/spiral"


def read_jsonl(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# Choices and gold answers

CHOICES = ["At a bank", "In Plan B. Street", "Vitamin C", "U.S. mail"]


@pytest.mark.parametrize(
    "text",
    [
        "(A) At a bank\n(B) In Plan B. Street\n(C) Vitamin C\n(D) U.S. mail",
        "(A) At a bank (B) In Plan B. Street (C) Vitamin C (D) U.S. mail",
        "(a) At a bank; (b) In Plan B. Street; (c) Vitamin C; (d) U.S. mail",
        "A. At a bank\nB. In Plan B. Street\nC. Vitamin C\nD. U.S. mail\n",
        "A.At a bank\r\n B.In Plan B. Street\r\n C.Vitamin C\r\n D.U.S. mail",
        "A: At a bank\n\nB: In Plan B. Street\n\nC: Vitamin C\n\nD: U.S. mail",
        "A) At a bank B) In Plan B. Street C) Vitamin C D) U.S. mail",
        "At a bank\nIn Plan B. Street\nVitamin C\nU.S. mail",
    ],
)
def test_choices_printed_in_any_usual_way_are_the_same(text):
    assert parse_choices(text) == CHOICES


@given(
    st.lists(
        st.from_regex(r"[a-z]{2,8}( [a-z]{2,8}){0,3}", fullmatch=True), min_size=2, max_size=8, unique=True
    ),
    st.sampled_from(["({}) ", "{}) ", "{}. ", "{}: "]),
    st.sampled_from(["\n", " ", "; "]),
    st.data(),
)
def test_labelled_choices_and_every_print_of_the_gold_answer_round_trip(choices, label, separator, data):
    labelled = [label.format(letter) + choice for letter, choice in zip("ABCDEFGH", choices, strict=False)]
    assert parse_choices(separator.join(labelled)) == choices
    assert strip_labels(labelled) == choices
    index = data.draw(st.integers(0, len(choices) - 1))
    letter = "ABCDEFGH"[index]
    for answer in (
        choices[index],
        f"{choices[index].upper()}.",
        labelled[index],
        letter,
        f"({letter})",
        f"{letter}.",
    ):
        assert parse_gold_answer(answer, choices) == letter


@pytest.mark.parametrize("text", ["", "only one", "(A) only one", "(A) (B) second", "A. x\nB.\nC. z"])
def test_unreadable_choices_are_refused(text):
    with pytest.raises(ValueError, match="no choices recognised"):
        parse_choices(text)


@pytest.mark.parametrize("answer", ["E", "(A) At a shop", "At a shop", "", "twice"])
def test_a_gold_answer_that_is_not_one_choice_is_refused(answer):
    with pytest.raises(ValueError, match="not exactly one of the choices"):
        parse_gold_answer(answer, ["At a bank", "twice", "twice"])


# SPIRAL


@pytest.mark.skipif(not SPIRAL.exists(), reason="SPIRAL's texts are not here")
@pytest.mark.parametrize(
    ("texts", "num_items", "letters"),
    [
        ("data.jsonl", 1012, {"A": 125, "B": 603, "C": 271, "D": 13}),  # 12.4, 59.6, 26.8, 1.3 %
        ("data_h.jsonl", 401, {"A": 61, "B": 261, "C": 70, "D": 9}),
    ],
)
def test_spiral_gives_every_item_with_its_gold_text(tmp_path, capsys, texts, num_items, letters):
    manifest = tmp_path / "spiral.jsonl"
    exit_code = make_manifest.main(
        ["spiral", str(SPIRAL / texts), "--audio-root", "s3://speech/", "--output", str(manifest)]
    )
    assert exit_code == 0
    rows = read_jsonl(manifest)
    assert len(rows) == len({row["item_id"] for row in rows}) == num_items
    assert Counter(row["answer"] for row in rows) == letters
    assert f"gold letters A {letters['A'] / num_items:.1%}" in capsys.readouterr().out

    for row, record in zip(rows, read_jsonl(SPIRAL / texts), strict=True):
        gold = row["choices"]["ABCD".index(row["answer"])]
        assert f"{row['answer']}. {gold}" == record["test_question"]["correct_answer"]
        assert row["audio"] == f"s3://speech/spiral/wavs/{record['metadata']['id']}.wav"
        assert row["question"] == record["test_question"]["question"]
        assert row["key_sentence"] == record["audio_data"]["key_sentences"]["text"]
        assert row["transcript_type"] in {"lecture", "conversation", "meeting"}


def spiral_record(item_id: str, correct_answer: str = "B. Noon") -> dict:
    return {
        "original_key_sentence": "We meet at noon.",
        "test_question": {
            "question": "When do they meet?",
            "choices": ["A. Dawn", "B. Noon", "C. Dusk", "D. Night"],
            "correct_answer": correct_answer,
        },
        "metadata": {"main_topic": "m", "subtopic": "s", "transcript_type": "meeting", "id": item_id},
        "audio_data": {"combined": {"audio_files": [f"{item_id}.wav"], "audio_folder": "spiral/wavs"}},
    }


def test_spiral_names_the_lines_it_cannot_read(tmp_path, monkeypatch, log_lines):
    without_gold = spiral_record("meeting_3", correct_answer="B. Midnight")
    without_audio = spiral_record("meeting_4")
    del without_audio["audio_data"]
    lines = [
        json.dumps(spiral_record("meeting_1")),
        "",
        '{"test',
        json.dumps(without_gold),
        json.dumps(without_audio),
    ]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)

    arguments = ["spiral", "texts.jsonl", "--audio-root", "downloads", "--output", "manifests/spiral.jsonl"]
    assert make_manifest.main(arguments) == 0
    [row] = read_jsonl(tmp_path / "manifests/spiral.jsonl")
    assert row["audio"] == "../downloads/spiral/wavs/meeting_1.wav"  # relative to the manifest
    for message, part in zip(
        log_lines,
        [
            "texts.jsonl, line 3",
            "line 4: the answer 'B. Midnight'",
            "line 5: field 'audio_data'",
            "missing recordings: 1 of 1, such as ../downloads/spiral/wavs/meeting_1.wav: download the audio",
        ],
        strict=True,
    ):
        assert part in message


def test_nothing_readable_is_an_error_and_writes_nothing(tmp_path, log_lines):
    texts = tmp_path / "texts.jsonl"
    texts.write_text("{}\n")
    manifest = tmp_path / "manifest.jsonl"
    assert make_manifest.main(["spiral", str(texts), "--audio-root", "/wavs", "--output", str(manifest)]) == 2
    assert "no item left (1 unreadable" in log_lines[-1]
    assert (
        make_manifest.main(
            ["spiral", str(tmp_path / "no.jsonl"), "--audio-root", "/", "--output", str(manifest)]
        )
        == 2
    )
    assert "no.jsonl" in log_lines[-1]
    assert not manifest.exists()


def test_every_reader_is_a_subcommand_with_its_settings(capsys):
    for name, reader in READERS.items():
        with pytest.raises(SystemExit):
            make_manifest.main([name, "--help"])
        shown = capsys.readouterr().out
        _, *settings = inspect.signature(reader).parameters
        assert all(setting.replace("_", "-") in shown for setting in settings)


# AudioBench


def tone(seconds: float, pitch_hz: float, suffix: str = "WAV") -> dict:
    times = np.arange(round(seconds * 8000)) / 8000
    file = io.BytesIO()
    soundfile.write(file, 0.1 * np.sin(2 * np.pi * pitch_hz * times), 8000, format=suffix)
    return {"bytes": file.getvalue(), "path": None}


@pytest.fixture
def audiobench_folder(tmp_path, monkeypatch) -> Path:
    """A folder in the layout of the hub's AudioBench sets: two good recordings, and all that can be wrong."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    long, exactly, flac = tone(61, 300), tone(60, 300), tone(75, 400, "FLAC")
    choices = "(A) Red.\n(B) Green.\n(C) Blue."
    rows = [
        (long, "Which colour?", choices, "(B) Green."),
        (exactly, "Which colour?", choices, "Green."),
        (flac, " Where? ", "A. Here B. There", "B"),
        (long, "Which one not?", choices, "blue"),
        (long, "Which colour?", choices, "Purple."),
        ({"bytes": b"not audio at all", "path": None}, "Which colour?", choices, "A"),
        (long, "Which colour?", "colours", "A"),
        (tone(2, 300), "Which colour?", choices, "A"),
    ]
    columns = dict(
        zip(["context", "instruction", "choices", "answer"], map(list, zip(*rows, strict=True)), strict=True)
    )
    dataset = datasets.Dataset.from_dict(columns).cast_column("context", datasets.Audio(decode=False))
    folder = tmp_path / "source"
    (folder / "data").mkdir(parents=True)
    dataset.to_parquet(folder / "data/test-00000-of-00001.parquet")
    return folder


@pytest.mark.parametrize("name", ["dream_tts", "cn_college_listen"])
def test_audiobench_keeps_long_readable_items_and_their_bytes(
    tmp_path, audiobench_folder, log_lines, capsys, name
):
    output = tmp_path / "output"
    assert make_manifest.main([name, "--source", str(audiobench_folder), "--output", str(output)]) == 0

    rows = read_jsonl(output / "manifest.jsonl")
    assert [row["item_id"] for row in rows] == [f"{name}-0", f"{name}-2", f"{name}-3"]
    assert [row["answer"] for row in rows] == ["B", "B", "C"]
    assert [row["question"] for row in rows] == ["Which colour?", "Where?", "Which one not?"]
    assert [row["choices"] for row in rows] == [
        ["Red.", "Green.", "Blue."],
        ["Here", "There"],
        ["Red.", "Green.", "Blue."],
    ]
    assert rows[0]["audio"] == rows[2]["audio"] != rows[1]["audio"]  # one recording, two questions: one file
    assert {path.name for path in (output / "audio").iterdir()} == {Path(row["audio"]).name for row in rows}
    for row, original in zip(rows, [tone(61, 300), tone(75, 400, "FLAC")], strict=False):
        assert (output / row["audio"]).read_bytes() == original["bytes"]

    assert [message.split("row ")[1][0] for message in log_lines] == ["4", "5", "6"]
    assert "3 unreadable, 2 too short" in capsys.readouterr().out


def test_audiobench_minimum_can_be_lowered_but_not_below_every_recording(
    tmp_path, audiobench_folder, log_lines
):
    arguments = ["dream_tts", "--source", str(audiobench_folder), "--output", str(tmp_path / "output")]
    assert make_manifest.main([*arguments, "--min-seconds", "1"]) == 0
    assert len(read_jsonl(tmp_path / "output/manifest.jsonl")) == 5
    arguments[-1] = str(tmp_path / "empty")
    assert make_manifest.main([*arguments, "--min-seconds", "100"]) == 2
    assert "3 unreadable, 5 too short" in log_lines[-1]


def test_a_dataset_of_another_layout_is_named(tmp_path, audiobench_folder, log_lines):
    path = audiobench_folder / "data/test-00000-of-00001.parquet"
    datasets.Dataset.from_parquet(str(path)).rename_column("choices", "options").to_parquet(path)
    assert (
        make_manifest.main(["dream_tts", "--source", str(audiobench_folder), "--output", str(tmp_path)]) == 2
    )
    assert "no column choices" in log_lines[-1]


def test_duration_is_counted_where_the_header_does_not_have_it():
    """A FLAC file written as a stream leaves the 36 bits of its number of samples at zero."""
    flac = bytearray(tone(2.5, 300, "FLAC")["bytes"])
    assert duration_and_suffix(bytes(flac)) == (2.5, ".flac")
    flac[21] &= 0xF0
    flac[22:26] = bytes(4)
    with av.open(io.BytesIO(flac)) as container:
        assert container.duration is None
    assert duration_and_suffix(bytes(flac)) == (2.5, ".flac")
