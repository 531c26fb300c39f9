"""Train the small speech LLM that the project ships."""

from functools import partial

from speechprune.entry import call, run

main = partial(call, "speechprune.lab.commands:main", "train_demo_model")

if __name__ == "__main__":
    run(main)
