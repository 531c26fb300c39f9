"""Measure speed as ratios."""

from functools import partial

from speechprune.entry import call, run

main = partial(call, "speechprune.lab.commands:main", "bench")

if __name__ == "__main__":
    run(main)
