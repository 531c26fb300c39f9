"""Measure accuracy against cost over many ways of pruning: ``speechprune sweep``."""

from functools import partial

from speechprune.entry import call, run

main = partial(call, "speechprune.cli:main", "sweep")

if __name__ == "__main__":
    run(main)
