"""Measure the demo model on a held-out benchmark, and write the tables into its card."""

from functools import partial

from speechprune.cli import run, run_command
from speechprune.cli_commands import Job

main = partial(
    run_command,
    Job(
        usage="python jobs/measure_demo_model.py [CONFIG.yaml] [section.key=value ...]",
        description="Measure the demo model on a benchmark, built if it isn't there, for its card.",
        config_class="speechprune.lab.training.config:MeasureConfig",
        work="speechprune.lab.training.jobs:measure_demo_model",
        report="speechprune.lab.training.jobs:report_measured",
        default_config="package://configs/demo_model_measured.yaml",
        on_interrupt="the same command continues",
    ),
)

if __name__ == "__main__":
    run(main)
