"""The report of a sweep: one structure, written as Markdown and as a self-contained HTML page."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import pyarrow as pa
from jinja2 import Environment, PackageLoader, StrictUndefined

from speechprune import storage
from speechprune.data import Row
from speechprune.data.formats import counted, percent
from speechprune.sweep.figures import SweepFigure, draw_figures, render
from speechprune.sweep.figures.rows import first_value, group, slice_kinds
from speechprune.sweep.report_tables import ReportTable, table_of_points, table_of_slices
from speechprune.sweep.slices import ALL_ITEMS, HARD_ITEMS

FIGURES_FOLDER = "figures"
OVER_BENCHMARKS = "Over all benchmarks"
HOW_TO_READ = (
    "Accuracy is the share of items whose choice is right. The 95 % interval (Wilson's) states how far it "
    "may lie from what more items of the same kind would give. Permuted is the same with every choice at "
    "another letter, which is left out where choices were scored by their texts; no audio is what the "
    "questions alone give away, and then also what a liking for some texts does. Of a random method over "
    "several seeds the mean is shown, and the lowest and the highest seed.",
    "The number of wrong answers leads to these answers, question by question, with their evidence to listen "
    "to: on the page that `speechprune report RUN` writes, where RUN is the sweep's output.path.",
    "Hard items are those that truncate, the beginning of the recording alone, answers wrongly, as in the "
    "paper's SPIRAL-H: it scores 0 there by definition.",
    "The difference to the reference is tested on the items of both (exact McNemar test): p is how likely a "
    "split at least as uneven would be if the two were equally good. It can be small although two intervals "
    "overlap, as the items are the same; and of twenty rows that differ by chance alone, about one has p "
    "below 0.05.",
    "★ marks the points that are more accurate than all that take fewer TFLOPs for one more question, and "
    "whose interval lies above chance: above always giving the commonest letter, and above no audio.",
    "Cost is given twice. The paper's account is that of its Table I: the LLM's prefill without attention, "
    "encoder and pruning; weights with KV cache; activations of one layer; the milliseconds are measured "
    "here. The actual TFLOPs count everything. A recording is encoded once for all of its questions, and "
    "that cost is split evenly among them; the column question leaves it out: what one more question about "
    "an encoded recording costs.",
    "Seconds are measured: they depend on the machine and on what else ran there. All other numbers come "
    "out the same again.",
)


@dataclass(frozen=True)
class BenchmarkSection:
    """One benchmark: notes on its items, tables, figures."""

    name: str
    notes: list[str]
    tables: list[ReportTable]
    figures: list[SweepFigure]


@dataclass(frozen=True)
class ModelSection:
    """One model: each benchmark, and figures over all of them."""

    name: str
    benchmarks: list[BenchmarkSection]
    figures: list[SweepFigure]


@dataclass(frozen=True)
class Report:
    """All of a report, in its order."""

    title: str
    facts: dict[str, str]
    recommendation: str | None
    models: list[ModelSection]


def write_report(
    folder: str, points: pa.Table, *, title: str, facts: dict[str, str], recommendation: str | None
) -> list[str]:
    """Write ``report.md``, ``report.html`` and ``figures/``; returns the files' addresses.

    - ``points``: rows of ``POINTS_SCHEMA``, in the order in which they should be read.
    - ``facts``: what was run: config, versions, date, ...; shown as given.
    """
    figures = draw_figures(points)
    report = make_report(points, figures, title=title, facts=facts, recommendation=recommendation)
    pictures = {figure.name: render(figure.figure) for figure in figures}
    files = {
        "report.md": as_markdown(report).encode(),
        "report.html": as_html(report, {name: kinds["svg"] for name, kinds in pictures.items()}).encode(),
    }
    for name, kinds in pictures.items():
        files |= {f"{FIGURES_FOLDER}/{name}.{kind}": data for kind, data in kinds.items()}
    for name, data in files.items():
        storage.write_bytes(storage.join(folder, name), data)
    for kind in (".png", ".svg"):  # of an earlier grid
        for file in storage.files_in(storage.join(folder, FIGURES_FOLDER), kind):
            if f"{FIGURES_FOLDER}/{file.rsplit('/', 1)[-1]}" not in files:
                storage.remove(file)
    return [storage.join(folder, name) for name in files]


def make_report(
    points: pa.Table,
    figures: list[SweepFigure],
    *,
    title: str,
    facts: dict[str, str],
    recommendation: str | None,
) -> Report:
    """Sort tables and figures by model and benchmark."""
    models = []
    for model, rows in group(points.to_pylist(), lambda row: str(row["model"])).items():
        own = [figure for figure in figures if figure.model == model]
        benchmarks = [
            _benchmark_section(name, some, [figure for figure in own if figure.benchmark == name])
            for name, some in group(rows, lambda row: str(row["benchmark"])).items()
        ]
        models.append(ModelSection(model, benchmarks, [f for f in own if f.benchmark is None]))
    return Report(title, facts, recommendation, models)


def _benchmark_section(name: str, rows: list[Row], figures: list[SweepFigure]) -> BenchmarkSection:
    hard = {row["point"]: row for row in rows if row["slice"] == HARD_ITEMS}
    of_all = [row | {HARD_ITEMS: hard.get(row["point"])} for row in rows if row["slice"] == ALL_ITEMS]
    tables = [table_of_points(of_all)]
    tables += [table_of_slices(rows, kind, slices) for kind, slices in slice_kinds(rows).items()]
    return BenchmarkSection(name, _notes(of_all, list(hard.values())), tables, figures)


def _notes(rows: list[Row], hard: list[Row]) -> list[str]:
    num_items = max((row["num_items"] for row in rows), default=0)
    num_hard = max((row["num_items"] for row in hard), default=0)
    letter = first_value(rows, "majority_letter_accuracy")
    notes = [
        f"{counted(num_items, 'item')} with a gold answer"
        + (f", {num_hard:,} of them hard." if hard else ".")
    ]
    if letter is not None:
        notes.append(f"Always giving the commonest letter is right for {percent(letter)} % of them.")
    return notes


def as_markdown(report: Report) -> str:
    """For a repository; figures are referred to as ``figures/NAME.png``."""
    parts = [f"# {_plain(report.title)}"]
    if report.recommendation:
        parts.append(f"**{_plain(report.recommendation)}**")
    if report.facts:
        parts.append("\n".join(f"- {_plain(name)}: {_plain(text)}" for name, text in report.facts.items()))
    for model in report.models:
        parts.append(f"## {_plain(model.name)}")
        for benchmark in model.benchmarks:
            parts += [f"### {_plain(benchmark.name)}", " ".join(benchmark.notes)]
            parts += map(_markdown_table, benchmark.tables)
            parts += map(_markdown_figure, benchmark.figures)
        parts += [f"### {OVER_BENCHMARKS}"] if len(model.benchmarks) > 1 else []
        parts += map(_markdown_figure, model.figures)
    parts += ["## How to read it", *HOW_TO_READ]
    return "\n\n".join(parts) + "\n"


def _markdown_figure(figure: SweepFigure) -> str:
    return f"![{_plain(figure.title)}]({FIGURES_FOLDER}/{figure.name}.png)"


def _markdown_table(table: ReportTable) -> str:
    lines = [
        [_plain(column.full_label) for column in table.columns],
        ["---:" if column.is_number else "---" for column in table.columns],
        *([_plain(cell.text) for cell in row] for row in table.rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(text: str) -> str:
    """Text that Markdown shows as it is: on one line, nothing in it a mark-up."""
    for mark in "\\`*[]|_#~":
        text = text.replace(mark, f"\\{mark}")
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return " ".join(text.split())


def as_html(report: Report, svgs: dict[str, bytes]) -> str:
    """One file that needs no other, with the figures (by name) inside."""
    environment = Environment(
        loader=PackageLoader("speechprune", "sweep"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    images = {
        name: "data:image/svg+xml;base64," + base64.b64encode(svg).decode() for name, svg in svgs.items()
    }
    template = environment.get_template("report.html.jinja")
    return template.render(
        report=report, images=images, how_to_read=HOW_TO_READ, over_benchmarks=OVER_BENCHMARKS
    )
