"""Measure every stage on a GPU beside the card's own limits."""

from collections.abc import Sequence

from speechprune.entry import load, run


def main(arguments: Sequence[str]) -> int:
    """Run without the list of commands, which needs packages that a bare machine lacks."""
    exit_code: int = load("speechprune.lab.gpu.command:main")(arguments)
    return exit_code


if __name__ == "__main__":
    run(main)
