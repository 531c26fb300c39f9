"""Build a benchmark of recordings and questions: ``speechprune benchmark``."""

from functools import partial

from speechprune.entry import call, run

main = partial(call, "speechprune.cli:main", "benchmark")

if __name__ == "__main__":
    run(main)
