"""Join short recordings to a few long ones, which answer all of their questions."""

from functools import partial

from speechprune.entry import call, run

main = partial(call, "speechprune.lab.commands:main", "join_recordings")

if __name__ == "__main__":
    run(main)
