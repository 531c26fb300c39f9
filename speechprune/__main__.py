"""``python -m speechprune``: the console command."""

from speechprune.entry import run

if __name__ == "__main__":
    run()
