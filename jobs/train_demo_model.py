"""Train the small speech LLM that the project ships, from nothing."""

from functools import partial

from speechprune.cli import run, run_command
from speechprune.cli_commands import Job

main = partial(
    run_command,
    Job(
        usage="python jobs/train_demo_model.py [CONFIG.yaml] [section.key=value ...]",
        description="Train the small speech LLM that the project ships, from nothing.",
        config_class="speechprune.lab.training.config:TrainingConfig",
        work="speechprune.lab.training.jobs:train_demo_model",
        report="speechprune.lab.training.jobs:report_training",
        default_config="package://configs/demo_model.yaml",
        on_interrupt="the same command continues",
    ),
)

if __name__ == "__main__":
    run(main)
