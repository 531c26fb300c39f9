"""Turn a published benchmark into a manifest: ``speechprune manifest``."""

from functools import partial

from speechprune.entry import call, run

main = partial(call, "speechprune.cli:main", "manifest")

if __name__ == "__main__":
    run(main)
