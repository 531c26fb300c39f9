"""Tables that end a run on the terminal: answers, index or search, from the values of their summaries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text

from speechprune.data.formats import counted
from speechprune.pipeline.terminal import printable

if TYPE_CHECKING:
    from speechprune.pipeline.summary import Summary
    from speechprune.search.summary import SearchResult

NUM_FAILURES_SHOWN = 5
NUM_HITS_SHOWN = 10  # of one question
NUM_QUESTIONS_SHOWN = 10

Values = dict[str, Any]


def show_run(summary: Summary) -> None:
    """Print how many items were answered, how well, and what it cost."""
    print_facts("run finished", _run_facts(summary.values))


def show_index(summary: Values) -> None:
    """Print what changed in the archive and what the index costs."""
    print_facts("index up to date", _index_facts(summary))


def show_search(result: SearchResult) -> None:
    """Print the hits of each question; of many with recordings to find, how often these were found."""
    console, values = Console(), result.summary
    if values["num_questions"] > 1 and values.get("found"):
        console.print(_recall_table(values))
    else:
        for hits in _of_questions(result.hits)[:NUM_QUESTIONS_SHOWN]:
            console.print(_hits_table(hits))
    seconds = values["seconds_search_per_question"]
    searched = f"{counted(values['num_recordings'], 'recording')} searched in {seconds:.3g} s a question"
    console.print(Text(f"{searched} ({values['search']}); hits: {result.path}/hits.parquet"))


def print_facts(title: str, facts: Iterable[tuple[str, str]]) -> None:
    """Print a table of names and texts."""
    table = Table(show_header=False, title=Text(printable(title)), title_justify="left")
    table.add_column(style="dim")
    table.add_column()
    for name, text in facts:
        table.add_row(name, Text(printable(text)))  # no markup: paths and errors may contain brackets
    Console().print(table)


def _run_facts(values: Values) -> Iterator[tuple[str, str]]:
    failures = ", ".join(f"{count} {kind}" for kind, count in values["failures"].items())
    answered = f"{values['num_ok']:,} answered, {values['num_failed']:,} failed"
    missing = f", {values['num_missing']:,} MISSING" if values["num_missing"] else ""
    yield "items", answered + (f" ({failures})" if failures else "") + missing
    yield "recordings", f"{values['num_recordings']:,}, {values['audio_hours']:.2f} hours"
    if values["accuracy"] is not None:
        no_audio = values["accuracy_without_audio"]
        yield (
            "accuracy",
            f"{values['accuracy']:.1%} of {values['num_judged']:,}; "
            + ("" if no_audio is None else f"without audio: {no_audio:.1%}, ")
            + f"always {values['majority_letter']}: {values['majority_letter_accuracy']:.1%}",
        )
    if values["evidence_recall_mean"] is not None:
        yield (
            "evidence recall",
            f"{values['evidence_recall_mean']:.1%} of the gold evidence's audio tokens kept, "
            f"mean of {values['num_with_evidence_recall']:,}",
        )
    if values["tokens_mean"]:
        for name, pruned, unpruned, form in (
            ("audio tokens", "tokens_kept_mean", "tokens_mean", ",.0f"),
            ("prefill TFLOPs", "tflops_prefill_mean", "tflops_prefill_unpruned_mean", ".4g"),
            ("memory GB", "memory_gb_mean", "memory_gb_unpruned_mean", ".4g"),
        ):
            own, other = values[pruned], values[unpruned]
            yield name, f"{own:{form}} an answer, {other:{form}} unpruned ({own / other:.0%})"
    launch = values["this_launch"]
    if launch["items_per_second"]:
        yield (
            "this launch",
            f"{counted(launch['num_items'], 'item')} in {launch['seconds']:.1f} s: "
            f"{launch['items_per_second']:.2f} items/s, "
            f"{launch['audio_hours_per_hour']:.0f} hours of audio an hour",
        )
    if "num_gpus" in launch:
        flops = launch.get("model_flops_utilisation")
        at_work = f"{launch['num_gpus']:g}, at work {launch['gpu_utilisation']:.0%} of the time"
        yield "GPUs", at_work + ("" if flops is None else f", {flops:.0%} of their FLOPs")
    yield "answers", values["answers"]


def _index_facts(values: Values) -> Iterator[tuple[str, str]]:
    new, changed, dropped = values["num_new"], values["num_changed"], values["num_dropped"]
    changes = f"{new:,} new, {changed:,} changed, {dropped:,} gone"
    yield "archive", f"{counted(values['num_recordings'], 'recording')}: {changes}"
    yield (
        "index",
        f"{counted(values['num_indexed'], 'recording')}, {values['audio_hours']:.2f} hours: "
        f"{values['num_encoded']:,} encoded, {values['num_copied']:,} copied, {dropped:,} dropped",
    )
    for failure in values["failures"][:NUM_FAILURES_SHOWN]:
        yield "failed", failure["error"]
    if len(values["failures"]) > NUM_FAILURES_SHOWN:
        yield "failed", f"{len(values['failures']) - NUM_FAILURES_SHOWN:,} more: see summary.json"
    if values["audio_hours"]:
        mb = {name: values[f"{name}_per_audio_hour"] / 1e6 for name in ("index_bytes", "audio_bytes")}
        yield (
            "an hour of audio",
            f"{mb['index_bytes']:,.1f} MB in the index, {mb['audio_bytes']:,.1f} MB as audio; encoded "
            f"in {values['seconds_encode_per_audio_hour']:,.1f} s, "
            f"{values['tflops_encode_per_audio_hour']:,.4g} TFLOPs",
        )
    launch = values["this_launch"]
    if launch["seconds"]:
        speed = launch["audio_hours"] * 3600 / launch["seconds"]
        hours = f"{launch['audio_hours']:.2f} hours of audio in {launch['seconds']:.1f} s"
        yield "this launch", f"{hours}: {speed:.0f} x real time"
    if asked := values.get("questions"):
        cost = (
            f"; {asked['seconds_per_question']:.3g} s and {asked['tflops_per_question']:.4g} TFLOPs each"
            if asked["num_ok"]
            else ""
        )
        yield "questions", f"{asked['num_ok']:,} answered, {asked['num_failed']:,} failed{cost}"
        yield "answers", asked["answers"]
    yield "windows", values["windows"]


def _of_questions(hits: pa.Table) -> list[pa.Table]:
    """Hits of each question, in their order; without any hits they are one empty table."""
    firsts = [i for i, rank in enumerate(hits.column("rank").to_pylist()) if rank == 1] or [0]
    ends = [*firsts[1:], len(hits)]
    return [hits.slice(first, end - first) for first, end in zip(firsts, ends, strict=True)]


def _hits_table(hits: pa.Table) -> Table:
    rows = hits.slice(0, NUM_HITS_SHOWN).to_pylist()
    title = printable(rows[0]["question"]) if rows else "no recordings"
    caption = "score: how many of the question's words match, rare ones most; the higher the better"
    table = Table(title=Text(title), title_justify="left", caption=caption, caption_justify="left")
    for name in ("", "recording", "seconds", "score", "answer", "evidence"):
        table.add_column(name)
    for row in rows:
        probabilities = row["choice_probabilities"]
        certainty = f" ({max(probabilities):.0%})" if probabilities else ""
        spans = (row["evidence"] or [])[:2]
        table.add_row(
            str(row["rank"]),
            Text(printable(PurePosixPath(row["recording"]).name)),
            ", ".join(f"{match['start']:.0f} to {match['end']:.0f}" for match in row["matches"]),
            f"{row['score']:.1f}",
            Text("" if row["prediction_text"] is None else printable(f"{row['prediction_text']}{certainty}")),
            ", ".join(f"{span['start']:.0f} to {span['end']:.0f} s" for span in spans),
        )
    return table


def _recall_table(values: Values) -> Table:
    table = Table(title=counted(values["num_questions"], "question"), title_justify="left")
    found = values.get("found") or {}
    table.add_column("recording found by")
    names = list(next(iter(found.values()), {}))
    for name in names:
        table.add_column(name.replace("_at_", "@"), justify="right")
    for method, recalls in found.items():
        table.add_row(method.replace("_", " "), *(f"{recalls[name]:.1%}" for name in names))
    if values["accuracy"] is not None:
        right = f"{values['accuracy']:.1%} of {values['num_judged']:,} right"
        table.caption = f"answers about the first recording: {right}"
    return table
