"""Whole answers, from samples: ours, the loop one would write with Hugging Face alone, and from an index."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from speechprune.inference.answer import answer_items
from speechprune.inference.encode import EncodedAudio, cut_windows, in_encoder_batches
from speechprune.inference.states import embed_stored, store_states, store_times
from speechprune.inference.types import Answer, AnsweringOptions, Item
from speechprune.lab.gpu.bench import Bench, Row, Rows, ask, make_samples
from speechprune.lab.gpu.clock import peak_gigabytes, reset_peak, seconds_of
from speechprune.lab.gpu.sizes import Case
from speechprune.lab.speed.hugging_face_loop import answer_with_hugging_face, hugging_face_flops
from speechprune.models.base import SpeechModel
from speechprune.pruning import LateInteraction, NoPruning, PruningMethod, SpeechPrune

REPEATS = 3
METHODS: dict[str, PruningMethod] = {
    "SpeechPrune 0.2": SpeechPrune(pruning_rate=0.2),
    "SpeechPrune 0.8": SpeechPrune(pruning_rate=0.8),
    "late interaction 0.2": LateInteraction(pruning_rate=0.2),
    "unpruned": NoPruning(),
}


@dataclass
class Way:
    """One way of answering a case's questions; ``run`` returns our answers, or none."""

    name: str
    run: Callable[[], Sequence[Answer]]
    num_questions: int
    tflops: float | None = None  # of all questions, where the answers don't say


def measure_answers(bench: Bench) -> Rows:
    """Seconds a question of each way; out of memory is a result too."""
    for case in bench.sizes.cases:
        recordings = [make_samples(case.seconds, seed) for seed in range(case.num_recordings)]
        rows: list[Row] = []
        for way in _ways(bench, case, recordings):
            row = _measure(bench, case, way)
            rows.append(row)
            yield row | _against(rows[0], row)


def _measure(bench: Bench, case: Case, way: Way) -> Row:
    reset_peak(bench.device)
    row: Row = {
        "audio_seconds": case.seconds,
        "questions": case.num_questions,
        "recordings": case.num_recordings,
        "way": way.name,
    }
    answers: list[Answer] = []

    def run() -> None:
        answers[:] = way.run()

    try:
        seconds = seconds_of(bench.device, run, REPEATS)
    except torch.cuda.OutOfMemoryError:
        return row | {"seconds_per_question": None, "tflops_per_question": None, "prune_share": None}
    tflops = way.tflops if way.tflops is not None else sum(a.cost.tflops_total for a in answers)
    return row | {
        "seconds_per_question": seconds / way.num_questions,
        "tflops_per_question": tflops / way.num_questions,
        "prune_share": sum(a.seconds_prune for a in answers) / seconds if answers else None,
        "kept_tokens": answers[0].num_kept_tokens if answers else None,
        "peak_gb": peak_gigabytes(bench.device),
    }


def _against(loop: Row, row: Row) -> Row:
    """Speed-up against the Hugging Face loop, as measured and by FLOPs."""
    if not (loop["seconds_per_question"] and row["seconds_per_question"]):
        return {"speed_up": None, "by_flops": None, "share_of_prediction": None}
    speed_up = loop["seconds_per_question"] / row["seconds_per_question"]
    by_flops = loop["tflops_per_question"] / row["tflops_per_question"]
    return {"speed_up": speed_up, "by_flops": by_flops, "share_of_prediction": speed_up / by_flops}


def _ways(bench: Bench, case: Case, recordings: Sequence[np.ndarray]) -> list[Way]:
    """The Hugging Face loop first, on one recording; then ours, on all of them as one block of a job."""
    model = bench.lm.model
    questions = ask(case.num_questions)
    num_windows = -(-len(recordings[0]) // model.window_samples)
    num_tokens = round(case.seconds * model.shape.token_rate)
    num_text = _num_text_tokens(bench, *questions[0])
    # a question's time doesn't depend on how many there are: one is enough where each takes seconds
    num_asked = 1 if num_windows > 10 else case.num_questions
    loop_flops = num_asked * hugging_face_flops(model.shape, num_windows, num_tokens + num_text)
    ways = [
        Way(
            "Hugging Face loop",
            partial(_hugging_face_loop, bench, recordings[0], questions[:num_asked]),
            num_asked,
            loop_flops / 1e12,
        )
    ]
    number = len(questions) * len(recordings)
    for name, method in METHODS.items():
        if name == "unpruned" and num_tokens + num_text > model.language_model.max_prompt_tokens:
            continue
        ways.append(Way(name, partial(answer_about, bench, recordings, questions, method), number))
    stored = [_store(model, samples) for samples in recordings]
    ways.append(
        Way("SpeechPrune 0.2 from the index", partial(_answer_stored, bench, stored, questions), number)
    )
    return ways


def _num_text_tokens(bench: Bench, question: str, choices: Sequence[str]) -> int:
    chat = bench.lm.model.render_chat(question + " ".join(choices))
    return len(bench.lm.model.tokenizer(chat)["input_ids"])


def _hugging_face_loop(bench: Bench, samples: np.ndarray, questions: Sequence[Any]) -> list[Answer]:
    model, processor = bench.hugging_face
    for question, choices in questions:
        answer_with_hugging_face(model, processor, samples, question, list(choices))
    return []


def answer_about(
    bench: Bench, recordings: Sequence[np.ndarray], questions: Sequence[Any], method: PruningMethod
) -> list[Answer]:
    """Encode recordings, and answer the same questions about each."""
    return _ask_about(bench, bench.lm.encode_many(recordings), questions, method)


def _answer_stored(bench: Bench, stored: Sequence[pa.Table], questions: Sequence[Any]) -> list[Answer]:
    return _ask_about(bench, embed_stored(bench.lm.model, stored), questions, METHODS["SpeechPrune 0.2"])


def _ask_about(
    bench: Bench, encoded: Sequence[EncodedAudio], questions: Sequence[Any], method: PruningMethod
) -> list[Answer]:
    items = [
        Item(item_id=f"{number} {question}", audio=audio, question=question, choices=choices)
        for number, audio in enumerate(encoded)
        for question, choices in questions
    ]
    answers = []
    for outcome in answer_items(bench.lm.model, items, method, AnsweringOptions()):
        if isinstance(outcome, Exception):
            raise outcome
        answers.append(outcome)
    return answers


def _store(model: SpeechModel, samples: np.ndarray) -> pa.Table:
    """A recording's windows as the index holds them."""
    windows = cut_windows(model, samples, 0.0)

    def encode(batch: Sequence[Any]) -> list[tuple[np.ndarray, np.ndarray]]:
        encoded = model.encode_windows(batch)
        return list(zip(encoded.states.float().cpu().numpy(), encoded.times, strict=True))

    made, _ = in_encoder_batches(model, windows, encode)
    rows = []
    for number, (window, (states, times)) in enumerate(zip(windows, made, strict=True)):
        data, scales = store_states(states[: len(times)], "float16")
        rows.append(
            {
                "recording": "made",
                "window": number,
                "start_seconds": window.start_seconds,
                "end_seconds": window.start_seconds + len(window.samples) / 16_000,
                "num_tokens": len(times),
                "peak": int(np.abs(window.samples).max()),
                "states": data,
                "dtype": "float16",
                "width": states.shape[-1],
                "scales": scales,
                "token_times": store_times(times),
            }
        )
    return pa.Table.from_pylist(rows)


def fit_seconds(rows: Sequence[Row]) -> Rows:
    """Least squares of seconds = a + b · TFLOPs over measured stages, and each stage's residual."""
    tflops = np.array([row["tflops"] for row in rows])
    seconds = np.array([row["seconds"] for row in rows])
    # relative errors: a stage of milliseconds counts as much as one of seconds
    design = np.stack([np.ones_like(tflops), tflops], axis=1) / seconds[:, None]
    (intercept, slope), *_ = np.linalg.lstsq(design, np.ones_like(seconds), rcond=None)
    for row, work, taken in zip(rows, tflops, seconds, strict=True):
        fitted = intercept + slope * work
        yield {
            "stage": row["stage"],
            "tflops": float(work),
            "ms": float(taken * 1e3),
            "fitted_ms": float(fitted * 1e3),
            "residual": float(taken / fitted - 1),
            "fitted_tflops_per_second": float(1 / slope),
        }
