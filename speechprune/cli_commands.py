"""The list of commands: what each reads, does and prints at its end.

Work and config classes are named by import path, so that the list itself costs no import of torch or Ray.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speechprune.benchmarks.builder.config import BuildConfig
    from speechprune.benchmarks.builder.job import BuildResult
    from speechprune.index.config import IndexConfig
    from speechprune.pipeline.config import BatchQAConfig
    from speechprune.pipeline.summary import Summary
    from speechprune.search.config import SearchConfig
    from speechprune.search.summary import SearchResult
    from speechprune.sweep.config import SweepConfig
    from speechprune.sweep.job import SweepResult

# modules that no bare install has: the extra in pyproject.toml that installs each
EXTRAS = {
    "espeakng_loader": "build",
    "rapidfuzz": "build",
    "soundfile": "build",
    "onnxruntime": "voices",
    "piper": "voices",
    "librosa": "quality",
    "speechmos": "quality",
    "faiss": "search",
    "moto": "lab",
    "sklearn": "lab",
    "threadpoolctl": "lab",
    "werkzeug": "lab",
}
SETTING = re.compile(r"-h$|--[a-z-]+$|[a-z_]+\.[a-z_0-9]+=|.*\.ya?ml$", re.DOTALL)  # not part of a question


@dataclass(frozen=True, kw_only=True)
class Job:
    """A command that works from a config."""

    usage: str  # how it is called
    description: str  # what it does; the first line alone stands in the list of commands
    # config_class, work, report: import paths ``module:name``: of the config's dataclass, of the function
    # that does the work and returns a result, and of the function that prints config and result and returns
    # the exit code
    config_class: str
    work: str
    report: str
    on_interrupt: str  # what a run that is stopped by Ctrl-C leaves behind
    default_config: str | None = None  # config file where none is named; None if one must be
    example_config: str = "CONFIG.yaml"  # one to begin with, where one must be named
    # import path of the function that takes what ``work`` takes and returns the plan of it (``DryRun``)
    dry_run: str | None = None
    # whether words that are no settings are a question and its choices, the second argument of ``work``
    takes_question: bool = False

    def split_question(
        self, arguments: Sequence[str]
    ) -> tuple[tuple[str, list[str] | None] | None, list[str]]:
        """Separate a question with its choices (None where there is none) from the settings."""
        if not self.takes_question:
            return None, list(arguments)
        settings = [argument for argument in arguments if SETTING.match(argument)]
        words = [argument for argument in arguments if not SETTING.match(argument)]
        return (words[0], words[1:] or None) if words else None, settings


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A command that reads its arguments itself: ``main`` is an import path, as in ``Job``."""

    description: str
    main: str
    on_interrupt: str = "nothing was changed"


Command = Job | Tool

COMMANDS: dict[str, Command] = {
    "answer": Job(
        usage="speechprune answer [CONFIG.yaml] [section.key=value ...]",
        description="Answer questions about an archive of recordings.\n\n"
        "Without a config it runs the demo. The same command continues a run that was stopped.",
        config_class="speechprune.pipeline.config:BatchQAConfig",
        work="speechprune.pipeline.batch_qa:run_batch_qa",
        dry_run="speechprune.pipeline.batch_qa_dry_run:dry_run_batch_qa",
        report="speechprune.cli_commands:report_answers",
        default_config="package://configs/demo.yaml",
        on_interrupt="what is answered stays, the same command continues",
    ),
    "index": Job(
        usage="speechprune index CONFIG.yaml [section.key=value ...]",
        description="Keep an index of an archive: encode what is new, drop what is gone, ask questions.\n\n"
        "Recordings that can't be read are listed and tried again the next time. For the demo's recordings: "
        "speechprune index package://configs/index.yaml",
        config_class="speechprune.index.config:IndexConfig",
        example_config="package://configs/index.yaml",
        work="speechprune.index.job:run_index",
        dry_run="speechprune.index.dry_run:dry_run_index",
        report="speechprune.cli_commands:report_index",
        on_interrupt="what is indexed stays, the same command continues",
    ),
    "search": Job(
        usage='speechprune search "QUESTION" ["CHOICE" "CHOICE" ...] [CONFIG.yaml] [section.key=value ...]\n'
        "       speechprune search [CONFIG.yaml] search.questions=questions.jsonl [section.key=value ...]",
        description="Ask a whole archive: which recordings answer a question, and where.\n\n"
        "The model answers about the best of them. Without a config it searches the demo's index.",
        config_class="speechprune.search.config:SearchConfig",
        work="speechprune.search.job:run_search",
        dry_run="speechprune.search.dry_run:dry_run_search",
        report="speechprune.cli_commands:report_search",
        default_config="package://configs/search.yaml",
        on_interrupt="what is answered stays",
        takes_question=True,
    ),
    "sweep": Job(
        usage="speechprune sweep [CONFIG.yaml] [section.key=value ...]",
        description="Measure accuracy against cost over many ways of pruning, encoding once.\n\n"
        "Without a config: the paper's Table I on the demo model. Writes points.parquet, report.md, "
        "report.html and  figures beside the answers. The same command continues a sweep that was stopped, "
        "and a wider grid computes only what is new.",
        config_class="speechprune.sweep.config:SweepConfig",
        work="speechprune.sweep.job:run_sweep",
        dry_run="speechprune.sweep.dry_run:dry_run_sweep",
        report="speechprune.cli_commands:report_sweep",
        default_config="package://configs/paper_table1.yaml",
        on_interrupt="what is answered stays, the same command continues",
    ),
    "show": Tool(
        description="Show the answers of a run, or one with its evidence.",
        main="speechprune.reports.show:main",
    ),
    "report": Tool(
        description="Write a page of a run's answers: search them, see and play their evidence.",
        main="speechprune.reports.run_report:main",
        on_interrupt="the page was not written, the same command starts again",
    ),
    "compare": Tool(
        description="Compare the answers of two runs to the same questions: accuracy, McNemar's test.",
        main="speechprune.reports.compare:main",
    ),
    "manifest": Tool(
        description="Turn a published benchmark into a manifest.",
        main="speechprune.benchmarks.make_manifest:main",
    ),
    "cost": Tool(
        description="Calculate what an answer will cost, before any weight is loaded.",
        main="speechprune.cost.__main__:main",
    ),
    "benchmark": Job(
        usage="speechprune benchmark CONFIG.yaml [section.key=value ...]",
        description="Build a benchmark: recordings, questions, and the seconds that answer each.\n\n"
        "For a hundred recordings: speechprune benchmark package://configs/benchmark.yaml. The same command "
        "continues a build that was stopped.",
        config_class="speechprune.benchmarks.builder.config:BuildConfig",
        example_config="package://configs/benchmark.yaml",
        work="speechprune.benchmarks.builder.job:build_benchmark",
        dry_run="speechprune.benchmarks.builder.dry_run:dry_run_build",
        report="speechprune.cli_commands:report_benchmark",
        on_interrupt="what is made stays, the same command continues",
    ),
}


def report_answers(config: BatchQAConfig, summary: Summary) -> int:
    """Print the table of a run; 1 where answers were damaged after they were written."""
    from loguru import logger

    from speechprune.reports.run_summary import show_run

    show_run(summary)
    if missing := summary.values["num_missing"]:
        logger.error("{:,} items have no row, as a file was damaged: give the same command again", missing)
        return 1
    if config.model.random_weights:
        print("The model has random weights: these answers mean nothing.")
    return too_many_failed(summary.failed_fraction, config.output.max_failed_fraction, "items")


def report_index(config: IndexConfig, summary: dict[str, Any]) -> int:
    """Print the table of an index."""
    from speechprune.reports.run_summary import show_index

    show_index(summary)
    return 0


def report_search(config: SearchConfig, result: SearchResult) -> int:
    """Print the recordings found, or how often the right one was found."""
    from speechprune.reports.run_summary import show_search

    show_search(result)
    return 0


def report_sweep(config: SweepConfig, result: SweepResult) -> int:
    """Print the table, the recommendation, and where the report is."""
    from speechprune.sweep.terminal_table import show_sweep

    show_sweep(result.points)
    if result.recommendation:
        print(result.recommendation)
    print(f"report: {result.report_path}")
    return too_many_failed(result.failed_fraction, config.output.max_failed_fraction, "answers")


def report_benchmark(config: BuildConfig, result: BuildResult) -> int:
    """Print what was made; 1 where some recordings could not be made."""
    from loguru import logger

    result.show()
    if not result.failures:
        return 0
    logger.error(
        "{:,} recordings could not be made, see README.md there: the same command tries them again",
        len(result.failures),
    )
    return 1


def too_many_failed(failed: float, most: float, items: str) -> int:
    """Return 1, with a line, where a larger share failed than ``output.max_failed_fraction``; else 0."""
    from loguru import logger

    if failed <= most:
        return 0
    logger.error("{:.1%} of the {} failed, more than output.max_failed_fraction={:g}", failed, items, most)
    return 1
