"""Search a whole archive for the answer to a question: ``speechprune search``."""

from functools import partial

from speechprune.entry import call, run

main = partial(call, "speechprune.cli:main", "search")

if __name__ == "__main__":
    run(main)
