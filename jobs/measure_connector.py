"""Answer questions about held-out speech by what a trained connector recognises."""

from functools import partial

from speechprune.entry import call, run

main = partial(call, "speechprune.lab.commands:main", "measure_connector")

if __name__ == "__main__":
    run(main)
