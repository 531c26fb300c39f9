"""The plan of a benchmark's build before it: recordings to make, and what would refuse."""

from __future__ import annotations

from functools import partial

from speechprune.audio import SAMPLE_RATE
from speechprune.benchmarks.builder.config import BuildConfig
from speechprune.benchmarks.builder.directory import BenchmarkDirectory
from speechprune.benchmarks.builder.job import check_makers, plan_tasks, settings_to_check
from speechprune.pipeline.dry_run import SAMPLE_BYTES, DryRun, Estimate, Refusals, written_requests
from speechprune.pipeline.sampling import Sample, Sampled
from speechprune.pipeline.settings import compare_settings, output_path_errors


def dry_run_build(config: BuildConfig) -> DryRun:
    """Plan what ``build_benchmark`` would do: lengths are those aimed at, bytes without compression."""
    refusals = Refusals(config.ray.executor)
    tasks = refusals.attempt(lambda: plan_tasks(config))
    refusals.attempt(partial(check_makers, config))
    directory = refusals.attempt(lambda: BenchmarkDirectory(config.output.path))
    if tasks is None or directory is None:
        return DryRun(refusals.sentences, [])
    made = refusals.attempt(partial(_read_made, directory, config)) or set()
    todo = [task for task in tasks if task.recording_id not in made]
    sample = Sample(recordings=[Sampled(seconds=task.seconds) for task in todo], num_all=len(todo))
    estimate = Estimate(
        step=f"build {config.output.path}",
        item="recording",
        num_todo=len(todo),
        num_done=len(tasks) - len(todo),
        sample=sample,
        bytes_read=0.0,
        bytes_written=sample.audio_seconds * SAMPLE_RATE * SAMPLE_BYTES,
        num_requests=written_requests(directory.path, len(todo)),
        tflops={},
    )
    return DryRun(refusals.sentences, [estimate])


def _read_made(directory: BenchmarkDirectory, config: BuildConfig) -> set[str]:
    """Ids of the recordings that are there, which must have been made with the same settings."""
    with output_path_errors("output.path"):
        made = set(directory.read_recordings().made)
    for settings, holds in settings_to_check(directory, config, has_recordings=bool(made)):
        compare_settings(directory.path, settings, holds=holds, place="output.path")
    return made
