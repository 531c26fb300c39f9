"""DREAM-TTS and CN-College-Listen: listening comprehension, as AudioBench publishes them.

Hugging Face data sets with a split ``test`` and the columns ``context`` (audio), ``instruction`` (question),
``choices`` (all in one string) and ``answer``. The paper keeps the recordings longer than 60 s.
"""

import hashlib
import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import av
import datasets

from speechprune.benchmarks.choices import parse_choices, parse_gold_answer
from speechprune.benchmarks.rows import Benchmark, read_rows
from speechprune.data import Row

COLUMNS = ("context", "instruction", "choices", "answer")


def _reader(name: str, contents: str) -> Callable[..., Benchmark]:
    """Make the reader of one AudioBench set."""

    def read(
        output_dir: Path, *, source: str = f"AudioLLMs/{name}_mcq_test", min_seconds: float = 60
    ) -> Benchmark:
        """Read {contents}.

        Parameters
        ----------
        output_dir
            Folder of the manifest; the recordings go into ``output_dir/audio``.
        source
            Data set on the Hugging Face hub, or a local folder of the same layout (``data/test-*.parquet``).
        min_seconds
            Only recordings longer than this are kept.
        """
        dataset = load_test_split(source)
        (output_dir / "audio").mkdir(parents=True, exist_ok=True)
        records = ((f"{source}, row {number}", (number, record)) for number, record in enumerate(dataset))
        return read_rows(records, partial(_row, name, output_dir, min_seconds))

    read.__doc__ = (read.__doc__ or "").format(contents=contents)
    return read


read_dream_tts = _reader("dream_tts", "DREAM-TTS, questions about spoken dialogues")
read_cn_college_listen = _reader("cn_college_listen", "CN-College-Listen, English listening tests of China")


def _row(
    name: str, output_dir: Path, min_seconds: float, numbered_record: tuple[int, dict[str, Any]]
) -> Row | None:
    """Convert one record; a recording with several questions is written once, so that it is encoded once."""
    number, record = numbered_record
    choices = parse_choices(record["choices"])
    answer = parse_gold_answer(record["answer"], choices)
    audio_bytes = record["context"]["bytes"] or Path(record["context"]["path"]).read_bytes()
    seconds, suffix = duration_and_suffix(audio_bytes)
    if seconds <= min_seconds:
        return None
    audio = f"audio/{hashlib.sha256(audio_bytes).hexdigest()[:16]}{suffix}"
    (output_dir / audio).write_bytes(audio_bytes)
    return {
        "item_id": f"{name}-{number}",
        "audio": audio,
        "question": record["instruction"].strip(),
        "choices": choices,
        "answer": answer,
    }


def load_test_split(source: str) -> datasets.Dataset:
    """Load the split ``test`` with its audio undecoded: ``{"bytes": ..., "path": ...}``."""
    dataset = datasets.load_dataset(source, split="test")
    if missing := [column for column in COLUMNS if column not in dataset.column_names]:
        raise ValueError(f"{source} has no column {', '.join(missing)}; its columns: {dataset.column_names}")
    return dataset.cast_column("context", datasets.Audio(decode=False))


def duration_and_suffix(audio_bytes: bytes) -> tuple[float, str]:
    """Return a recording's seconds, by its header or else by decoding, and its file suffix."""
    try:
        with av.open(io.BytesIO(audio_bytes)) as container:
            suffix = "." + container.format.name.split(",")[0]
            if container.duration is not None:
                return container.duration / av.time_base, suffix
            num_seconds = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
            return num_seconds, suffix
    except (av.FFmpegError, IndexError) as error:
        raise ValueError(f"the audio cannot be decoded ({error})") from error
