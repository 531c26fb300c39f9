"""Answers on the terminal: question, prediction, and where in the recording to listen."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path, PurePosixPath

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from speechprune.audio import AudioSilent, decode_audio
from speechprune.data import Row
from speechprune.data.columns import COLUMNS, GOLD_SPAN_COLUMNS
from speechprune.data.formats import clock
from speechprune.inference.prompts import LETTERS
from speechprune.pipeline.summary import AnswersSource
from speechprune.pipeline.terminal import printable
from speechprune.reports.clips import as_opus

BAR_CHARACTERS = 20  # of a probability of one
ID_SHARE = 0.3  # of a line, which ids may take
HOW_TO_READ = "similarity to the question's words: higher is nearer, within this item"


class AnswerNotFound(ValueError):
    """No item, or more than one, has an id that starts with the text given."""


def list_answers(run: AnswersSource, *, only_failed: bool) -> None:
    """Print one line per item: answered ones first, then the failed."""
    columns = ("item_id", "audio", "question", "prediction", "prediction_text", "answer", "evidence")
    answered = [] if only_failed else _rows(run, "ok", *columns)
    failed = _rows(run, "failed", "item_id", "audio", "question", "error")
    console = Console()
    longest = int(ID_SHARE * console.width)
    ids = _ids_to_copy([row["item_id"] for row in (*answered, *failed)], longest)
    names = ("item", "recording", "question", "answer", "gold", "evidence")
    table = Table(*(Column(name, overflow="fold") for name in names))
    table.columns[0].no_wrap = all(len(text) <= longest for text in ids.values())
    for row in answered:
        spans = ", ".join(f"{clock(span['start'])}-{clock(span['end'])}" for span in row["evidence"][:2])
        cells = (row["question"], _answered(row), row["answer"] or "", spans)
        table.add_row(Text(ids[row["item_id"]]), _file_name(row), *map(_text, cells))
    for row in failed:
        error = Text.assemble(("failed:", "red"), " ", printable(row["error"]))
        table.add_row(Text(ids[row["item_id"]]), _file_name(row), _text(row["question"] or ""), error)
    if table.row_count == 0:
        raise AnswerNotFound(f"{run.path} holds no answers: is it the output.path of a run?")
    console.print(table)


def find_answer(run: AnswersSource, item_id: str) -> Row:
    """The row of an item, by its id or the beginning of it.

    Raises
    ------
    AnswerNotFound
        No id starts so, or several do; the sentence lists some.
    """
    columns = [*(column.name for column in COLUMNS), *GOLD_SPAN_COLUMNS]
    rows = [row for status in ("ok", "failed") for row in _rows(run, status, *columns)]
    exact = [row for row in rows if row["item_id"] == item_id]
    matching = exact or [row for row in rows if row["item_id"].startswith(item_id)]
    if len(matching) == 1:
        return matching[0]
    some = ", ".join(row["item_id"] for row in (matching or rows)[:5])
    if matching:
        raise AnswerNotFound(f"{len(matching)} items begin with {item_id}: {some}, ...")
    raise AnswerNotFound(f"{run.path} has no item {item_id}" + (f"; it has {some}, ..." if rows else ""))


def show_answer(row: Row) -> None:
    """Print one item whole."""
    console = Console()
    console.print(_text(row["question"] or "", "bold"))
    console.print(Text(printable(row["audio"]), "dim"))
    if row["error"] is not None:
        console.print(Text.assemble(("failed", "red"), f" ({row['error_type']}): {printable(row['error'])}"))
        return
    if row["choices"] is None:
        console.print(_text(f"\n{row['prediction_text']}\n"))
    else:
        table = Table(show_header=False, box=None)
        choices = zip(LETTERS, row["choices"], row["choice_probabilities"], strict=False)
        for letter, text, probability in choices:
            mark = "answer" if letter == row["prediction"] else ""
            mark += " (gold)" if letter == row["answer"] else ""
            bar = "█" * round(BAR_CHARACTERS * probability)
            table.add_row(letter, _text(text), f"{probability:.1%}", bar, mark)
        console.print(table)
    if row["evidence"]:
        headings = ["listen from", "to", "similarity"] + ["transcript"] * (row["evidence_text"] is not None)
        table = Table(*headings, title="evidence", title_justify="left")
        for number, span in enumerate(row["evidence"]):
            texts = [] if row["evidence_text"] is None else [_text(row["evidence_text"][number])]
            table.add_row(clock(span["start"]), clock(span["end"]), f"{span['score']:.3f}", *texts)
        console.print(table)
        console.print(HOW_TO_READ, style="dim", highlight=False)
    if row["evidence_start"] is not None:
        recall = row["evidence_recall"]
        found = (
            "outside of what was listened to" if recall is None else f"{recall:.0%} of its audio tokens kept"
        )
        console.print(f"gold evidence {clock(row['evidence_start'])}-{clock(row['evidence_end'])}: {found}")
    rate = "" if row["pruning_rate"] is None else f", pruning rate {row['pruning_rate']:g}"
    kept = f"{row['num_kept_tokens']:,} of {row['num_audio_tokens']:,} audio tokens kept"
    cost = f"{row['tflops_total']:.3g} TFLOPs in all, prefill {row['seconds_prefill'] * 1000:.0f} ms"
    console.print(Text(f"{kept} by {row['method']}{rate}; {cost}", "dim"))


def write_clips(row: Row, folder: str) -> list[str]:
    """Write each evidence span as an Opus file; returns the paths."""
    paths = []
    name = re.sub(r"[^\w.-]+", "_", row["item_id"])
    Path(folder).mkdir(parents=True, exist_ok=True)
    for number, span in enumerate(row["evidence"] or [], start=1):
        try:
            samples = decode_audio(row["audio"], start=span["start"], end=span["end"], track=row["track"])
        except AudioSilent:  # a pause can rank high by chance; there is nothing to hear
            continue
        path = Path(folder) / f"{name}-{number}-{span['start']:.1f}s.opus"
        path.write_bytes(as_opus(samples))
        paths.append(str(path))
    return paths


def _text(text: str, style: str = "") -> Text:
    return Text(printable(text, keep_lines=True), style)


def _rows(run: AnswersSource, status: str, *columns: str) -> list[Row]:
    rows: list[Row] = run.read_answers(status, list(columns)).to_pylist()
    return sorted(rows, key=lambda row: row["item_id"])


def _file_name(row: Row) -> Text:
    return _text(PurePosixPath(row["audio"].partition("?")[0]).name)


def _ids_to_copy(item_ids: Sequence[str], longest: int) -> dict[str, str]:
    """Ids as they stand on one line: of a longer one a beginning that no other id has, which is enough."""
    ordered = sorted(set(item_ids))
    shown = {}
    for number, item_id in enumerate(ordered):
        neighbours = (*ordered[max(0, number - 1) : number], *ordered[number + 1 : number + 2])
        shared = max((_num_shared(item_id, other) for other in neighbours), default=0)
        shown[item_id] = printable(item_id[: max(longest, shared + 1)])
    return shown


def _num_shared(text: str, other: str) -> int:
    """Number of characters that two texts begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(text, other, strict=False)))


def _answered(row: Row) -> str:
    same = row["prediction"] == row["prediction_text"]
    return row["prediction_text"] if same else f"{row['prediction']}. {row['prediction_text']}"
