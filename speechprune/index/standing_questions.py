"""Standing questions about what an index holds: each recording is asked once, the answers go by day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from loguru import logger

from speechprune import storage
from speechprune.cost import ModelShape
from speechprune.data.index_files import Contents, stored_parts
from speechprune.index.config import IndexConfig
from speechprune.index.questions import StandingQuestion, as_items
from speechprune.inference.point import Point
from speechprune.pipeline.answer_stage import answer_stages
from speechprune.pipeline.executor import make_executor
from speechprune.pipeline.preview import warn_of_unknown_words
from speechprune.pipeline.progress import Progress
from speechprune.pipeline.run_store import RunStore
from speechprune.pipeline.settings import answer_settings
from speechprune.pipeline.summary import summarise
from speechprune.pipeline.tasks import make_tasks


def ask_standing_questions(
    config: IndexConfig,
    shape: ModelShape,
    questions: Sequence[StandingQuestion],
    complete: Mapping[str, str],
    contents: Contents,
) -> dict[str, Any]:
    """Ask what has not been answered yet, on whatever day; failed items are tried again.

    Parameters
    ----------
    complete
        Version of each recording that the index holds whole, by address.

    Returns
    -------
    dict
        For the summary: ``num_items`` asked in this run, ``num_ok``, ``num_failed``, ``answers`` and the
        TFLOPs and seconds of a question.
    """
    output = str(config.questions.output)
    manifest = as_items(questions, complete)
    answered: set[str] = set()
    for day in storage.folders_in(output):
        answered.update(RunStore(day).read_answers("ok", ["item_id"]).column("item_id").to_pylist())
    wanted = [item_id for item_id in manifest.items.column("item_id").to_pylist() if item_id not in answered]
    logger.info(
        "standing questions: {:,} about {:,} recordings, {:,} answers to make",
        len(questions),
        len(complete),
        len(wanted),
    )
    if not wanted:
        return {"num_items": 0, "num_ok": 0, "num_failed": 0, "answers": output}
    today = storage.join(output, f"date={datetime.now(UTC).date().isoformat()}")
    store = RunStore(today, place="questions.output")
    keys = [(item_id,) for item_id in wanted]
    progress = Progress(len(keys))
    with store.launch(answer_settings(config, config.index.states), config):
        with store.answering(manifest.items, keys) as todo:
            if todo:
                warn_of_unknown_words(config.model, manifest.items)
                _ask(config, make_tasks(manifest, answered, stored_parts(contents)), store, progress)
        values = summarise(store, set(wanted), shape, progress.throughput()).values
        store.finish(values)
    work = ("seconds_encode", "seconds_prune", "seconds_prefill", "seconds_generate")
    num_ok = max(1, values["num_ok"])
    return {
        "num_items": len(wanted),
        "num_ok": values["num_ok"],
        "num_failed": values["num_failed"],
        "answers": f"{store.path}/answers",
        "tflops_per_question": values["totals"]["tflops_total"] / num_ok,
        "seconds_per_question": sum(values["totals"][name] for name in work) / num_ok,
    }


def _ask(config: IndexConfig, tasks: pa.Table, store: RunStore, progress: Progress) -> None:
    executor = make_executor(config.ray, config.model)
    point = Point(method=config.pruning.build(), query_text=config.answering.query_text)
    executor.run(answer_stages(config.model, [point], config.answering, store), tasks, progress)
