"""SPIRAL and SPIRAL-H: 1,012 and 401 questions, each about a recording of about 90 s.

Texts: https://github.com/linyueqian/SPIRAL_Dataset (``data.jsonl``, ``data_h.jsonl``); the WAV files are a
download of their own. Gold letters are far from even (B 59.6 %): see accuracy beside the majority letter.
"""

import json
from os import PathLike

from speechprune.benchmarks.choices import gold_letter, strip_labels
from speechprune.benchmarks.rows import Benchmark, Row, read_rows


def read_spiral(texts_path: str | PathLike[str], audio_root: str) -> Benchmark:
    """Read SPIRAL's JSONL into manifest rows.

    Parameters
    ----------
    texts_path
        ``data.jsonl`` or ``data_h.jsonl``.
    audio_root
        Folder or URL prefix that holds ``spiral/wavs``. It becomes the first part of every row's ``audio``;
        a relative one is relative to the manifest.
    """
    with open(texts_path, encoding="utf-8") as lines:
        numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    records = ((f"{texts_path}, line {number}", line) for number, line in numbered)
    return read_rows(records, lambda line: spiral_row(json.loads(line), audio_root))


def spiral_row(record: Row, audio_root: str) -> Row:
    """Turn one SPIRAL record into a manifest row."""
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
        "answer": gold_letter(item["correct_answer"], choices),
        "transcript_type": metadata["transcript_type"],
        "main_topic": metadata["main_topic"],
        "subtopic": metadata["subtopic"],
        "key_sentence": record["original_key_sentence"],
    }
