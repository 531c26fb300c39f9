"""``python -m speechprune``: the console command."""

from speechprune.cli import run

if __name__ == "__main__":
    run()
