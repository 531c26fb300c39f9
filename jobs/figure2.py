"""Draw the paper's Fig. 2."""

from functools import partial

from speechprune.cli import run, run_command
from speechprune.cli_commands import Job

main = partial(
    run_command,
    Job(
        usage="python jobs/figure2.py [CONFIG.yaml] [section.key=value ...]",
        description="Draw the audio tokens that two methods keep of an item, and its text: Fig. 2.",
        config_class="speechprune.lab.figure2.config:Figure2Config",
        work="speechprune.lab.figure2.picture:make_figure2",
        report="speechprune.lab.figure2.picture:report_figure2",
        default_config="package://configs/paper_fig2.yaml",
        on_interrupt="nothing was written",
    ),
)

if __name__ == "__main__":
    run(main)
