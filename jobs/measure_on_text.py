"""Measure on a language model's own embeddings what pruning keeps of SPIRAL's transcripts."""

from functools import partial

from speechprune.entry import call, run

main = partial(call, "speechprune.lab.commands:main", "measure_on_text")

if __name__ == "__main__":
    run(main)
