"""Measure the search index of a large archive."""

from functools import partial

from speechprune.entry import call, run

main = partial(call, "speechprune.lab.commands:main", "bench_search")

if __name__ == "__main__":
    run(main)
