"""Synthesis stage, on CPUs: from a plan to a script, its speech, its audio file and its rows."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
from loguru import logger

from speechprune.benchmarks.builder.acoustics import degrade
from speechprune.benchmarks.builder.config import BuildConfig
from speechprune.benchmarks.builder.directory import BenchmarkDirectory
from speechprune.benchmarks.builder.export import (
    encode_audio,
    manifest_rows,
    spiral_records,
    transcript_record,
)
from speechprune.benchmarks.builder.recording import speak_script
from speechprune.benchmarks.builder.script import RecordingPlan, Script
from speechprune.benchmarks.builder.speech import Synthesizer
from speechprune.pipeline.failures import failure_sentence
from speechprune.pipeline.stages import NUM_FAILURES_SHOWN, PROGRESS_SCHEMA


class Writer(Protocol):
    """Interface of all writers of scripts."""

    def write(self, plan: RecordingPlan) -> Script:
        """Write one recording's script."""
        ...


@dataclass(frozen=True, kw_only=True)
class RecordingTask:
    """Task of making one recording.

    Parameters
    ----------
    recording_id, seed
        Id and seed of the plan.
    text
        Plan for a writer, or a script that exists.
    seconds
        Target length; None leaves the pauses as drawn.
    voice_group
        Group of voices to use; None for all.
    """

    recording_id: str
    seed: int
    text: RecordingPlan | Script
    seconds: float | None
    voice_group: str | None


def pack_tasks(tasks: list[RecordingTask]) -> pa.Table:
    """Pack tasks into rows of a table."""
    return pa.table({"task": pa.array([pickle.dumps(task) for task in tasks], pa.large_binary())})


def make_writer(config: BuildConfig) -> Writer | None:
    """Make the writer of a config; None where the texts exist.

    Raises
    ------
    RuntimeError
        It can't be made.
    """
    if config.chat is not None and config.writer.kind == "chat":
        from speechprune.benchmarks.builder.chat_writer import ChatWriter

        return ChatWriter(config.chat)
    if config.writer.kind == "grammar":
        from speechprune.benchmarks.builder.grammar_writer import GrammarWriter

        return GrammarWriter()
    return None


def make_synthesizer(config: BuildConfig) -> Synthesizer:
    """Make the synthesizer of a config.

    Raises
    ------
    SpeechError
        It can't be made.
    """
    if config.endpoint is not None and config.speech.kind == "endpoint":
        from speechprune.benchmarks.builder.speech_endpoint import SpeechEndpoint

        return SpeechEndpoint(config.endpoint)
    if config.hugging_face is not None and config.speech.kind == "hugging_face":
        from speechprune.benchmarks.builder.hugging_face_speech import HuggingFaceSpeech

        return HuggingFaceSpeech(config.hugging_face)
    if config.piper is not None and config.speech.kind == "piper":
        from speechprune.benchmarks.builder.piper_speech import PiperSpeech

        return PiperSpeech(config.piper)
    if config.kokoro is not None and config.speech.kind == "kokoro":
        from speechprune.benchmarks.builder.kokoro_speech import KokoroSpeech

        return KokoroSpeech(config.kokoro)
    from speechprune.benchmarks.builder.espeak import Espeak

    return Espeak(config.speech.words_per_minute)


class RecordingStage:
    """Stage that makes recordings, with a writer and a synthesizer.

    Parameters
    ----------
    config
        Configuration of the job.
    path
        The benchmark's folder.
    attempt
        Context in which the recording of an id is made; what it raises is the recording's failure.
    """

    def __init__(
        self,
        *,
        config: BuildConfig,
        path: str,
        attempt: Callable[[str], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self._config = config
        self._directory = BenchmarkDirectory(path)
        self._attempt = attempt
        self._writer = make_writer(config)
        self._synthesizer = make_synthesizer(config)

    def __call__(self, block: pa.Table) -> pa.Table:
        """Make a block's recordings, each recorded when it is finished; returns one row of progress.

        The block's part is named by the recordings in it: a retried block goes on where it was.
        """
        tasks: list[RecordingTask] = [pickle.loads(data) for data in block.column("task").to_pylist()]
        names = "\n".join(task.recording_id for task in tasks)
        part = hashlib.sha256(names.encode()).hexdigest()[:24]
        lines = self._directory.read_part(part)
        seconds, failures = 0.0, []
        for task in tasks:
            if task.recording_id in lines:
                continue
            entry = self._make_or_fail(task)
            lines[task.recording_id] = json.dumps(entry, ensure_ascii=False).encode()
            self._directory.write_part(part, lines.values())
            if entry["error"] is None:
                seconds += entry["transcript"]["audio_seconds"]
            else:
                failures.append(f"{task.recording_id}: {entry['error']}")
        return pa.table(
            {
                "num_ok": [len(tasks) - len(failures)],
                "num_failed": [len(failures)],
                "num_recordings": [len(tasks)],
                "audio_seconds": [seconds],
                "failures": [failures[:NUM_FAILURES_SHOWN]],
            },
            schema=PROGRESS_SCHEMA,
        )

    def _make_or_fail(self, task: RecordingTask) -> dict[str, Any]:
        """Make a recording; returns its entry in the part, or the entry of its failure."""
        made: dict[str, Any] = {}
        failure: Exception | None = None
        try:
            with self._attempt(task.recording_id):
                made = self._make(task)
        except Exception as error:
            failure = error
            logger.opt(exception=error).debug("making {} failed", task.recording_id)
        return {
            "recording_id": task.recording_id,
            "error_type": None if failure is None else type(failure).__name__,
            "error": None if failure is None else failure_sentence(failure),
            **made,
        }

    def _make(self, task: RecordingTask) -> dict[str, Any]:
        """Write, speak, degrade, encode, publish; the entry comes after everything that it names."""
        config = self._config
        spoken = speak_script(
            self._script(task),
            self._synthesizer,
            seconds=task.seconds,
            voice_group=task.voice_group,
            overlap_fraction=config.speech.overlap_fraction,
            seed=task.seed,
            pause_seconds=config.speech.pause_seconds,
        )
        audio = self._directory.audio_name(task.recording_id, config.output.audio_format)
        degraded = degrade(spoken.samples, config.acoustics, task.seed)
        self._directory.write_file(audio, encode_audio(degraded, config.output.audio_format))
        return {
            "manifest": manifest_rows(task.recording_id, audio, spoken),
            "spiral": spiral_records(task.recording_id, audio, spoken),
            "transcript": transcript_record(task.recording_id, spoken),
        }

    def _script(self, task: RecordingTask) -> Script:
        """Return the task's script, or let the writer write it; a chat model's script is stored first."""
        if isinstance(task.text, Script):
            return task.text
        assert self._writer is not None
        if self._config.writer.kind != "chat":
            return self._writer.write(task.text)
        script = self._directory.read_script(task.recording_id)
        if script is None:
            script = self._writer.write(task.text)
            self._directory.write_script(task.recording_id, script)
        return script
