"""Measurements of the speed benchmark, each a dict of plain numbers."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from speechprune.audio import SAMPLE_RATE, decode_audio
from speechprune.inference.speech_lm import SpeechLM
from speechprune.inference.timing import PeakMemory
from speechprune.inference.types import Answer
from speechprune.lab.qwen2_audio import as_qwen2_audio
from speechprune.lab.speed.hugging_face_loop import (
    answer_encoded_with_hugging_face,
    answer_with_hugging_face,
    encode_with_hugging_face,
    encoded_once_flops,
    hugging_face_flops,
)
from speechprune.pruning import SpeechPrune

# Qwen2-Audio's architecture at about 100 M parameters: deep enough that arithmetic dominates
BENCH_AUDIO_CONFIG = {
    "d_model": 512,
    "encoder_layers": 12,
    "encoder_attention_heads": 8,
    "encoder_ffn_dim": 2048,
}
BENCH_TEXT_CONFIG = {
    "hidden_size": 512,
    "intermediate_size": 1408,
    "num_hidden_layers": 20,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
}
CLIP_SECONDS = 90.0  # about the length of a SPIRAL recording
PRUNING_RATES = (0.2, 0.8)
QUESTION = "When does the review take place, and who will lead it?"
CHOICES = ["Monday, Laura", "Tuesday, Henry", "Thursday, Ann", "Friday, Peter"]

Numbers = dict[str, Any]


def make_bench_model(demo_model: Path, folder: Path) -> Path:
    """Copy the demo model's folder with the sizes above; its weights are made at random when loaded."""
    shutil.copytree(demo_model, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((folder / "config.json").read_text())
    config["audio_config"] |= BENCH_AUDIO_CONFIG
    text = config["text_config"]
    for name in ("head_dim", "layer_types", "max_window_layers"):
        text.pop(name, None)
    text |= BENCH_TEXT_CONFIG
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def loop_speech(recordings: Sequence[Path], seconds: float) -> np.ndarray:
    """Return real speech, repeated to a length: int16 at 16 kHz."""
    speech = np.concatenate([decode_audio(str(path)) for path in recordings])
    return np.resize(speech, round(seconds * SAMPLE_RATE))


def questions(number: int) -> list[tuple[str, list[str]]]:
    """Return ``number`` different questions of nearly equal length."""
    return [(f"{QUESTION} Part {i + 1}.", CHOICES) for i in range(number)]


def against_hugging_face(
    lm: SpeechLM,
    samples: np.ndarray,
    num_questions: int,
    repeats: int,
    pruning_rates: Sequence[float] = PRUNING_RATES,
) -> tuple[list[Numbers], dict[float, list[Answer]]]:
    """Compare the time of our answers with two Hugging Face loops', for one recording, in turn.

    Both loops answer unpruned, one question at a time. One encodes the recording again for each question and
    forms the logits of every position; the other encodes it once and forms the last position's alone.

    Returns
    -------
    tuple
        Of each pruning rate and loop the numbers (speed-up measured, and predicted by the FLOPs account), and
        our answers by pruning rate.
    """
    asked = questions(num_questions)
    family = as_qwen2_audio(lm)
    model, processor = family.model, family.processor
    answers: dict[float, list[Answer]] = {}

    def ours(rate: float) -> None:
        audio = lm.encode_many([samples])[0]
        triples = [(audio, question, choices) for question, choices in asked]
        answers[rate] = lm.answer_many(triples, method=SpeechPrune(pruning_rate=rate))

    # both read each prediction, so that work queued on a GPU is done when they end

    def encoding_each_time() -> None:
        for question, choices in asked:
            int(answer_with_hugging_face(model, processor, samples, question, choices).argmax())

    def encoding_once() -> None:
        embeds = encode_with_hugging_face(model, processor, samples)
        for question, choices in asked:
            int(answer_encoded_with_hugging_face(model, processor, embeds, question, choices).argmax())

    loops = {
        "encodes each time": (encoding_each_time, hugging_face_flops),
        "encodes once": (encoding_once, encoded_once_flops),
    }
    own = [partial(ours, rate) for rate in pruning_rates]
    seconds = time_in_turn([*(run for run, _ in loops.values()), *own], repeats)
    num_windows = -(-len(samples) // (30 * SAMPLE_RATE))
    rows = []
    for rate, seconds_ours in zip(pruning_rates, seconds[len(loops) :], strict=True):
        flops_ours = sum(answer.cost.tflops_total for answer in answers[rate]) * 1e12
        num_tokens = answers[rate][0].num_audio_tokens + answers[rate][0].num_text_tokens
        for (loop, (_, flops)), seconds_theirs in zip(loops.items(), seconds, strict=False):
            flops_theirs = flops(lm.model.shape, num_windows, num_tokens, num_questions)
            speed_up, predicted = seconds_theirs / seconds_ours, flops_theirs / flops_ours
            rows.append(
                {
                    "questions": num_questions,
                    "pruning_rate": rate,
                    "hugging_face": loop,
                    "seconds_ours": seconds_ours,
                    "seconds_hugging_face": seconds_theirs,
                    "tflops_ours": flops_ours / 1e12,
                    "tflops_hugging_face": flops_theirs / 1e12,
                    "speed_up": speed_up,
                    "speed_up_predicted_by_flops": predicted,
                    "share_of_prediction": speed_up / predicted,
                }
            )
    return rows, answers


def time_in_turn(runs: Sequence[Callable[[], None]], repeats: int) -> list[float]:
    """Return the median seconds of each, run A B C A B C after a warm-up, so that drift affects all alike."""
    for run in runs:
        run()
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(repeats):
        for run, times in zip(runs, seconds, strict=True):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
    return [median(times) for times in seconds]


def pruning_share(answers: Sequence[Answer]) -> Numbers:
    """Return the share of pruning itself in the FLOPs and in the time of some answers."""
    seconds = [a.seconds_encode + a.seconds_prune + a.seconds_prefill for a in answers]
    return {
        "questions": len(answers),
        "share_of_flops": sum(a.cost.tflops_prune for a in answers)
        / sum(a.cost.tflops_total for a in answers),
        "share_of_seconds": sum(a.seconds_prune for a in answers) / sum(seconds),
    }


def against_length(lm: SpeechLM, samples: np.ndarray, seconds: Sequence[float]) -> list[Numbers]:
    """Measure time and memory of one answer for each length of its recording."""
    rows = []
    for length in seconds:
        part = samples[: round(length * SAMPLE_RATE)]
        memory = PeakMemory(lm.model.device)
        start = time.perf_counter()
        audio = lm.encode_many([part])[0]
        encoded = time.perf_counter()
        answer = lm.answer(audio, *questions(1)[0], method=SpeechPrune())
        done = time.perf_counter()
        rows.append(
            {
                "audio_seconds": length,
                "audio_tokens": answer.num_audio_tokens,
                "seconds_encode": encoded - start,
                "seconds_encode_per_audio_hour": (encoded - start) / length * 3600,
                "seconds_answer": done - encoded,
                "seconds_prune": answer.seconds_prune,
                "peak_memory_bytes": max(memory.bytes(), answer.peak_memory_bytes),
            }
        )
    return rows


def make_archive(folder: Path, samples: np.ndarray, num_recordings: int, num_questions: int) -> Path:
    """Write an archive of FLAC files cut from the samples; returns its manifest."""
    import soundfile

    rows = []
    size = round(CLIP_SECONDS * SAMPLE_RATE)
    for i in range(num_recordings):
        path = folder / f"recording-{i:03}.flac"
        soundfile.write(path, np.roll(samples, -i * SAMPLE_RATE * 7)[:size], SAMPLE_RATE)
        rows += [
            {"audio": path.name, "question": f"{question} ({i})", "choices": choices}
            for question, choices in questions(num_questions)
        ]
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return manifest


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """Make a folder for model and archive that lasts as long as the benchmark."""
    return tempfile.TemporaryDirectory(prefix="speechprune-bench-")
