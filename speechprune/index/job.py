"""The nightly job: what is new in an archive is encoded into the index, then asked the standing questions."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from functools import partial
from typing import Any

import pyarrow as pa
from loguru import logger

from speechprune import storage
from speechprune.data.formats import counted
from speechprune.data.index_columns import INDEX_FORMAT
from speechprune.data.index_files import Contents, WindowsDirectory
from speechprune.data.index_models import index_dir
from speechprune.data.recording_columns import write_columns
from speechprune.data.search_codes import SearchCodes
from speechprune.index.compaction import compact
from speechprune.index.config import IndexConfig
from speechprune.index.encode_stage import EncodeStage
from speechprune.index.listing import Recording, archive_manifest, list_archive
from speechprune.index.plan import Plan, make_plan, missing_shards
from speechprune.index.search_codes import check_search_codes, update_search_codes
from speechprune.index.standing_questions import ask_standing_questions, read_questions
from speechprune.index.summary import summarise_index
from speechprune.index.write_windows import write_windows
from speechprune.models.fingerprint import fingerprint
from speechprune.models.loading import check_model
from speechprune.pipeline.executor import Executor, Stages, make_executor
from speechprune.pipeline.lease import Lease
from speechprune.pipeline.preview import recording_lengths
from speechprune.pipeline.progress import Progress
from speechprune.pipeline.settings import check_settings, model_settings, output_path_errors
from speechprune.pipeline.stages import decode_recording
from speechprune.pipeline.tasks import TASK_SCHEMA, Tasks, pack_items
from speechprune.pruning.late_interaction import block_tokens


def run_index(config: IndexConfig) -> dict[str, Any]:
    """Bring the index up to date with the archive, then ask; returns what ``summary.json`` then holds.

    Raises what ``run_batch_qa`` raises, and a ValueError where another run holds the index.
    """
    shape = check_model(config.model)
    check_search_codes(config.index, shape)
    config.encoding.detector()  # refused here where it is missing
    questions = read_questions(config.questions.path)
    archive = list_archive(config.archive.path, config.archive.audio_roots)
    directory = WindowsDirectory(index_dir(config.index.path, config.model, config.encoding))
    with contextlib.ExitStack() as stack:
        with output_path_errors("index.path"):
            lease = stack.enter_context(Lease(directory.path, config.index.lease_minutes))
            holds = "windows" if directory.files() else None
        check_settings(directory.path, index_settings(config), config, holds=holds, place="index.path")
        contents = directory.settle()
        current = {recording.uri: recording.version for recording in archive}
        plan = make_plan(archive, contents)
        is_settled = not (plan.encode or plan.copies) and all(
            current.get(uri) == version for uri, version in contents
        )
        _announce(config, archive, plan)
        progress = Progress(0, doing="encoding", items="parts", failures_in="summary.json")
        reports: list[dict[str, Any]] = []
        if plan.encode:
            shard_seconds = config.index.shard_seconds(shape.encoder.window_seconds)
            progress, reports = _encode(config, directory, plan.encode, contents, shard_seconds)
            lease.check()
            contents = directory.settle()
        num_copied = _copy(directory, plan, contents)
        lease.check()
        if not is_settled:
            contents = directory.settle(current)
        if config.index.compact:
            num_gone = compact(
                directory, lambda done, of: logger.info("compacted {:,} of {:,} files", done, of)
            )
            contents = directory.settle() if num_gone else contents
        directory.write_listing(contents)
        complete = {uri: version for (uri, version), there in contents.items() if there.is_complete}
        failures = [part for report in reports for part in report["failed_parts"]]
        write_columns(directory.path, archive_manifest(config.archive.path))
        summary = summarise_index(directory, plan, num_copied, complete, failures, progress.throughput())
        lease.check()
        if config.index.search_codes:
            summary["search_codes"] = update_search_codes(
                config, SearchCodes(directory.path), contents, block_tokens(shape.token_rate)
            )
            lease.check()
        storage.write_json(storage.join(directory.path, "summary.json"), summary)
        if questions:
            asked = ask_standing_questions(config, shape, questions, complete, contents)
            summary |= {"questions": asked}
            lease.check()
            storage.write_json(storage.join(directory.path, "summary.json"), summary)
    return summary


def index_settings(config: IndexConfig) -> dict[str, Any]:
    """All that can change the windows of one model, by dotted name."""
    return (
        model_settings(config.model)
        | config.encoding.settings
        | {
            "index.states": config.index.states,
            "index.shard_minutes": config.index.shard_minutes,
            "index format": INDEX_FORMAT,
        }
    )


def _announce(config: IndexConfig, archive: Sequence[Recording], plan: Plan) -> None:
    logger.info(
        "{}: {}: {:,} new, {:,} changed, {:,} as they were; {:,} gone",
        config.archive.path,
        counted(len(archive), "recording"),
        len(plan.added),
        len(plan.changed),
        len(plan.unchanged),
        len(plan.removed),
    )
    logger.info(
        "to encode: {:,}; copies of others: {:,}; model {} ({}), states in {}",
        len(plan.encode),
        len(plan.copies),
        config.model.path,
        config.model.dtype,
        config.index.states,
    )


def _encode(
    config: IndexConfig,
    directory: WindowsDirectory,
    recordings: Sequence[Recording],
    contents: Contents,
    shard_seconds: float,
) -> tuple[Progress, list[dict[str, Any]]]:
    """Encode what the index lacks of some recordings."""
    executor = make_executor(config.ray, config.model)
    tasks = _make_tasks(executor, recordings, contents, shard_seconds)
    logger.info("to do: {} in {}", counted(len(recordings), "recording"), counted(len(tasks), "part"))
    progress = Progress(len(tasks), doing="encoding", items="parts", failures_in="summary.json")
    labels = {"model": config.model.path, "revision": fingerprint(config.model)}
    stages = Stages(
        decode=partial(decode_recording, detector=config.encoding.detector()),
        model=partial(EncodeStage, labels=labels, states=config.index.states, cut=config.encoding.cut),
        write=partial(write_windows, path=directory.path),
        doing="encoding",
    )
    return progress, executor.run(stages, tasks, progress)


def _make_tasks(
    executor: Executor, recordings: Sequence[Recording], contents: Contents, seconds: float
) -> Tasks:
    """The parts that are missing, in order."""
    rows = []
    lengths = recording_lengths(executor, [recording.uri for recording in recordings])
    for recording, length in zip(recordings, lengths, strict=True):
        num_shards = 1 if length is None else max(1, -int(-length // seconds))
        for shard in missing_shards(recording, contents, num_shards):
            item = {
                "version": recording.version,
                "shard": shard,
                "num_shards": num_shards,
                "audio_bytes": recording.num_bytes,
            }
            key = repr((recording.uri, recording.version, shard))
            rows.append(
                {
                    "task_id": hashlib.sha256(key.encode()).hexdigest()[:16],
                    "audio": recording.uri,
                    "start": shard * seconds if num_shards > 1 else None,
                    # the last part has no end: nothing is left over
                    "end": (shard + 1) * seconds if shard < num_shards - 1 else None,
                    "part_of": length if num_shards > 1 else None,
                    "items": pack_items(pa.Table.from_pylist([item])),
                }
            )
    return Tasks.of(pa.Table.from_pylist(rows, schema=TASK_SCHEMA))


def _copy(directory: WindowsDirectory, plan: Plan, contents: Contents) -> int:
    """Windows of renamed and copied recordings, from those that they are copies of; returns how many.

    A source that could not be encoded has none: its copies are tried again with it.
    """
    num_copied = 0
    for copy in plan.copies:
        source = contents.get((copy.source.uri, copy.source.version))
        if source is not None and source.is_complete:
            directory.copy(source, copy.target.uri, copy.target.version)
            num_copied += 1
    return num_copied
