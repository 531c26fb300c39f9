"""Print the items that a training of the connector holds out, each text once, for ``build_benchmark``.

python -m speechprune.lab.connector.held_out data.jsonl data_h.jsonl > held_out.jsonl
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from speechprune.benchmarks.builder.spiral_texts import read_spiral_scripts
from speechprune.lab.connector.speakers import load_scripts, text_of


def held_out_lines(texts: Sequence[str]) -> Iterator[str]:
    """Give the lines of the files whose text ``load_scripts`` holds out."""
    _, held_out = load_scripts(texts)
    wanted = {text_of(script) for script in held_out}
    for path in texts:
        lines = [line for line in Path(path).read_text(encoding="utf-8").split("\n") if line.strip()]
        for line, (_, script) in zip(lines, read_spiral_scripts(path), strict=True):
            if text_of(script) in wanted:
                wanted.remove(text_of(script))
                yield line


if __name__ == "__main__":
    for line in held_out_lines(sys.argv[1:]):
        print(line)
