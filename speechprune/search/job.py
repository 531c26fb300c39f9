"""Questions to a whole archive: which recordings answer them, where, and what the model makes of the best."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from loguru import logger

from speechprune import storage
from speechprune.config import ConfigError
from speechprune.data.formats import counted
from speechprune.data.index_files import Part, WindowsDirectory
from speechprune.data.manifest import make_manifest
from speechprune.data.parquet_files import as_parquet
from speechprune.data.search_codes import SearchCodes
from speechprune.inference.point import Point
from speechprune.inference.types import AnsweringOptions
from speechprune.models.loading import check_model
from speechprune.models.options import ModelOptions
from speechprune.pipeline.answer_stage import answer_stages, load_in_worker
from speechprune.pipeline.executor import Executor, make_executor
from speechprune.pipeline.preview import warn_of_unknown_words
from speechprune.pipeline.progress import Progress
from speechprune.pipeline.run_store import RunStore
from speechprune.pipeline.stages import make_tasks
from speechprune.search.approximate import SearchIndex, approximate_pass
from speechprune.search.config import SearchConfig
from speechprune.search.index_pass import search_pass
from speechprune.search.inputs import Inputs
from speechprune.search.recall import bag_of_words_scores, found_by, ranks_of
from speechprune.search.scan import NOT_SCORED, Score
from speechprune.search.summary import SearchResult, search_summary
from speechprune.search.words import QueryWords, encode_query_words

ANSWER_COLUMNS = ("item_id", "prediction", "prediction_text", "choice_probabilities", "correct", "evidence")


@dataclass(frozen=True)
class Ranking:
    """All scores of a search."""

    recordings: list[str]  # addresses, in order
    scores: list[list[Score]]  # of each recording, one a question
    # seconds, num_bytes: what the search took and read, over all of its passes
    seconds: float
    num_bytes: int
    is_exact: bool  # whether all states were read: else what is no candidate has ``NOT_SCORED``

    def matrix(self, name: str) -> np.ndarray:
        """One kind of score, ``(questions, recordings)``."""
        return np.array([[getattr(one, name) for one in scores] for scores in self.scores]).T


def run_search(config: SearchConfig, asked: tuple[str, list[str] | None] | None = None) -> SearchResult:
    """Search an index for the recordings that answer questions, and ask the best of them.

    ``asked``: a question and its choices; None for those of ``search.questions``. Raises what
    ``run_batch_qa`` raises.
    """
    store = RunStore(config.output.path)
    inputs = Inputs(config, asked, storage.join(store.path, "audio"))
    check_model(config.model)
    stored, questions, transcripts = inputs.stored, inputs.questions, inputs.transcripts
    versions = {
        uri: version for (uri, version), there in sorted(inputs.contents.items()) if there.is_complete
    }
    with store.launch(inputs.settings, config):
        logger.info("{} to {}", counted(len(questions), "question"), counted(len(stored), "recording"))
        warn_of_unknown_words(config.model, questions)
        executor = make_executor(config.ray, config.model)
        codes = (
            None
            if config.search.exact
            else SearchIndex.open(SearchCodes(inputs.directory.path), inputs.contents)
        )
        ranking = _rank(executor, config, inputs.directory, stored, codes, questions)
        hits = _hits(config, ranking, questions, versions)
        _answer(executor, config, store, hits, questions, stored)
        hits = _with_answers(hits, store)
        summary = search_summary(
            hits,
            questions,
            len(stored),
            ranking.seconds,
            ranking.num_bytes,
            is_exact=ranking.is_exact,
        )
        if (found := _found(config, ranking, questions, transcripts)) is not None:
            summary["found"] = found
        storage.write_bytes(storage.join(store.path, "hits.parquet"), as_parquet(hits))
        store.finish(summary | {"finished_at": datetime.now(UTC).isoformat(timespec="seconds")})
    return SearchResult(hits, summary, store.path)


def _rank(
    executor: Executor,
    config: SearchConfig,
    directory: WindowsDirectory,
    stored: Mapping[str, Sequence[Part]],
    codes: SearchIndex | None,
    questions: pa.Table,
) -> Ranking:
    """Score every recording for every question, in as many passes over the index as the config says."""
    rows = questions.select(["question", "choices"]).to_pylist()
    size = config.search.questions_per_pass
    passes = [
        [(row["question"], row["choices"]) for row in rows[i : i + size]] for i in range(0, len(rows), size)
    ]
    reading = executor.submit(_words_of_passes, executor.model, passes, config.answering, with_model=True)
    words, token_rate = executor.get(reading)
    start_seconds = time.perf_counter()
    index_bytes = sum(directory.sizes().values())
    num_bytes = 0
    scores: dict[str, list[Score]] = {uri: [] for uri in stored}
    for number, some in enumerate(words, start=1):
        if codes is None:
            found, unreadable = search_pass(executor, stored, some, token_rate)
            num_bytes += index_bytes
        else:
            num_candidates = max(config.search.num_candidates, config.search.num_listed)
            found, unreadable, num_read = approximate_pass(executor, codes, some, token_rate, num_candidates)
            # of the shards that were read as many as they have on average
            num_bytes += codes.num_bytes + index_bytes * num_read // len(codes.parts)
        for uri, sentence in unreadable.items():
            logger.warning("{} is left out: its windows can't be read ({}); index it again", uri, sentence)
        scores = {uri: [*scores[uri], *found[uri]] for uri in scores if uri in found}
        logger.info("pass {:,} of {:,}: {} scored", number, len(words), counted(len(found), "recording"))
    if not scores:
        raise ConfigError(
            f"search.index {config.search.index}: none of its windows can be read: index the archive"
        )
    seconds = time.perf_counter() - start_seconds
    return Ranking(list(scores), list(scores.values()), seconds, num_bytes, is_exact=codes is None)


def _words_of_passes(
    model: ModelOptions,
    passes: list[list[tuple[str, list[str] | None]]],
    options: AnsweringOptions,
) -> tuple[list[QueryWords], float]:
    """On a worker, as only they need a model: the words of each pass, and f."""
    lm = load_in_worker(model, num_threads=None)
    return [encode_query_words(lm, questions, options) for questions in passes], lm.shape.token_rate


def _hits(
    config: SearchConfig, ranking: Ranking, questions: pa.Table, versions: Mapping[str, str]
) -> pa.Table:
    """The best recordings of each question, in order."""
    rows = []
    scores = ranking.matrix("late_interaction")
    for number, question in enumerate(questions.to_pylist()):
        best = np.argsort(-scores[number], kind="stable")[: config.search.num_listed]
        scored = best[scores[number][best] > NOT_SCORED.late_interaction]
        for rank, place in enumerate(scored.tolist(), start=1):
            uri, one = ranking.recordings[place], ranking.scores[place][number]
            key = repr((question["question"], question["choices"], uri, versions[uri]))
            if question["answer"] is not None:  # what decides whether the prediction is correct
                key += repr(question["answer"])
            rows.append(
                {
                    "question_id": question["item_id"],
                    "question": question["question"],
                    "rank": rank,
                    "recording": uri,
                    "start": one.start,
                    "end": one.end,
                    "score": one.late_interaction,
                    "similarity": one.similarity,
                    "item_id": hashlib.sha256(key.encode()).hexdigest()[:16],
                }
            )
    return pa.Table.from_pylist(rows)


def _answer(
    executor: Executor,
    config: SearchConfig,
    store: RunStore,
    hits: pa.Table,
    questions: pa.Table,
    stored: Mapping[str, Sequence[Part]],
) -> None:
    """Ask the best recordings of each question what is not answered yet."""
    by_id = {question["item_id"]: question for question in questions.to_pylist()}
    rows = [
        {
            "item_id": hit["item_id"],
            "audio": hit["recording"],
            "question_id": hit["question_id"],
            **{name: by_id[hit["question_id"]][name] for name in ("question", "choices", "answer")},
        }
        for hit in hits.to_pylist()
        if hit["rank"] <= config.search.num_answered
    ]
    manifest = make_manifest(rows, [pa.field("question_id", pa.string())])
    with store.answering(manifest.items) as todo:
        if not todo:
            return
        logger.info(
            "to ask: {:,} of the best recordings, {:,} of them already asked",
            len(rows),
            len(rows) - len(todo),
        )
        point = Point(method=config.pruning.build(), query_text=config.answering.query_text)
        tasks = make_tasks(manifest, store.answered, stored)
        stages = answer_stages(config.model, [point], config.answering, store)
        executor.run(stages, tasks, Progress(len(todo)))


def _with_answers(hits: pa.Table, store: RunStore) -> pa.Table:
    """Hits with what the model answered; null where it was not asked, or could not answer."""
    table = store.read_answers("ok", list(ANSWER_COLUMNS))
    answers = {row["item_id"]: row for row in table.to_pylist()}
    for name in ANSWER_COLUMNS[1:]:
        values = [answers.get(item_id, {}).get(name) for item_id in hits.column("item_id").to_pylist()]
        hits = hits.append_column(name, pa.array(values, table.schema.field(name).type))
    return hits.drop_columns("item_id")


def _found(
    config: SearchConfig, ranking: Ranking, questions: pa.Table, transcripts: Mapping[str, str]
) -> dict[str, dict[str, float]] | None:
    """Recall of the recordings that should be found; None where no question says which."""
    places = {uri: place for place, uri in enumerate(ranking.recordings)}
    asked = [
        (number, places[row["audio"]])
        for number, row in enumerate(questions.select(["audio"]).to_pylist())
        if row["audio"] in places
    ]
    if not asked:
        return None
    numbers, gold = (np.array(part) for part in zip(*asked, strict=True))
    # of candidates alone phase 1's similarity would be that of recordings that late interaction found
    names = ("late_interaction", "similarity") if ranking.is_exact else ("late_interaction",)
    scores = {name: ranking.matrix(name)[numbers] for name in names}
    if transcripts:
        queries = [_query(config, row) for row in questions.to_pylist()]
        scores["words_of_transcripts"] = bag_of_words_scores(
            [queries[number] for number in numbers], [transcripts[uri] for uri in ranking.recordings]
        )
    return found_by({name: ranks_of(some, gold) for name, some in scores.items()}, len(ranking.recordings))


def _query(config: SearchConfig, row: dict[str, Any]) -> str:
    choices = row["choices"] if config.answering.query_text == "question_and_choices" else None
    return " ".join([row["question"], *(choices or [])])
