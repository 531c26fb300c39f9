"""Measure what an index saves."""

from functools import partial

from speechprune.entry import call, run

main = partial(call, "speechprune.lab.commands:main", "bench_index")

if __name__ == "__main__":
    run(main)
