"""SPIRAL and SPIRAL-H: 1,012 and 401 questions, each about a recording of about 90 s.

Texts: https://github.com/linyueqian/SPIRAL_Dataset (``data.jsonl``, ``data_h.jsonl``); the WAV files are a
download of their own. Gold letters are far from even (B 59.6 %): see accuracy beside the majority letter.
"""

import json
import os
from pathlib import Path

from speechprune.benchmarks.choices import parse_gold_answer, strip_labels
from speechprune.benchmarks.rows import Benchmark, read_rows
from speechprune.data import Row


def read_spiral(output_dir: Path, texts: str, *, audio_root: str) -> Benchmark:
    """Read SPIRAL's or SPIRAL-H's JSONL into manifest rows.

    Parameters
    ----------
    output_dir
        Folder of the manifest.
    texts
        ``data.jsonl`` or ``data_h.jsonl``.
    audio_root
        Folder or URL prefix that holds ``spiral/wavs``: the first part of every row's ``audio``, written
        relative to the manifest where it is a relative path.
    """
    if "://" not in audio_root and not os.path.isabs(audio_root):
        audio_root = os.path.relpath(audio_root, output_dir)
    with open(texts, encoding="utf-8") as lines:
        numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    records = ((f"{texts}, line {number}", line) for number, line in numbered)
    return read_rows(records, lambda line: spiral_row(json.loads(line), audio_root))


def spiral_row(record: Row, audio_root: str) -> Row:
    """Convert one SPIRAL record to a manifest row."""
    item = record["test_question"]
    choices = strip_labels(item["choices"])
    metadata = record["metadata"]
    combined = record["audio_data"]["combined"]
    [audio_file] = combined["audio_files"]
    return {
        "item_id": metadata["id"],
        "audio": f"{audio_root.rstrip('/')}/{combined['audio_folder']}/{audio_file}",
        "question": item["question"],
        "choices": choices,
        "answer": parse_gold_answer(item["correct_answer"], choices),
        "transcript_type": metadata["transcript_type"],
        "main_topic": metadata["main_topic"],
        "subtopic": metadata["subtopic"],
        "key_sentence": record["original_key_sentence"],
    }
