"""The job from its manifest to its rows: good items and every kind of bad one."""

import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from speechprune import AnsweringOptions, SpeechPrune
from speechprune.data.columns import ANSWER_COLUMNS, ITEM_COLUMNS
from speechprune.inference.no_audio import answer_without_audio
from speechprune.pipeline.progress import NUM_FAILURES_SHOWN
from tests.helpers.harness import Job, Launch, launch
from tests.helpers.job_items import bad_items, good_items, shared_items

METHOD = SpeechPrune(pruning_rate=0.5, phase1_budget=100)


@pytest.fixture(scope="module")
def recordings() -> list[Path]:
    folder = Path(__file__).parents[2] / "../shared/audio"
    return sorted(folder.iterdir()) if folder.is_dir() else []


@pytest.fixture(scope="module")
def job(tmp_path_factory, tiny_model_folder, speech, recordings) -> Job:
    """Good, bad and foreign items in one manifest, in brackets: nothing in a path is a pattern."""
    folder = tmp_path_factory.mktemp("job") / "[1] job"
    folder.mkdir()
    job = Job(folder)
    items = [
        *good_items(folder, speech),
        *bad_items(folder, speech),
        *shared_items(folder, recordings),
    ]
    job.write(
        items,
        tiny_model_folder,
        pruning={"pruning_rate": METHOD.pruning_rate, "phase1_budget": METHOD.phase1_budget},
        answering={"max_new_tokens": 3, "no_audio_baseline": True},
        ray={"recordings_per_block": 2},  # several files of answers, with or without the shared recordings
    )
    return job


@pytest.fixture(scope="module")
def first_launch(job) -> Launch:
    return launch(job.config, "output.max_failed_fraction=0.02")


@pytest.fixture(scope="module")
def answered(job, first_launch) -> dict[str, dict]:
    return job.rows("ok")


@pytest.fixture(scope="module")
def failed(job, first_launch) -> dict[str, dict]:
    return job.rows("failed")


def test_more_failures_than_allowed_exit_with_1_after_everything_is_written(job, first_launch):
    assert first_launch.code == 1
    assert job.summary()["num_failed"] > 0.02 * job.summary()["num_items"]


def test_rows_out_are_items_in(job, answered, failed):
    asked = [item["item_id"] for item in job.items()]
    assert sorted([*answered, *failed]) == sorted(asked)


def test_answers_equal_those_of_the_library_called_directly(job, answered, tiny_lm, speech):
    for item in good_items(job.folder, speech):
        audio = tiny_lm.encode(str(job.folder / item["audio"]), start=item.get("start"), end=item.get("end"))
        answer = tiny_lm.answer(
            audio,
            item["question"],
            item.get("choices"),
            method=METHOD,
            options=AnsweringOptions(max_new_tokens=3),
        )
        row = answered[item["item_id"]]
        assert (row["prediction"], row["prediction_text"]) == (answer.prediction, answer.prediction_text)
        for count in ("num_audio_tokens", "num_phase1_tokens", "num_kept_tokens", "num_text_tokens"):
            assert row[count] == getattr(answer, count)
        if answer.choice_probabilities is None:
            assert row["choice_probabilities"] is None
            assert row["num_generated_tokens"] == answer.num_generated_tokens > 0
        else:
            np.testing.assert_allclose(row["choice_probabilities"], answer.choice_probabilities, atol=1e-5)
        assert [span["start"] for span in row["evidence"]] == [span.start for span in answer.evidence]
        assert row["audio_seconds"] == audio.seconds
        if item["item_id"] in ("short-1", "long-1", "sliced"):
            gold = {
                i
                for i, (begin, end) in enumerate(audio.times)
                if begin < item["evidence_end"] and end > item["evidence_start"]
            }
            kept = gold & set(answer.kept_indices.tolist())
            assert row["evidence_recall"] == pytest.approx(len(kept) / len(gold))
        else:  # no gold span, or one that lies behind the recording's end
            assert row["evidence_recall"] is None


def test_rows_hold_the_item_as_asked_and_how_it_was_judged(job, answered):
    assert [answered[name]["answer"] for name in ("short-1", "short-2", "long-1", "long-2")] == [
        "D",
        "A",
        "C",
        "a review",
    ]
    for name in ("short-1", "short-2", "long-1"):
        assert answered[name]["correct"] == (answered[name]["prediction"] == answered[name]["answer"])
    assert answered["long-2"]["correct"] is None  # free text
    assert answered["sliced"]["correct"] is None  # no gold answer
    assert answered["long-1"]["team"] == 7
    assert (answered["long-1"]["evidence_start"], answered["long-1"]["evidence_end"]) == (29.01, 31.01)
    assert answered["stereo"]["tags"] == ["x", "y"]
    assert answered["short-1"]["audio"] == str(job.folder / "short.flac")
    assert (answered["sliced"]["start"], answered["sliced"]["end"]) == (5.0, 12.5)
    assert all(5.0 <= span["start"] < span["end"] <= 12.6 for span in answered["sliced"]["evidence"])


def test_the_same_questions_are_asked_without_audio(job, answered, tiny_lm):
    for item in (item for item in job.items() if item["item_id"] in ("short-1", "short-2", "long-1")):
        [answer] = answer_without_audio(tiny_lm.model, [(item["question"], item["choices"])])
        row = answered[item["item_id"]]
        assert row["correct_without_audio"] == (answer.prediction == row["answer"])
    for name in ("long-2", "sliced", "stereo"):  # nothing to judge by
        assert answered[name]["correct_without_audio"] is None


def test_a_recordings_encoding_is_shared_evenly_by_its_questions(answered):
    first, second = answered["long-1"], answered["long-2"]
    assert first["tflops_encode"] == second["tflops_encode"] > 0
    # sliced is a recording of its own of one window; long has two windows and two questions
    assert first["tflops_encode"] == pytest.approx(answered["sliced"]["tflops_encode"])
    assert first["seconds_decode_audio"] == second["seconds_decode_audio"] > 0


def test_files_follow_the_schema_with_carried_columns_last(job, first_launch):
    expected = [*ITEM_COLUMNS, *ANSWER_COLUMNS]
    for file in (*job.files("ok"), *job.files("failed")):
        schema = pq.read_schema(file)
        assert [(field.name, field.type) for field in schema][: len(expected)] == [
            (field.name, field.type) for field in expected
        ]
        assert {"team", "tags", "evidence_start", "evidence_end"} <= set(schema.names[len(expected) :])
        assert schema.field("audio_seconds").metadata[b"unit"] == b"s"


def test_bad_items_become_rows_with_their_kind_and_a_sentence(job, speech, failed):
    bad = {name: row for name, row in failed.items() if row["expected_error"]}
    assert {name: row["error_type"] for name, row in bad.items()} == {
        name: row["expected_error"] for name, row in bad.items()
    }
    assert len(bad) == 14
    for row in bad.values():
        assert len(row["error"]) > 20
        assert "\n" not in row["error"]
        assert row["prediction"] is None
        assert row["finished_at"] is not None
    assert str(job.folder / "missing.wav") in bad["missing"]["error"]


def test_a_bad_question_does_not_harm_its_recordings_others(answered, failed):
    assert failed["long-question"]["audio"] == answered["short-1"]["audio"]


def test_every_shared_recording_is_answered_whole_and_renamed(recordings, answered, failed):
    if not recordings:
        pytest.skip("no shared recordings beside this checkout")
    for recording in recordings:
        assert f"whole-{recording.name}" in answered
    renamed = [name for name in (*answered, *failed) if name.startswith("renamed-")]
    assert len(renamed) == len(recordings)
    assert set(renamed) <= set(answered)  # containers are recognised by content
    for name, row in failed.items():
        if not row["expected_error"]:
            assert name.startswith(("cut-", "flipped-"))
            assert row["error_type"].startswith("Audio")


def test_the_summary_counts_what_the_rows_say(job, answered, failed):
    summary = job.summary()
    assert (summary["num_ok"], summary["num_failed"]) == (len(answered), len(failed))
    assert summary["failures"]["AudioUnreadable"] >= 4
    judged = [row for row in answered.values() if row["correct"] is not None]
    assert summary["num_judged"] == len(judged)
    assert summary["accuracy"] == pytest.approx(np.mean([row["correct"] for row in judged]))
    assert summary["totals"]["tflops_total"] == pytest.approx(
        sum(row["tflops_total"] for row in answered.values())
    )
    recalls = [row["evidence_recall"] for row in answered.values() if row["evidence_recall"] is not None]
    assert summary["num_with_evidence_recall"] == len(recalls) == 3
    assert summary["evidence_recall_mean"] == pytest.approx(np.mean(recalls))
    recordings = {(row["audio"], row["start"], row["end"]): row["audio_seconds"] for row in answered.values()}
    assert summary["audio_hours"] == pytest.approx(sum(recordings.values()) / 3600)


def test_the_screen_says_what_runs_and_what_failed(first_launch, failed):
    text = "\n".join(first_launch.lines)
    assert "0 of them already answered" in text
    assert "of audio" in text
    assert "pruning by SpeechPrune" in text
    told = re.findall(r"^failed: (.+?): ", text, re.MULTILINE)  # the first ones, in whatever order they came
    assert len(told) == min(NUM_FAILURES_SHOWN, len(failed))
    assert set(told) <= set(failed)
    assert "items failed, more than output.max_failed_fraction=0.02" in text
