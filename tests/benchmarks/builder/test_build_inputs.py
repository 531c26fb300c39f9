"""What a benchmark is built from: texts that exist, a chat model, settings that it refuses; its quality."""

import json
import shutil
import signal
from pathlib import Path

import pytest

from speechprune.benchmarks.builder import job
from speechprune.benchmarks.builder.config import BuildConfig
from speechprune.benchmarks.builder.job import plan_tasks
from speechprune.config import load_config
from tests.benchmarks.builder.test_recognition import save_wav2vec2
from tests.helpers.benchmarks import (
    JOB,
    NUM_BEFORE_KILL,
    NUM_QUESTIONS,
    NUM_RECORDINGS,
    differing,
    launch_build,
    rows_of,
    write_config,
)
from tests.helpers.chat_server import good
from tests.helpers.protocol_server import ProtocolServer


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("items.seeds=1", "unknown key items.seeds: did you mean items.seed?"),
        ("writer.texts=nowhere.jsonl", "writer.texts can't be read"),
        ("quality.asr_model=nowhere/at-all/none", "quality.asr_model nowhere/at-all/none can't be loaded"),
        ("quality.model=nowhere/at-all/none", "model.path nowhere/at-all/none"),
        ("output.path=gopher://host/benchmark", "gopher"),
    ],
)
def test_what_can_not_be_built_is_refused_before_any_worker(tmp_path, monkeypatch, override, sentence):
    monkeypatch.setattr(job, "_make_recordings", lambda *_: pytest.fail("it was built"))
    kind = ["writer.kind=spiral"] if override.startswith("writer") else []
    result = launch_build(write_config(tmp_path), override, *kind)
    assert result.code == 2
    (line,) = result.lines
    assert sentence in line
    assert not (tmp_path / "benchmark").exists()


# texts that exist, one of which can't be spoken


@pytest.fixture
def texts(built, tmp_path) -> Path:
    """Three records of the benchmark as SPIRAL's texts; the second has a sentence without a sound."""
    records = rows_of(built / "spiral.jsonl")[::NUM_QUESTIONS][:3]
    mute = records[1]
    said = mute["audio_data"]["combined"]["sentences"]
    mute["transcript"][0]["text"][0] = said[0] = "..."
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_texts_that_exist_are_spoken_and_failures_are_named(built, texts, tmp_path):
    config = write_config(tmp_path, writer={"kind": "spiral", "texts": str(texts)})
    result = launch_build(config)
    assert result.code == 1
    assert result.lines[-1].startswith("1 recordings could not be made")
    folder = tmp_path / "benchmark"
    original = {row["item_id"]: row for row in rows_of(built / "manifest.jsonl")}
    rows = rows_of(folder / "manifest.jsonl")
    assert len(rows) == 2
    for row in rows:
        source = original[row["item_id"].removesuffix("-1")]
        for column in ("question", "choices", "answer", "scenario", "topic", "subtopic"):
            assert row[column] == source[column]
    mute = rows_of(texts)[1]["metadata"]["id"]
    readme = (folder / "README.md").read_text()
    assert "## 1 recordings could not be made" in readme
    assert f"- {mute}: SpeechError: " in readme
    again = launch_build(config)  # what failed is tried again, and nothing else
    assert again.code == 1
    assert "3 recordings, 2 of them already made" in again.lines[0]


# a chat model that is paid for


def test_no_script_is_paid_for_twice(tmp_path, job_process):
    with ProtocolServer(good).running() as server:
        config = write_config(
            tmp_path,
            writer={"kind": "chat"},
            chat={"model": "tiny-chat", "base_url": server.base_url, "backoff_seconds": 0.001},
        )
        scripts = tmp_path / "benchmark/scripts"
        process = job_process(config, job=JOB)
        process.wait_until(lambda: scripts.is_dir() and len(list(scripts.iterdir())) >= NUM_BEFORE_KILL)
        process.send(signal.SIGKILL)
        process.wait()
        written = {path.stem: path.read_bytes() for path in scripts.glob("recording-*.json")}
        assert len(written) < NUM_RECORDINGS
        result = launch_build(config)
    assert result.code == 0, result.lines
    seeds = {task.seed % 2**31: task.recording_id for task in plan_tasks(load_config(BuildConfig, config))}
    asked = [seeds[request.body["seed"]] for request in server.requests]
    assert set(asked) == set(seeds.values())
    assert {name for name in written if asked.count(name) > 1} == set()
    assert len(asked) <= NUM_RECORDINGS + 1  # the one that the kill left without its reply
    assert {name: (scripts / f"{name}.json").read_bytes() for name in written} == written


def test_scripts_hold_to_what_they_were_written_by_but_not_to_their_voices(tmp_path):
    chat = {"writer": {"kind": "chat"}, "items": {"num_recordings": 2}}
    with ProtocolServer(good).running() as server:
        chat["chat"] = {"model": "tiny-chat", "base_url": server.base_url, "max_attempts": 1}
        speech = {"model": "tts", "base_url": f"{server.base_url}/none", "voices": ["a:female", "b:male"]}
        spoilt = launch_build(
            write_config(
                tmp_path,
                **chat,
                speech={"kind": "endpoint"},
                endpoint=speech | {"max_attempts": 1, "backoff_seconds": 0},
            )
        )
        assert spoilt.code == 1
        refused = launch_build(write_config(tmp_path, **chat), "chat.model=other")
        assert refused.code == 2
        assert "chat.model is 'other', but the scripts in" in refused.lines[0]
        assert launch_build(write_config(tmp_path, **chat)).code == 0
    chats = [request for request in server.requests if request.path.endswith("/chat/completions")]
    assert len(chats) == 2


# quality


def test_quality_is_measured_on_a_finished_benchmark(built, tmp_path, tiny_model_folder):
    recogniser = tmp_path / "recogniser"
    recogniser.mkdir()
    save_wav2vec2(recogniser)
    copy = tmp_path / "benchmark"
    shutil.copytree(built, copy)
    result = launch_build(
        write_config(tmp_path),
        f"quality.model={tiny_model_folder}",
        f"quality.asr_model={recogniser}",
        "quality.limit=2",
    )
    assert result.code == 0, result.lines
    card = json.loads((copy / "card.json").read_text())
    assert card["no_audio"]["num_questions"] == NUM_RECORDINGS * NUM_QUESTIONS
    assert 0 <= card["no_audio"]["accuracy"] < 0.6  # of a random model
    assert card["recognition"]["num_recordings"] == 2
    assert card["recognition"]["word_error_rate"] > 0.9  # likewise
    assert differing(copy, built) == ["README.md", "card.json"]
