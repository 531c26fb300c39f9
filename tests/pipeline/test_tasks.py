"""Tasks: every open item once, with its recording, whatever the manifest's order."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st

import speechprune
from speechprune.data.columns import ITEM_COLUMNS
from speechprune.data.index_files import Part
from speechprune.data.manifest import Manifest, make_manifest
from speechprune.data.row_keys import KeySet
from speechprune.pipeline.failures import FailureLog, PoisonedRecording
from speechprune.pipeline.options import RayOptions
from speechprune.pipeline.retries import Attempts, AttemptTracker, raise_if_poisoned, start_tracker
from speechprune.pipeline.stages import decode_recording
from speechprune.pipeline.tasks import make_tasks, split_blocks, unpack_items
from tests.helpers.harness import wait_until
from tests.helpers.telling_tones import named_second, telling_tones, write_tracks

ITEMS = st.lists(
    st.tuples(st.sampled_from(["a.wav", "b.wav", ""]), st.sampled_from([None, 1.0, 2.5]), st.booleans()),
    min_size=1,
    max_size=30,
)


def manifest_of(drawn: list[tuple[str, float | None, bool]]) -> Manifest:
    rows = [
        {"item_id": str(i), "audio": audio, "question": "?", "start": start, "note": {"n": i}}
        for i, (audio, start, _) in enumerate(drawn)
    ]
    schema = pa.schema([*ITEM_COLUMNS, pa.field("note", pa.struct([("n", pa.int16())]))])
    malformed = {str(i): "why" for i, (_, _, is_bad) in enumerate(drawn) if is_bad}
    return Manifest(pa.Table.from_pylist(rows, schema=schema), malformed, 0)


def test_each_items_track_is_decoded(tmp_path):
    """Two tracks of one file, and the one that it marks as default, are three recordings."""
    path = tmp_path / "two.mkv"
    path.write_bytes(write_tracks([telling_tones(3, first=30), telling_tones(3, first=60)], "matroska"))
    rows = [{"audio": str(path), "question": "?", "track": track} for track in (None, 0, 1, 1)]
    manifest = make_manifest([row | {"item_id": str(i)} for i, row in enumerate(rows)])
    tasks = make_tasks(manifest, KeySet(), stored={str(path): [Part("file", 0)]}).table()
    assert [task["track"] for task in tasks.to_pylist()] == [None, 0, 1]
    assert [task["index_parts"] is None for task in tasks.to_pylist()] == [False, True, True]
    for number, second in ((1, 31.25), (2, 61.25)):
        decoded = decode_recording(tasks.slice(number, 1), failures=FailureLog(lambda *_: None))
        assert decoded.column("error").to_pylist() == [None]
        assert named_second(np.frombuffer(decoded.column("pcm")[0].as_py(), np.int16), 1.25) == second


@given(ITEMS, st.data())
def test_every_open_item_is_in_one_task_of_its_recording(drawn, data):
    manifest = manifest_of(drawn)
    answered = data.draw(st.sets(st.sampled_from([str(i) for i in range(len(drawn))])))
    tasks = make_tasks(manifest, KeySet.of((item_id,) for item_id in answered)).table()
    seen = []
    for task in tasks.to_pylist():
        items = unpack_items(task["items"])
        assert items.schema == manifest.items.schema
        for item in items.to_pylist():
            assert (item["audio"], item["start"]) == (task["audio"], task["start"])
            assert manifest.malformed.get(item["item_id"]) == task["error"]
            assert item["note"] == {"n": int(item["item_id"])}
            seen.append(item["item_id"])
    assert sorted(seen) == sorted({str(i) for i in range(len(drawn))} - answered)
    keys = [(task["audio"], task["start"], task["error"]) for task in tasks.to_pylist()]
    assert len(set(keys)) == len(keys) == len(set(tasks.column("task_id").to_pylist()))


@given(ITEMS, st.integers(1, 7))
def test_blocks_are_the_tasks_in_order_a_few_at_a_time(drawn, recordings_per_block):
    tasks = make_tasks(manifest_of(drawn), KeySet()).table()
    blocks = list(split_blocks(tasks, recordings_per_block))
    assert pa.concat_tables(blocks) == tasks
    assert [len(block) for block in blocks[:-1]] == [recordings_per_block] * (len(blocks) - 1)
    # each holds its own bytes alone, not a view of the whole table
    assert sum(block.nbytes for block in blocks) <= 2 * tasks.nbytes + 64 * len(blocks)


def test_a_sweeps_tasks_name_the_points_that_each_item_is_missing_whatever_its_columns():
    manifest = manifest_of([("a.wav", None, False), ("b.wav", None, False), ("a.wav", None, False)])
    names = pa.array([["mine"]] * 3, pa.list_(pa.string()))
    items = manifest.items.append_column("missing_points", names)
    missing = [["p", "q"], ["q"], ["p"]]
    tasks = make_tasks(replace(manifest, items=items), KeySet.of([("1",)]), missing_points=missing).table()
    (task,) = tasks.to_pylist()
    assert task["missing_points"] == [["p", "q"], ["p"]]
    assert unpack_items(task["items"]).column("missing_points").to_pylist() == [["mine"], ["mine"]]
    assert make_tasks(manifest, KeySet()).table().column("missing_points").null_count == 2


def test_what_a_worker_loads_for_its_first_recording_is_not_within_that_recordings_limit():
    program = (
        "import sys; from speechprune.pipeline.stages import memory_limit\n"
        "before = 'av' in sys.modules\n"
        "with memory_limit(1.0, 'a.wav'): print(before, 'av' in sys.modules, 'soxr' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(speechprune.__file__).parents[1])}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert run.stdout == "False True True\n", run.stderr


def test_attempts_are_open_from_their_begin_to_their_end():
    tracker = AttemptTracker()
    tracker.begin("model", {"a": "a.wav", "b": "b.wav"})
    tracker.begin("model", {"a": "a.wav"})
    assert tracker.open_attempts("model", ["a", "b", "c"]) == [2, 1, 0]
    assert tracker.open_attempts("decode", ["a"]) == [0]
    tracker.end("model", ["a"])  # it ended once: what was started before had been killed by another
    assert tracker.open_attempts("model", ["a", "b"]) == [0, 1]


class AttemptsHere(Attempts):
    """Attempts that are noted in this process, without Ray."""

    def open_attempts(self, task_ids: list[str]) -> list[int]:
        return self._tracker.open_attempts(self._stage, task_ids)

    def was_overtime(self, task_id: str) -> bool:
        return self._tracker.was_overtime(self._stage, task_id)


def sentence_of(tracker: AttemptTracker, stage: str, max_seconds: float = 5.0) -> str:
    """Why the recording a.wav is given up after its one attempt."""
    limits = RayOptions(max_attempts=1, max_seconds_per_recording=max_seconds)
    with pytest.raises(PoisonedRecording) as caught:
        raise_if_poisoned(AttemptsHere(tracker, stage), "a", "a.wav", limits, "decoding")
    return str(caught.value)


def test_a_worker_that_was_killed_did_not_hang_however_long_the_next_takes_to_start():
    tracker = AttemptTracker()
    tracker.begin("decode", {"a": "a.wav"})
    assert sentence_of(tracker, "decode", max_seconds=1e-9).startswith(
        "decoding a.wav killed its worker in 1"
    )


def test_why_a_recording_is_given_up_is_how_its_last_attempt_ended():
    tracker = AttemptTracker()
    tracker.begin("model", {"a": "a.wav", "b": "b.wav"})
    tracker.note_overtime("model", ["a", "b"])
    assert sentence_of(tracker, "model").startswith(
        "decoding a.wav was not done after 5 s in 1 attempt: look at"
    )
    tracker.begin("model", {"a": "a.wav"})
    assert sentence_of(tracker, "model").startswith("decoding a.wav killed its worker in 2 attempts")
    assert tracker.was_overtime("model", "b")


def test_the_tracker_knows_what_is_in_work_and_longest():
    tracker = AttemptTracker()
    tracker.begin("model together", {"a": "a.wav", "b": "b.wav"})
    tracker.begin("decode", {"c": "c.wav"})
    activity = tracker.activity()
    assert (activity.num_decoding, activity.num_with_model, activity.longest) == (1, 2, "a.wav")
    tracker.begin("model alone", {"a": "a.wav"})  # after its worker died
    tracker.end("model alone", ["a"])
    assert tracker.activity().num_with_model == 1
    assert tracker.activity().longest == "b.wav"


def test_a_tracker_that_is_lost_starts_anew_and_the_run_goes_on(ray_address):
    tracker = start_tracker()
    ray.get(tracker.begin.remote("model", {"a": "a.wav"}))
    ray.kill(tracker, no_restart=False)
    wait_until(lambda: ray.get(tracker.open_attempts.remote("model", ["a"])) == [0])
    ray.get(tracker.begin.remote("model", {"a": "a.wav"}))
    assert ray.get(tracker.open_attempts.remote("model", ["a"])) == [1]
