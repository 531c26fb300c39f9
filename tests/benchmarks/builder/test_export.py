"""Written benchmarks, read back by those who will read them: the decoder, the job, SPIRAL's readers."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechprune.audio import SAMPLE_RATE, decode_audio
from speechprune.benchmarks.builder.export import (
    OPUS_BITS_PER_SECOND,
    encode_audio,
    manifest_rows,
    spiral_records,
    transcript_record,
)
from speechprune.benchmarks.builder.recording import speak_script
from speechprune.benchmarks.builder.spiral_texts import read_spiral_scripts
from speechprune.benchmarks.spiral import spiral_row
from speechprune.data.manifest import read_manifest
from speechprune.data.sources import InputOptions
from tests.helpers.tones import Tones, heard_spans, make_script

SPIRAL = Path(__file__).parents[3] / "../shared/spiral"
SCRIPT = make_script([(0, [6, 3]), (1, [5]), (0, [4, 4, 4]), (2, [7])], [(2, 1), (1, 0)])


def speak(script=SCRIPT, **options):
    options = {"seconds": None, "voice_group": None, "overlap_fraction": 0.0, "seed": 0} | options
    return speak_script(script, Tones(), **options)


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# Audio


def test_flac_loses_nothing(speech):
    samples = speech(4.3)
    assert np.array_equal(decode_audio(encode_audio(samples, "flac")), samples)


def test_opus_is_small_and_moves_nothing(speech):
    """Longer than a window, so that what is encoded in parts is joined without a gap."""
    samples = speech(65.0)
    encoded = encode_audio(samples, "opus")
    assert len(encoded) == pytest.approx(65 * OPUS_BITS_PER_SECOND / 8, rel=0.25)
    decoded = decode_audio(encoded)
    assert abs(len(decoded) - len(samples)) <= 0.02 * SAMPLE_RATE
    for second in (1, 29, 59):  # the two ends of a part among them
        part, reach = samples[second * SAMPLE_RATE :][: 3 * SAMPLE_RATE].astype(float), 800
        around = decoded[second * SAMPLE_RATE - reach :][: len(part) + 2 * reach].astype(float)
        fit = np.fft.irfft(np.fft.rfft(around) * np.conj(np.fft.rfft(part, len(around))), len(around))
        assert abs(int(fit[: 2 * reach].argmax()) - reach) <= 16  # 1 ms


@pytest.mark.parametrize("audio_format", ["flac", "opus"])
def test_the_same_samples_give_the_same_bytes(speech, audio_format):
    assert encode_audio(speech(3.0), audio_format) == encode_audio(speech(3.0), audio_format)
    assert encode_audio(speech(3.0), audio_format) != encode_audio(speech(3.0, start=1.0), audio_format)


# Manifest


def test_the_job_reads_the_manifest_and_the_evidence_is_heard_where_it_says(tmp_path):
    spoken = speak(
        voice_group="training", script=make_script([(0, [4, 4]), (1, [5]), (0, [4])], [(0, 1), (1, 0)])
    )
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio/rec-1.flac").write_bytes(encode_audio(spoken.samples, "flac"))
    rows = manifest_rows("rec-1", "audio/rec-1.flac", spoken)
    manifest = read_manifest(
        InputOptions(manifest=str(write_jsonl(tmp_path / "manifest.jsonl", rows))), str(tmp_path / "bytes")
    )
    assert not manifest.malformed
    items = manifest.items.to_pylist()
    assert [item["item_id"] for item in items] == ["rec-1-1", "rec-1-2"]
    for item, question in zip(items, spoken.script.questions, strict=True):
        assert item["question"] == question.question
        assert item["choices"] == list(question.choices)
        assert item["answer"] == question.answer
        assert (item["scenario"], item["topic"], item["subtopic"]) == ("meeting", "Budgets", "Rent")
        assert item["voice_group"] == "training"
        assert item["voices"] == [spoken.voices[name].name for name in ("speaker 0", "speaker 1")]
        samples = decode_audio(item["audio"])
        voice = spoken.voices[spoken.script.turns[question.turn].speaker]
        [heard] = [
            span for span in heard_spans(samples, voice) if abs(span[0] - item["evidence_start"]) <= 0.01
        ]
        assert heard[1] == pytest.approx(item["evidence_end"], abs=0.01)


def test_voices_of_both_groups_are_said_to_be_so():
    script = make_script([(number, [2]) for number in range(6)])
    assert manifest_rows("r", "r.flac", speak(script))[0]["voice_group"] == "held_out+training"


# Transcript


def test_the_transcript_holds_every_word_with_its_time():
    spoken = speak()
    record = json.loads(json.dumps(transcript_record("rec-1", spoken)))
    assert record["recording_id"] == "rec-1"
    assert record["audio_seconds"] == pytest.approx(len(spoken.samples) / SAMPLE_RATE, abs=1e-4)
    words = iter(record["words"])
    for written, turn in zip(record["turns"], SCRIPT.turns, strict=True):
        assert written["speaker"] == turn.speaker
        assert written["voice"] == spoken.voices[turn.speaker].name
        for sentence, text in zip(written["sentences"], turn.sentences, strict=True):
            own = [next(words) for _ in text.split()]
            assert sentence["text"] == text == " ".join(word["text"] for word in own)
            assert own[0]["start"] == pytest.approx(sentence["start"], abs=1e-3)
            assert own[-1]["end"] == pytest.approx(sentence["end"], abs=1e-3)
    assert next(words, None) is None


# SPIRAL-like records


@given(
    turns=st.lists(
        st.tuples(st.integers(0, 3), st.lists(st.integers(1, 3), min_size=1, max_size=3)),
        min_size=1,
        max_size=5,
    ),
    data=st.data(),
)
@settings(max_examples=30)
def test_spirals_readers_read_our_records(tmp_path_factory, turns, data):
    places = [(turn, number) for turn, (_, own) in enumerate(turns) for number in range(len(own))]
    questions = data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=3, unique=True))
    script = make_script(turns, questions)
    spoken = speak(script)
    records = spiral_records("rec", "audio/rec.opus", spoken)
    rows = manifest_rows("rec", "audio/rec.opus", spoken)
    for record, row in zip(records, rows, strict=True):
        read = spiral_row(record, audio_root="https://archive")
        assert read["audio"] == "https://archive/audio/rec.opus"
        assert {name: read[name] for name in ("item_id", "question", "choices", "answer")} == {
            name: row[name] for name in ("item_id", "question", "choices", "answer")
        }
        key = record["audio_data"]["key_sentences"]
        assert (key["start"], key["end"]) == (row["evidence_start"], row["evidence_end"])
        assert read["key_sentence"] == key["text"]

    path = write_jsonl(tmp_path_factory.mktemp("spiral") / "spiral.jsonl", records)
    read_back = read_spiral_scripts(path)
    assert [item_id for item_id, _ in read_back] == [row["item_id"] for row in rows]
    for (_, again), question in zip(read_back, script.questions, strict=True):
        assert again.questions == (question,)
        assert again.turns == script.turns
        assert set(again.speakers) == set(script.speakers)


def field_names(record: dict, prefix: str = "") -> set[str]:
    names = set()
    for name, value in record.items():
        names.add(prefix + name)
        if isinstance(value, dict) and name != "prompts_used":
            names |= field_names(value, f"{prefix}{name}.")
    return names


@pytest.mark.skipif(not SPIRAL.exists(), reason="SPIRAL's texts are not here")
def test_records_have_all_fields_of_spirals():
    with (SPIRAL / "data.jsonl").open(encoding="utf-8") as lines:
        original = json.loads(next(lines))
    [ours, _] = spiral_records("rec", "rec.flac", speak())
    assert field_names(ours) - field_names(original) == {
        "audio_data.key_sentences.start",
        "audio_data.key_sentences.end",
    }
    assert field_names(original) <= field_names(ours)
    assert ours["transcript"][0].keys() == original["transcript"][0].keys()
    assert ours["audio_data"]["combined"]["audio_folder"] == "."
    assert set(ours["audio_data"]["combined"]["prompts_used"]) == {"speaker 0", "speaker 1", "speaker 2"}
