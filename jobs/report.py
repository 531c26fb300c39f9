"""Write a page of a run's answers: ``speechprune report``."""

from functools import partial

from speechprune.entry import call, run

main = partial(call, "speechprune.cli:main", "report")

if __name__ == "__main__":
    run(main)
