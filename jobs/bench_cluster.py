"""Run the faults and loads of a cluster on this machine."""

from functools import partial

from speechprune.entry import call, run

main = partial(call, "speechprune.lab.commands:main", "bench_cluster")

if __name__ == "__main__":
    run(main)
