"""Whole answers, from samples: ours, the loop one would write with Hugging Face alone, and from an index."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from speechprune.lab.speed.hugging_face_loop import (
    answer_encoded_with_hugging_face,
    answer_with_hugging_face,
    encode_with_hugging_face,
    encoded_once_flops,
    hugging_face_flops,
)
from speechprune.models.base import SpeechModel
from speechprune.pruning import LateInteraction, NoPruning, PruningMethod, SpeechPrune

REPEATS = 3  # at most
LONG_SECONDS = 2.0  # a way that takes longer is timed once, at its first run
UNPRUNED, STORED = "unpruned", "SpeechPrune 0.2"
METHODS: dict[str, PruningMethod] = {
    STORED: SpeechPrune(pruning_rate=0.2),
    "SpeechPrune 0.8": SpeechPrune(pruning_rate=0.8),
    "late interaction 0.2": LateInteraction(pruning_rate=0.2),
    UNPRUNED: NoPruning(),
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
        recordings = make_recordings(case)
        for way in [*_baselines(bench, case, recordings[0]), *_ours(bench, case, recordings, METHODS)]:
            row = _measure(bench, case, way)
            loop = bench.loops.setdefault(case, row)
            yield row | _against(loop, row)


def measure_compiled_answers(bench: Bench) -> Rows:
    """SpeechPrune's answers once more, by the layers that ``measure_compiled`` compiled."""
    some = {name: method for name, method in METHODS.items() if isinstance(method, SpeechPrune)}
    for case in bench.sizes.cases:
        for way in _ours(bench, case, make_recordings(case), some):
            row = _measure(bench, case, way)
            yield row | _against(bench.loops.get(case, row), row)


def make_recordings(case: Case) -> list[np.ndarray]:
    """Samples of the case's recordings."""
    return [make_samples(case.seconds, seed) for seed in range(case.num_recordings)]


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
        seconds = seconds_of(bench.device, run, 1, warmups=0)
        if seconds < LONG_SECONDS:
            seconds = seconds_of(bench.device, run, min(REPEATS, bench.sizes.repeats), warmups=0)
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


def _baselines(bench: Bench, case: Case, samples: np.ndarray) -> list[Way]:
    """What one would write with Hugging Face alone, on one recording: the loop, and encoding once."""
    model, questions = bench.lm.model, ask(case.num_questions)
    num_windows = -(-len(samples) // model.window_samples)
    # a question's time in the loop doesn't depend on how many there are: of an hour one is enough
    num_asked = 1 if num_windows > 10 else case.num_questions
    sizes = (model.shape, num_windows, _num_tokens(bench, case))
    return [
        Way(
            "Hugging Face loop",
            partial(_hugging_face_loop, bench, samples, questions[:num_asked]),
            num_asked,
            hugging_face_flops(*sizes, num_asked) / 1e12,
        ),
        Way(
            "Hugging Face, encoding once",
            partial(_hugging_face_once, bench, samples, questions),
            len(questions),
            encoded_once_flops(*sizes, len(questions)) / 1e12,
        ),
    ]


def _ours(
    bench: Bench, case: Case, recordings: Sequence[np.ndarray], methods: Mapping[str, PruningMethod]
) -> list[Way]:
    """Ours, about all recordings as one block of a job, from samples and from stored states."""
    questions = ask(case.num_questions)
    number = len(questions) * len(recordings)
    longest = bench.lm.model.language_model.max_prompt_tokens
    ways = [
        Way(name, partial(answer_about, bench, recordings, questions, method), number)
        for name, method in methods.items()
        if name != UNPRUNED or _num_tokens(bench, case) <= longest
    ]
    stored = [_store(bench.lm.model, samples) for samples in recordings]
    return [*ways, Way(f"{STORED} from the index", partial(_answer_stored, bench, stored, questions), number)]


def _num_tokens(bench: Bench, case: Case) -> int:
    """Tokens of an unpruned prompt."""
    model = bench.lm.model
    question, choices = ask(1)[0]
    chat = model.tokenizer(model.render_chat(question + " ".join(choices)))["input_ids"]
    return round(case.seconds * model.shape.token_rate) + len(chat)


def _hugging_face_loop(bench: Bench, samples: np.ndarray, questions: Sequence[Any]) -> list[Answer]:
    model, processor = bench.hugging_face
    for question, choices in questions:
        answer_with_hugging_face(model, processor, samples, question, list(choices))
    return []


def _hugging_face_once(bench: Bench, samples: np.ndarray, questions: Sequence[Any]) -> list[Answer]:
    model, processor = bench.hugging_face
    embeds = encode_with_hugging_face(model, processor, samples)
    for question, choices in questions:
        answer_encoded_with_hugging_face(model, processor, embeds, question, list(choices))
    return []


def answer_about(
    bench: Bench, recordings: Sequence[np.ndarray], questions: Sequence[Any], method: PruningMethod
) -> list[Answer]:
    """Encode recordings, and answer the same questions about each."""
    return _ask_about(bench, bench.lm.encode_many(recordings), questions, method)


def _answer_stored(bench: Bench, stored: Sequence[pa.Table], questions: Sequence[Any]) -> list[Answer]:
    return _ask_about(bench, embed_stored(bench.lm.model, stored), questions, METHODS[STORED])


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
