"""Draw the paper's Fig. 2."""

from functools import partial

from speechprune.entry import call, run

main = partial(call, "speechprune.lab.commands:main", "figure2")

if __name__ == "__main__":
    run(main)
