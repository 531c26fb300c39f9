"""Train a connector between a published Whisper encoder and a published language model."""

from functools import partial

from speechprune.entry import call, run

main = partial(call, "speechprune.lab.commands:main", "train_connector")

if __name__ == "__main__":
    run(main)
