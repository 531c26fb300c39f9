"""The nightly job on a real S3 API and on disk: what is new is encoded once, whatever comes between."""

import random
import signal
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import s3fs

from speechprune import storage
from speechprune.audio import SAMPLE_RATE, decode_audio
from speechprune.data.index_columns import WINDOWS_SCHEMA
from tests.helpers.archive import FREE_COLUMNS, NIGHT, Archive, rows_of, window_files
from tests.helpers.harness import launch, write_sound


def test_runs_on_s3_encode_what_is_new_and_drop_what_is_gone(archive, bucket, speech):
    """20 recordings; then 3 added, 2 changed, 1 deleted, 1 renamed; then nothing."""
    s3 = s3fs.S3FileSystem()
    index = f"s3://{bucket}/index"
    archive.configure(f"s3://{bucket}/meetings/**", index, ray={"recordings_per_block": 8})

    def store(number: int, start: float) -> None:
        name = write_sound(archive.sounds / f"{number:02}.wav", speech(0.5, start=start))
        s3.put(str(archive.sounds / name), f"{bucket}/meetings/2026/{name}")

    for number in range(20):
        store(number, start=0.5 * number)
    s3.pipe(f"{bucket}/meetings/agenda.txt", b"no sound")
    assert launch(archive.config, job=NIGHT).code == 0
    first = archive.summary(index)
    assert (first["num_recordings"], first["num_indexed"], first["num_encoded"]) == (20, 20, 20)
    before = {row["recording"]: row for row in rows_of(index)}

    for number in (20, 21, 22):
        store(number, start=0.5 * number)
    for number in (3, 4):
        store(number, start=40.0 + number)
    s3.rm(f"{bucket}/meetings/2026/07.wav")
    s3.mv(f"{bucket}/meetings/2026/08.wav", f"{bucket}/meetings/08-renamed.wav")
    assert launch(archive.config, job=NIGHT).code == 0
    second = archive.summary(index)
    assert second["num_encoded"] == 5
    assert (second["num_new"], second["num_changed"], second["num_copied"]) == (4, 2, 1)
    assert second["num_dropped"] == 2  # the deleted one, and the old name of the renamed one
    assert second["num_indexed"] == 22
    after = {row["recording"]: row for row in rows_of(index)}
    assert len(after) == len(rows_of(index)) == 22
    prefix = f"s3://{bucket}/meetings"
    assert set(before) - set(after) == {f"{prefix}/2026/07.wav", f"{prefix}/2026/08.wav"}
    assert {uri for uri in before.keys() & after.keys() if before[uri] != after[uri]} == {
        f"{prefix}/2026/03.wav",
        f"{prefix}/2026/04.wav",
    }
    renamed = after[f"{prefix}/08-renamed.wav"]
    assert renamed["states"] == before[f"{prefix}/2026/08.wav"]["states"]

    files = s3.find(f"{bucket}/index", detail=True)
    assert launch(archive.config, job=NIGHT).code == 0
    third = archive.summary(index)
    assert (third["num_encoded"], third["num_dropped"], third["this_launch"]["num_items"]) == (0, 0, 0)
    before_third = {file: info["ETag"] for file, info in files.items() if file.endswith(".parquet")}
    again = s3.find(f"{bucket}/index", detail=True)
    assert {file: info["ETag"] for file, info in again.items() if file.endswith(".parquet")} == before_third


@pytest.fixture
def long_archive(archive, speech) -> Archive:
    """Recordings of several parts each."""
    for i, seconds in enumerate((95.0, 20.0, 65.0, 31.0, 130.0)):
        write_sound(archive.sounds / f"{i}.flac", speech(seconds, start=7.0 * i))
    archive.configure(str(archive.sounds), archive.index, ray={"recordings_per_block": 1})
    return archive


def test_a_killed_run_is_continued_row_for_row(long_archive, job_process):
    whole = str(long_archive.folder / "undisturbed")
    assert launch(long_archive.config, f"index.path={whole}", job=NIGHT).code == 0
    expected = rows_of(whole)
    assert len(expected) == 4 + 1 + 3 + 2 + 5
    kills = sorted(random.Random(1).sample(range(1, 11), 2))
    for num_files in kills:
        process = job_process(long_archive.config, job=NIGHT)
        process.wait_until(lambda n=num_files: len(window_files(long_archive.index)) >= n)
        process.send(signal.SIGKILL)
        process.wait()
    result = launch(long_archive.config, job=NIGHT)
    assert result.code == 0, result.lines
    assert rows_of(long_archive.index) == expected
    assert set(expected[0]) == set(WINDOWS_SCHEMA.names) - set(FREE_COLUMNS)


def test_one_long_recording_uses_every_node_and_its_rows_are_those_of_one_process(archive, speech, two_nodes):
    """A recording of ten minutes in twenty parts."""
    write_sound(archive.sounds / "long.flac", speech(600.0))
    on_ray = ("ray.min_actors=2", "ray.recordings_per_block=2")
    assert launch(archive.config, *on_ray, job=NIGHT, executor="ray").code == 0
    [folder] = storage.folders_in(archive.index)
    nodes = pq.read_table(f"{folder}/windows", columns=["node"]).column("node").to_pylist()
    assert len(nodes) == 20
    assert len(set(nodes)) == 2
    here = f"{archive.index}-here"
    assert launch(archive.config, f"index.path={here}", job=NIGHT).code == 0
    assert rows_of(archive.index) == rows_of(here)


def test_of_two_runs_at_once_one_works(long_archive, job_process):
    first = job_process(long_archive.config, job=NIGHT)
    first.wait_until(lambda: bool(window_files(long_archive.index)))
    second = launch(long_archive.config, job=NIGHT)
    assert second.code == 2
    assert f"another run writes to {long_archive.index}" in second.lines[-1]
    assert first.wait().code == 0
    summary = long_archive.summary(long_archive.index)
    assert summary["num_indexed"] == summary["num_recordings"] == 5


def test_unreadable_recordings_are_listed_and_tried_again(archive, speech):
    write_sound(archive.sounds / "good.wav", speech(2.0))
    (archive.sounds / "bad.wav").write_bytes(b"RIFF not a recording")
    (archive.sounds / "empty.mp3").write_bytes(b"")
    for _ in range(2):
        result = launch(archive.config, job=NIGHT)
        assert result.code == 0
        summary = archive.summary(archive.index)
        assert [failure["error_type"] for failure in summary["failures"]] == ["AudioUnreadable"] * 2
        assert summary["num_indexed"] == 1
    assert summary["num_encoded"] == 0
    write_sound(archive.sounds / "bad.wav", speech(2.0, start=3.0))
    assert launch(archive.config, job=NIGHT).code == 0
    summary = archive.summary(archive.index)
    assert (summary["num_encoded"], summary["num_indexed"], len(summary["failures"])) == (1, 2, 1)


def test_a_truncated_index_file_is_named_and_made_again(archive, speech):
    for i in range(3):
        write_sound(archive.sounds / f"{i}.wav", speech(2.0, start=3.0 * i))
    assert launch(archive.config, "ray.recordings_per_block=1", job=NIGHT).code == 0
    expected = rows_of(archive.index)
    file = Path(window_files(archive.index)[1])
    file.write_bytes(file.read_bytes()[:-200])
    result = launch(archive.config, job=NIGHT)
    assert any(f"set aside {file}" in line for line in result.lines)
    assert archive.summary(archive.index)["num_encoded"] == 1
    assert rows_of(archive.index) == expected


def test_a_header_that_promises_more_than_there_is_gets_all_that_there_is(archive, speech):
    """A FLAC file of 95 s by its header, cut in the middle: the parts behind the cut are not made."""
    path = archive.sounds / write_sound(archive.sounds / "cut.flac", speech(95.0))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 5])
    there = len(decode_audio(str(path))) / SAMPLE_RATE
    assert 30 < there < 60
    assert launch(archive.config, job=NIGHT).code == 0
    assert archive.summary(archive.index)["num_indexed"] == 1
    first, second = rows_of(archive.index)
    assert (first["num_tokens"], second["end_seconds"]) == (750, pytest.approx(there, abs=0.1))
    assert launch(archive.config, job=NIGHT).code == 0
    assert archive.summary(archive.index)["this_launch"]["num_items"] == 0
