"""Questions to a whole archive: which recordings answer them, where, and what the model makes of the best."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

import numpy as np
import pyarrow as pa
from loguru import logger

from speechprune import storage
from speechprune.data.formats import counted
from speechprune.data.index_files import Part
from speechprune.data.manifest import make_manifest
from speechprune.data.parquet_files import as_parquet
from speechprune.data.search_codes import SearchCodes
from speechprune.inference.point import Point
from speechprune.models.loading import check_model
from speechprune.pipeline.answer_stage import answer_stages
from speechprune.pipeline.executor import Executor, make_executor
from speechprune.pipeline.preview import warn_of_unknown_words
from speechprune.pipeline.progress import Progress
from speechprune.pipeline.run_store import RunStore
from speechprune.pipeline.tasks import make_tasks
from speechprune.search.approximate import SearchIndex
from speechprune.search.config import SearchConfig
from speechprune.search.inputs import Inputs, check_words
from speechprune.search.ranking import Ranking, encode_on_worker, query_text, rank_recordings
from speechprune.search.recall import bag_of_words_scores, found_by, ranks_of
from speechprune.search.scan import WHOLE
from speechprune.search.summary import SearchResult, search_summary

SECONDS = pa.struct([("start", pa.float64()), ("end", pa.float64()), ("score", pa.float64())])
HITS_SCHEMA = pa.schema(
    [
        ("question_id", pa.string()),
        ("question", pa.string()),
        ("rank", pa.int64()),
        ("recording", pa.string()),
        *SECONDS,  # of the best match
        ("similarity", pa.float64()),
        ("words", pa.float64()),  # BM25 of the best window; -inf where it has none of the words
        ("matches", pa.list_(SECONDS)),  # those that score nearly as high as the best, best first
        ("item_id", pa.string()),
    ]
)
ANSWER_COLUMNS = ("item_id", "prediction", "prediction_text", "choice_probabilities", "correct", "evidence")


def run_search(config: SearchConfig, asked: tuple[str, list[str] | None] | None = None) -> SearchResult:
    """Search an index for the recordings that answer questions, and ask the best of them.

    ``asked``: a question and its choices; None for those of ``search.questions``. Raises what
    ``run_batch_qa`` raises.
    """
    gc.freeze()  # the collections that a large listing causes would visit all of PyTorch
    store = RunStore(config.output.path)
    inputs = Inputs(config, asked, storage.join(store.path, "audio"))
    shape = check_model(config.model)
    check_words(config.search, shape)
    stored, questions, transcripts = inputs.stored, inputs.questions, inputs.transcripts
    versions = {
        uri: version for (uri, version), there in sorted(inputs.contents.items()) if there.is_complete
    }
    with store.launch(inputs.settings, config):
        logger.info("{} to {}", counted(len(questions), "question"), counted(len(stored), "recording"))
        warn_of_unknown_words(config.model, questions)
        executor = make_executor(config.ray, config.model)
        codes = None
        if not config.search.exact and config.search.span == WHOLE:
            codes = SearchIndex.open(SearchCodes(inputs.directory.path), inputs.contents, stored)
        ranking = rank_recordings(
            executor,
            config.search,
            config.answering,
            stored,
            codes,
            questions,
            inputs.part_bytes,
            partial(encode_on_worker, executor, config.answering),
        )
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
        ) | {"search_index_requests": ranking.num_requests}
        if (found := _found(config, ranking, questions, transcripts)) is not None:
            summary["found"] = found
        storage.write_bytes(storage.join(store.path, "hits.parquet"), as_parquet(hits))
        store.finish(summary | {"finished_at": datetime.now(UTC).isoformat(timespec="seconds")})
    return SearchResult(hits, summary, store.path)


def _hits(
    config: SearchConfig, ranking: Ranking, questions: pa.Table, versions: Mapping[str, str]
) -> pa.Table:
    """The best recordings of each question, in order."""
    rows = []
    words = ranking.kinds.get("words")
    for number, question in enumerate(questions.to_pylist()):
        best = np.argsort(-ranking.best[number], kind="stable")[: config.search.num_listed]
        matching = [place for place in best.tolist() if ranking.scores[place][number].matches]
        for rank, place in enumerate(matching, start=1):
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
                    "start": one.matches[0].start,
                    "end": one.matches[0].end,
                    "score": one.late_interaction,
                    "similarity": one.similarity,
                    "words": None if words is None else words[number, place],
                    "matches": [match._asdict() for match in one.matches],
                    "item_id": hashlib.sha256(key.encode()).hexdigest()[:16],
                }
            )
    return pa.Table.from_pylist(rows, HITS_SCHEMA)


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
    scores = {name: some[numbers] for name, some in ranking.kinds.items()}
    if transcripts:
        queries = [query_text(row, config.answering) for row in questions.to_pylist()]
        scores["words_of_transcripts"] = bag_of_words_scores(
            [queries[number] for number in numbers], [transcripts[uri] for uri in ranking.recordings]
        )
    return found_by({name: ranks_of(some, gold) for name, some in scores.items()}, len(ranking.recordings))
