"""Compare the answers of two runs: ``speechprune compare``."""

from functools import partial

from speechprune.entry import call, run

main = partial(call, "speechprune.cli:main", "compare")

if __name__ == "__main__":
    run(main)
