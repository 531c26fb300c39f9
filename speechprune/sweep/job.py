"""The sweep: a grid of pruning points over manifests with gold answers, each recording encoded once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from loguru import logger

from speechprune import storage
from speechprune.benchmarks.builder.manifests import build_manifest
from speechprune.data import column_values
from speechprune.data.formats import counted
from speechprune.data.index_files import Part, WindowsDirectory, stored_parts
from speechprune.data.index_models import open_index
from speechprune.data.manifest import Manifest, read_manifest
from speechprune.data.parquet_files import as_parquet
from speechprune.data.row_keys import KeySet, hash_values
from speechprune.data.sources import InputOptions, ManifestError
from speechprune.models.fingerprint import fingerprint
from speechprune.models.loading import check_model
from speechprune.models.options import ModelOptions
from speechprune.pipeline.answer_stage import answer_stages
from speechprune.pipeline.executor import make_executor
from speechprune.pipeline.preview import preview, warn_of_unknown_words
from speechprune.pipeline.progress import Progress
from speechprune.pipeline.run_store import RunStore
from speechprune.pipeline.settings import model_settings
from speechprune.pipeline.tasks import Tasks, make_tasks
from speechprune.sweep.answer_sheet import NUMBER_COLUMNS
from speechprune.sweep.config import SweepConfig
from speechprune.sweep.points import points_table
from speechprune.sweep.recommendation import recommend
from speechprune.sweep.report import write_report
from speechprune.sweep.slices import check_slices, columns_for

KEY_COLUMNS = ("model", "benchmark", "point", "item_id")


@dataclass(frozen=True)
class SweepResult:
    """What a sweep found."""

    points: pa.Table  # ``POINTS_SCHEMA``, in the config's order of models and benchmarks
    recommendation: str | None  # see ``recommend``
    # num_answers, num_failed: rows asked for, and those of them that failed
    num_answers: int
    num_failed: int
    report_path: str

    @property
    def failed_fraction(self) -> float:
        """Share of the answers asked for that failed."""
        return self.num_failed / max(1, self.num_answers)


def run_sweep(config: SweepConfig) -> SweepResult:
    """Answer every item at every point where it is not answered yet, and report what the points are worth.

    Raises what ``run_batch_qa`` raises.
    """
    for model in config.models:
        check_model(model)
    config.encoding.detector()  # refused here where it is missing
    store = RunStore(config.output.path, KEY_COLUMNS)
    manifests = {name: build_manifest(source) for name, source in config.input.manifests.items()}
    benchmarks = read_benchmarks(config, manifests, storage.join(store.path, "audio"))
    items = pa.concat_tables([manifest.items for manifest in benchmarks.values()])
    keys = [
        (model.path, benchmark, point.name, item_id)
        for model in config.models
        for benchmark, item_id in column_values(items, ("benchmark", "item_id"))
        for point in config.points
    ]
    indexes = open_indexes(config)
    named, shared = sweep_settings(config, indexes)
    with store.launch(named | shared, config, may_be_new=named):
        with store.answering(items, KeySet.of(keys)):
            progress = [_answer(config, model, benchmarks, indexes, store) for model in config.models]
        return _report(config, benchmarks, store, progress)


def open_indexes(config: SweepConfig) -> dict[str, WindowsDirectory]:
    """The index of each model, by its path; none without ``input.index``."""
    index = config.input.index
    return {model.path: open_index(index, model, config.encoding) for model in config.models} if index else {}


def sweep_settings(
    config: SweepConfig, indexes: Mapping[str, WindowsDirectory]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """All that can change an answer: what the names of models and benchmarks stand for, and the rest.

    Grid, models and benchmarks may change from launch to launch, as each answer has its own. What a name
    stands for must stay, and what all of them share.
    """
    named = {f"model {m.path} (fingerprint of its content)": fingerprint(m) for m in config.models}
    named |= {f"index.states of {path} in input.index": own.states() for path, own in indexes.items()}
    named |= {f"input.manifest {name}": source for name, source in config.input.manifests.items()}
    asking = asdict(config.answering)
    del asking["query_text"]  # each point's own
    shared = model_settings(config.model) | config.encoding.settings
    shared |= {f"answering.{name}": value for name, value in asking.items()}
    return named, shared


def read_benchmarks(
    config: SweepConfig, manifests: Mapping[str, str], audio_folder: str
) -> dict[str, Manifest]:
    """All manifests by name, with the same columns and the name in one; what can't be swept is refused.

    - ``manifests``: the address of each.
    - ``audio_folder``: for recordings that are embedded in them.
    """
    benchmarks = {}
    for name, source in manifests.items():
        options = InputOptions(
            manifest=source,
            split=config.input.split,
            limit=config.input.limit,
            audio_roots=config.input.audio_roots,
        )
        manifest = read_manifest(options, audio_folder)
        _check_items(name, manifest.items, config.report.slices)
        benchmarks[name] = manifest
    try:
        schema = pa.unify_schemas([m.items.schema for m in benchmarks.values()], promote_options="permissive")
    except pa.ArrowTypeError as error:
        raise ManifestError(
            f"input.manifest: a column holds different types in different manifests, rename it ({error})"
        ) from error
    for name, manifest in benchmarks.items():
        items = pa.concat_tables([schema.empty_table(), manifest.items], promote_options="permissive")
        items = items.append_column("benchmark", pa.array([name] * len(items), pa.string()))
        benchmarks[name] = replace(manifest, items=items)
    return benchmarks


def _check_items(name: str, items: pa.Table, slices: Sequence[str]) -> None:
    clashing = [column for column in items.column_names if column in ("benchmark", "point")]
    if clashing:
        raise ManifestError(
            f"{name}: rename {', '.join(clashing)}: the answers of a sweep have columns so named"
        )
    is_judged = pc.and_(pc.is_valid(items.column("answer")), pc.is_valid(items.column("choices")))
    if not pc.any(is_judged).as_py():
        raise ManifestError(
            f"{name}: no item has choices and a gold answer (columns choices and answer): "
            "there is no accuracy to measure"
        )
    try:
        check_slices(items, slices)
    except ValueError as error:
        raise ManifestError(f"{name}: report.{error}") from error


def _answer(
    config: SweepConfig,
    model: ModelOptions,
    benchmarks: dict[str, Manifest],
    indexes: Mapping[str, WindowsDirectory],
    store: RunStore,
) -> dict[str, float]:
    """Answer everything with one model; return what this launch did of it."""
    points = config.points
    stored = stored_parts(indexes[model.path].contents()) if indexes else {}
    tasks, num_todo = missing_tasks(config, model, benchmarks, stored, store)
    num_all = len(points) * sum(len(manifest.items) for manifest in benchmarks.values())
    logger.info(
        "model {} ({}): {}, {}, {:,} of them already there",
        model.path,
        model.dtype,
        counted(len(points), "point"),
        counted(num_all, "answer"),
        num_all - num_todo,
    )
    progress = Progress(num_items=num_todo, items="answers")
    if not num_todo:
        return progress.throughput()
    warn_of_unknown_words(model, pa.concat_tables([manifest.items for manifest in benchmarks.values()]))
    executor = make_executor(config.ray, model)
    logger.info("to do: {}", preview(executor, tasks))
    stages = answer_stages(model, points, config.answering, store, config.encoding)
    executor.run(stages, tasks, progress)
    return progress.throughput()


def missing_tasks(
    config: SweepConfig,
    model: ModelOptions,
    benchmarks: Mapping[str, Manifest],
    stored: Mapping[str, Sequence[Part]],
    store: RunStore,
) -> tuple[Tasks, int]:
    """Tasks of one model whose items say at which points they are not answered yet; and how many answers."""
    tables, num_answers = [], 0
    for name, manifest in benchmarks.items():
        ids = manifest.items.column("item_id").to_pylist()
        keys = hash_values((model.path, name, p.name, item_id) for item_id in ids for p in config.points)
        answered = store.answered.holds(keys).reshape(len(ids), len(config.points))
        missing = [
            [point.name for point, is_answered in zip(config.points, row, strict=True) if not is_answered]
            for row in answered
        ]
        num_answers += sum(map(len, missing))
        done = {(item_id,) for item_id, names in zip(ids, missing, strict=True) if not names}
        tasks = make_tasks(manifest, KeySet.of(done), stored, missing_points=missing).table()
        task_ids = [f"{name}:{task_id}" for task_id in tasks.column("task_id").to_pylist()]
        tables.append(tasks.set_column(0, "task_id", pa.array(task_ids, pa.string())))
    return Tasks.of(pa.concat_tables(tables)), num_answers


def _report(
    config: SweepConfig, benchmarks: dict[str, Manifest], store: RunStore, progress: list[dict[str, float]]
) -> SweepResult:
    """Report what the points are worth: ``points.parquet``, report and figures, ``summary.json``."""
    answers = _read_answers(config, benchmarks, store)
    points = points_table(answers, config.points, slices=config.report.slices, reference=config.reference)
    points = _in_order(points, [model.path for model in config.models], list(benchmarks))
    storage.write_bytes(storage.join(store.path, "points.parquet"), as_parquet(points))
    recommendation = recommend(points)
    facts = _facts(config, benchmarks)
    write_report(store.path, points, title=config.report.title, facts=facts, recommendation=recommendation)
    num_ok = pc.sum(pc.equal(answers.column("status"), "ok")).as_py() or 0
    num_answers = len(config.models) * len(config.points) * sum(len(m.items) for m in benchmarks.values())
    summary: dict[str, Any] = {
        "num_points": len(config.points),
        "num_items": {name: len(manifest.items) for name, manifest in benchmarks.items()},
        "num_answers": num_answers,
        "num_ok": num_ok,
        "num_failed": num_answers - num_ok,
        "recommendation": recommendation,
        "this_launch": {
            name: sum(launch[name] for launch in progress)
            for name in ("num_items", "audio_hours", "seconds", "model_seconds", "tflops")
        }
        | {"by_model": {model.path: launch for model, launch in zip(config.models, progress, strict=True)}},
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    store.finish(summary)
    return SweepResult(
        points, recommendation, num_answers, num_answers - num_ok, storage.join(store.path, "report.html")
    )


def _read_answers(config: SweepConfig, benchmarks: dict[str, Manifest], store: RunStore) -> pa.Table:
    """Answers about the items of the manifests by the models of the config, both statuses."""
    columns = [*KEY_COLUMNS, "answer", *NUMBER_COLUMNS, *columns_for(config.report.slices)]
    columns = list(dict.fromkeys(columns))
    asked = {
        (model.path, name): pa.array(manifest.items.column("item_id").to_pylist(), pa.string())
        for model in config.models
        for name, manifest in benchmarks.items()
    }
    tables = []
    for status in ("ok", "failed"):
        rows = store.read_answers(status, columns)
        rows = rows.append_column("status", pa.array([status] * len(rows), pa.string()))
        for (model, benchmark), item_ids in asked.items():
            tables.append(
                rows.filter(
                    (pc.field("model") == model)
                    & (pc.field("benchmark") == benchmark)
                    & pc.field("item_id").isin(item_ids)
                )
            )
    return pa.concat_tables(tables, promote_options="permissive")


def _in_order(points: pa.Table, models: list[str], benchmarks: list[str]) -> pa.Table:
    """By model and benchmark as the config has them; the rest stays as it is."""
    keys = column_values(points, ("model", "benchmark"))
    places = [(models.index(model), benchmarks.index(benchmark)) for model, benchmark in keys]
    return points.take(pa.array(sorted(range(len(places)), key=places.__getitem__), pa.int64()))


def _facts(config: SweepConfig, benchmarks: dict[str, Manifest]) -> dict[str, str]:
    reference = config.reference or {}
    return {
        "models": ", ".join(model.path for model in config.models),
        "benchmarks": ", ".join(
            f"{name} ({counted(len(m.items), 'item')})" for name, m in benchmarks.items()
        ),
        "points": f"{len(config.points)}",
        "tested against": ", ".join(f"{name} {value}" for name, value in reference.items()) or "nothing",
        "versions": ", ".join(f"{name} {version(name)}" for name in ("speechprune", "torch", "transformers")),
        "date": datetime.now(UTC).date().isoformat(),
    }
