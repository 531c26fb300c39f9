"""Accuracy of a model on a benchmark for every method at every rate, without audio and with all of it.

Each recording is encoded once for all arms. Results are stored item by item, so that a stopped
measurement continues and the card can be written again.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from loguru import logger
from rapidfuzz.distance import Levenshtein
from torch.nn import functional

from speechprune.audio import decode_audio
from speechprune.inference.answer import answer_items
from speechprune.inference.encode import EncodedAudio
from speechprune.inference.no_audio import NoAudio
from speechprune.inference.speech_lm import SpeechLM
from speechprune.inference.types import AnsweringOptions, Item
from speechprune.lab.qwen2_audio import as_qwen2_audio
from speechprune.pruning import METHODS, PruningMethod

RATES = (0.2, 0.4, 0.6, 0.8)
RATED_METHODS = ("random", "random_crop", "first_phase", "second_phase", "speechprune")
RECORDINGS_PER_PART = 20
WORD_TOKENS = 2


@dataclass(frozen=True)
class Arm:
    """One way of answering all items."""

    name: str
    method: PruningMethod
    pruning_rate: float | None = None


def make_arms() -> list[Arm]:
    """Those of the paper's Table I and Fig. 3, the whole recording, and no audio at all."""
    arms = [
        Arm("no_audio", NoAudio()),
        Arm("truncate", METHODS["truncate"]()),
        Arm("none", METHODS["none"]()),
    ]
    rated: dict[str, Any] = dict(METHODS)
    return arms + [
        Arm(name, rated[name](pruning_rate=rate), rate) for name in RATED_METHODS for rate in RATES
    ]


def measure(lm: SpeechLM, benchmark: Path, work: Path) -> list[dict[str, Any]]:
    """Answer every item of a benchmark on every arm.

    Parameters
    ----------
    lm
        The model.
    benchmark
        Folder of ``jobs/build_benchmark.py``.
    work
        Where what is measured is kept: a folder for each model and benchmark, in it a file for some
        recordings each.

    Returns
    -------
    list of dict
        One row an item and arm: item_id, voice_group, arm, pruning_rate, correct; for the arm
        ``transcript`` the model reads the true words in place of the audio. One row a recording with
        ``word_errors`` and ``num_words`` of the encoder's own alignment.
    """
    items = _by_recording(benchmark / "manifest.jsonl")
    transcripts = {record["recording_id"]: record for record in _read_lines(benchmark / "transcripts.jsonl")}
    audios = list(items)
    folder = work / _fingerprint(lm, benchmark)
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for begin in range(0, len(audios), RECORDINGS_PER_PART):
        part = folder / f"part-{begin:06d}.jsonl"
        if not part.exists():
            some = audios[begin : begin + RECORDINGS_PER_PART]
            made = _measure_part(lm, benchmark, {audio: items[audio] for audio in some}, transcripts)
            half_written = part.with_suffix(".tmp")
            half_written.write_text("".join(json.dumps(row) + "\n" for row in made))
            half_written.replace(part)
            logger.info("measured {:,} of {:,} recordings", begin + len(some), len(audios))
        rows += _read_lines(part)
    return rows


def _fingerprint(lm: SpeechLM, benchmark: Path) -> str:
    """Of the weights and the items: another model's rows are never taken for this one's."""
    digest = hashlib.sha256((benchmark / "manifest.jsonl").read_bytes())
    for parameter in as_qwen2_audio(lm).model.parameters():
        digest.update(parameter.detach().cpu().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def _by_recording(manifest: Path) -> dict[str, list[dict[str, Any]]]:
    items: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for item in _read_lines(manifest):
        items[item["audio"]].append(item)
    return items


def _read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _measure_part(
    lm: SpeechLM,
    benchmark: Path,
    items: dict[str, list[dict[str, Any]]],
    transcripts: dict[str, dict[str, Any]],
) -> list[dict[str, Any]]:
    encoded = dict(
        zip(items, lm.encode_many([decode_audio(str(benchmark / audio)) for audio in items]), strict=True)
    )
    rows = []
    truths = {}
    for audio, asked in items.items():
        words = [word["text"] for word in transcripts[Path(audio).stem]["words"]]
        truths[audio] = read_aloud(lm, words)
        errors, total = word_errors(lm, encoded[audio], words)
        rows.append({"voice_group": asked[0]["voice_group"], "word_errors": errors, "num_words": total})
    for arm in make_arms():
        rows += _answer(lm, items, encoded, arm)
    return rows + _answer(lm, items, truths, Arm("transcript", METHODS["none"]()))


def _answer(
    lm: SpeechLM, items: dict[str, list[dict[str, Any]]], audios: dict[str, EncodedAudio], arm: Arm
) -> list[dict[str, Any]]:
    rows = [row for asked in items.values() for row in asked]
    asked = [
        Item(
            item_id=row["item_id"],
            audio=audios[row["audio"]],
            question=row["question"],
            choices=tuple(row["choices"]),
        )
        for row in rows
    ]
    measured = []
    for row, answer in zip(rows, answer_items(lm.model, asked, arm.method, AnsweringOptions()), strict=True):
        if isinstance(answer, Exception):
            raise answer
        measured.append(
            {
                "item_id": row["item_id"],
                "voice_group": row["voice_group"],
                "arm": arm.name,
                "pruning_rate": arm.pruning_rate,
                "correct": answer.prediction == row["answer"],
            }
        )
    return measured


def read_aloud(lm: SpeechLM, words: Sequence[str]) -> EncodedAudio:
    """Return the output of a perfect encoder: the text embeddings of the words, with nothing between them."""
    token_ids = [
        token_id
        for word in words
        for token_id in lm.model.tokenizer.encode(word, add_special_tokens=False)
        for _ in range(WORD_TOKENS)
    ]
    token_rate = lm.model.shape.token_rate
    times = np.arange(len(token_ids))[:, None] / token_rate + np.array([[0, 1 / token_rate]])
    return EncodedAudio(
        lm.model.embed_tokens(token_ids),
        times,
        lm.model.frame_starts(times),
        seconds=times[-1, 1],
        num_encoder_flops=0.0,
    )


def word_errors(lm: SpeechLM, audio: EncodedAudio, words: Sequence[str]) -> tuple[int, int]:
    """Count the errors of the encoder's own alignment, and the words in the reference.

    Every audio token is read as the text token of nearest direction, the audio placeholder's as none;
    repeats are joined. Errors are substitutions, insertions and deletions.
    """
    table = functional.normalize(lm.model.language_model.embedding.weight.float(), dim=1)
    nearest = (functional.normalize(audio.embeds.float(), dim=1) @ table.T).argmax(1).tolist()
    blank = lm.model.language_model.audio_token_id
    hypothesis = [b for a, b in zip([blank, *nearest], nearest, strict=False) if b not in (a, blank)]
    reference = [lm.model.tokenizer.encode(word, add_special_tokens=False)[0] for word in words]
    return Levenshtein.distance(hypothesis, reference), len(reference)
