"""Show the answers of a run: ``speechprune show``."""

from functools import partial

from speechprune.entry import call, run

main = partial(call, "speechprune.cli:main", "show")

if __name__ == "__main__":
    run(main)
