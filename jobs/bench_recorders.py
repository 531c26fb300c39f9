"""Compare answers from an index with direct ones, for recordings of different recorders."""

from functools import partial

from speechprune.entry import call, run

main = partial(call, "speechprune.lab.commands:main", "bench_recorders")

if __name__ == "__main__":
    run(main)
