"""Keep an index of an archive of recordings: ``speechprune index``."""

from functools import partial

from speechprune.entry import call, run

main = partial(call, "speechprune.cli:main", "index")

if __name__ == "__main__":
    run(main)
