"""Synthesis job: plans a benchmark as a whole, makes recordings in parallel, joins them in order."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from loguru import logger
from rich.console import Console

from speechprune import storage
from speechprune.benchmarks.builder.card import RecordingFacts, card_markdown, card_values
from speechprune.benchmarks.builder.config import BuildConfig
from speechprune.benchmarks.builder.directory import BenchmarkDirectory
from speechprune.benchmarks.builder.grammar_writer import GrammarWriter
from speechprune.benchmarks.builder.plan import plan_recordings, plan_voices
from speechprune.benchmarks.builder.quality_job import check_quality_models, measure_quality
from speechprune.benchmarks.builder.recording_stage import (
    RecordingStage,
    RecordingTask,
    make_synthesizer,
    make_writer,
    pack_tasks,
)
from speechprune.benchmarks.builder.spiral_texts import read_spiral_scripts
from speechprune.config import ConfigError
from speechprune.data.formats import counted
from speechprune.pipeline.progress import Progress
from speechprune.pipeline.settings import check_settings, output_path_errors
from speechprune.pipeline.tasks import split_blocks

PACKAGES = ("speechprune", "ray", "numpy", "soundfile", "av", "transformers")
NEURAL_PACKAGES = ("onnxruntime", "piper-tts")  # of the kinds of speech piper and kokoro


@dataclass(frozen=True)
class BuildResult:
    """The benchmark after this launch, with the results of earlier launches.

    Parameters
    ----------
    path
        Its folder.
    card
        The values of its card.
    failures
        Reason of each missing recording, by its id.
    """

    path: str
    card: dict[str, Any]
    failures: dict[str, str]

    def show(self) -> None:
        """Print the line that ends a build."""
        card = self.card
        Console().print(
            f"{counted(card['num_recordings'], 'recording')}, {counted(card['num_questions'], 'question')}, "
            f"{card['hours']:.2f} hours: {storage.join(self.path, 'README.md')}",
            highlight=False,
            soft_wrap=True,
        )


def build_benchmark(config: BuildConfig) -> BuildResult:
    """Make every missing recording, then write the manifest, its companion files and the card.

    Parameters
    ----------
    config
        Configuration of the job.

    Raises
    ------
    ValueError
        Config, texts, models or output can't be used; raised before any worker starts.
    StartError
        The workers can't start, or the models that measure quality can't run.
    """
    tasks = plan_tasks(config)
    check_makers(config)
    directory = BenchmarkDirectory(config.output.path)
    with output_path_errors("output.path"):
        made = directory.read_recordings().made
    packages = PACKAGES + (NEURAL_PACKAGES if config.speech.kind in ("piper", "kokoro") else ())
    for settings, holds in settings_to_check(directory, config, has_recordings=bool(made)):
        check_settings(directory.path, settings, config, holds=holds, place="output.path", packages=packages)
    todo = [task for task in tasks if task.recording_id not in made]
    logger.info(
        "{}: {}, {:,} of them already made",
        directory.path,
        counted(len(tasks), "recording"),
        len(tasks) - len(todo),
    )
    if todo:
        reports = _make_recordings(config, todo, directory.path)
        with Progress(len(todo), doing="building", items="recordings", failures_in="README.md") as progress:
            for report in reports:
                for row in report.to_pylist():
                    progress.add(row)
    return _put_together(config, tasks, directory)


def settings_to_check(
    directory: BenchmarkDirectory, config: BuildConfig, has_recordings: bool
) -> list[tuple[dict[str, Any], str | None]]:
    """Settings that must be those of existing files, and what these are; scripts need the writer's alone."""
    if has_recordings:
        return [(config.settings(), "recordings")]
    scripts: list[tuple[dict[str, Any], str | None]] = [(config.script_settings(), "scripts")]
    return [*(scripts if directory.has_scripts() else []), (config.settings(), None)]


def plan_tasks(config: BuildConfig) -> list[RecordingTask]:
    """Plan all recordings, in the benchmark's order.

    Raises
    ------
    ConfigError
        ``writer.texts`` can't be read.
    """
    if config.writer.kind != "spiral":
        plans = plan_recordings(config.items, GrammarWriter().topics())
        return [
            RecordingTask(
                recording_id=plan.recording_id,
                seed=plan.seed,
                text=plan,
                seconds=plan.seconds,
                voice_group=plan.voice_group if config.voices_have_groups else None,
            )
            for plan in plans
        ]
    assert config.writer.texts is not None
    try:
        scripts = read_spiral_scripts(config.writer.texts)[: config.items.num_recordings]
    except (OSError, ValueError) as error:
        raise ConfigError(f"writer.texts can't be read: {error}") from error
    if not scripts:
        raise ConfigError(f"writer.texts {config.writer.texts} holds no texts")
    return [
        RecordingTask(
            recording_id=name,
            seed=seed,
            text=script,
            seconds=None,
            voice_group=group if config.voices_have_groups else None,
        )
        for (name, script), (seed, group) in zip(
            scripts, plan_voices(config.items, len(scripts)), strict=True
        )
    ]


def check_makers(config: BuildConfig) -> None:
    """Check what would stop every worker, and the quality models; workers alone load a speech model."""
    try:
        make_writer(config)
        if config.speech.kind != "hugging_face":
            make_synthesizer(config)
    except RuntimeError as error:
        raise ConfigError(str(error)) from error
    check_quality_models(config.quality)


def _make_recordings(config: BuildConfig, todo: list[RecordingTask], path: str) -> Iterator[pa.Table]:
    """Start to make the recordings; returns the stage's reports."""
    blocks = list(split_blocks(pack_tasks(todo), config.ray.recordings_per_block))
    if config.ray.executor == "local":
        return map(RecordingStage(config=config, path=path), blocks)
    from speechprune.benchmarks.builder.on_ray import make_on_ray

    return make_on_ray(config, blocks, path)


def _put_together(
    config: BuildConfig, tasks: Sequence[RecordingTask], directory: BenchmarkDirectory
) -> BuildResult:
    """Write the files that users read, in the plan's order, whatever order the parts were made in."""
    recordings = directory.read_recordings()
    files: dict[str, list[str]] = {"manifest.jsonl": [], "spiral.jsonl": [], "transcripts.jsonl": []}
    entries = []
    for task in tasks:
        if task.recording_id not in recordings.made:
            continue
        entry = json.loads(recordings.made[task.recording_id])
        files["manifest.jsonl"] += map(_as_line, entry["manifest"])
        files["spiral.jsonl"] += map(_as_line, entry["spiral"])
        files["transcripts.jsonl"].append(_as_line(entry["transcript"]))
        entries.append(RecordingFacts.of(entry["manifest"], entry["transcript"]))
    for name, lines in files.items():
        directory.write_file(name, "".join(lines).encode())
    failures = {
        task.recording_id: recordings.failed.get(task.recording_id, "not made")
        for task in tasks
        if task.recording_id not in recordings.made
    }
    card = card_values(entries, failures, config.speech.kind)
    if entries:
        card |= measure_quality(config.quality, directory.path, entries, config.ray.executor)
    directory.write_file("card.json", json.dumps(card, indent=2, ensure_ascii=False).encode())
    directory.write_file("README.md", card_markdown(card).encode())
    return BuildResult(directory.path, card, failures)


def _as_line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
