"""Answer questions about an archive of recordings: ``speechprune answer``."""

from functools import partial

from speechprune.entry import call, run

main = partial(call, "speechprune.cli:main", "answer")

if __name__ == "__main__":
    run(main)
