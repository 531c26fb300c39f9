"""Measure the demo model on a held-out benchmark."""

from functools import partial

from speechprune.entry import call, run

main = partial(call, "speechprune.lab.commands:main", "measure_demo_model")

if __name__ == "__main__":
    run(main)
