"""Whole answers, from samples: ours, what one would write with Hugging Face alone, and from stored states."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from speechprune.inference.answer import answer_items
from speechprune.inference.encode import EncodedAudio
from speechprune.inference.states import embed_stored
from speechprune.inference.types import Answer, AnsweringOptions, Item
from speechprune.lab.gpu.bench import Bench, Row, Rows, ask
from speechprune.lab.gpu.clock import peak_gigabytes, reset_peak, seconds_of
from speechprune.lab.gpu.recordings import Recordings
from speechprune.lab.gpu.sizes import Case
from speechprune.lab.speed.hugging_face_loop import (
    answer_encoded_with_hugging_face,
    answer_with_hugging_face,
    encode_with_hugging_face,
    encoded_once_flops,
    hugging_face_flops,
)
from speechprune.pruning import LateInteraction, NoPruning, PruningMethod, SpeechPrune

REPEATS = 2  # at most, after a first
LONG_SECONDS = 2.0  # a way that takes longer is timed once, at its first run
LONG_WINDOWS = 10  # of a recording of which Hugging Face is asked one question
UNPRUNED, STORED = "unpruned", "SpeechPrune 0.2"
METHODS: dict[str, PruningMethod] = {
    STORED: SpeechPrune(pruning_rate=0.2),
    "SpeechPrune 0.8": SpeechPrune(pruning_rate=0.8),
    "late interaction 0.2": LateInteraction(pruning_rate=0.2),
    UNPRUNED: NoPruning(),
}


@dataclass
class Way:
    """One way of answering a case's questions.

    - ``run``: answers ``num_questions``; returns our answers, or none.
    - ``first``: what is done once for ``num_sharing`` questions, and timed apart; None where ``run`` does it.
    - ``tflops``, ``causal_tflops``: a question's, where the answers don't say, see ``causal_saving``.
    """

    name: str
    run: Callable[[], Sequence[Answer]]
    num_questions: int
    first: Callable[[], Any] | None = None
    num_sharing: int = 1
    tflops: float | None = None
    causal_tflops: float | None = None


def measure_answers(bench: Bench) -> Rows:
    """Seconds a question of each way; out of memory is a result too."""
    for case in bench.sizes.cases:
        recordings = bench.recordings(case)
        for way in [*_baselines(bench, case, recordings.samples[0]), *_ours(bench, recordings, METHODS)]:
            row = _measure(bench, case, way)
            loop = bench.loops.setdefault(case, row)
            yield row | _against(loop, row)


def measure_compiled_answers(bench: Bench) -> Rows:
    """SpeechPrune's answers once more, by the layers that ``measure_compiled`` compiled."""
    some = {name: method for name, method in METHODS.items() if isinstance(method, SpeechPrune)}
    for case in bench.sizes.cases:
        for way in _ours(bench, bench.recordings(case), some):
            row = _measure(bench, case, way)
            yield row | _against(bench.loops.get(case, row), row)


def causal_saving(bench: Bench, num_tokens: int) -> float:
    """TFLOPs of a prefill's attention that the account counts and causal kernels leave out: half, 2LHdn²."""
    decoder = bench.lm.model.shape.decoder
    return 2 * decoder.num_hidden_layers * decoder.queries_size * num_tokens**2 / 1e12


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

    def seconds(call: Callable[[], Any]) -> float:
        taken = seconds_of(bench.device, call, 1, warmups=0)
        if taken < LONG_SECONDS:
            taken = seconds_of(bench.device, call, min(REPEATS, bench.sizes.repeats), warmups=0)
        return taken

    try:
        first = seconds(way.first) / way.num_sharing if way.first else 0.0
        whole = seconds(run)
    except torch.cuda.OutOfMemoryError:
        return row | dict.fromkeys(("seconds_per_question", "tflops_per_question", "causal_tflops"))
    tflops, causal = way.tflops, way.causal_tflops
    if tflops is None or causal is None:
        tflops = sum(a.cost.tflops_total for a in answers) / way.num_questions
        lengths = [a.num_kept_tokens + a.num_text_tokens for a in answers]
        causal = tflops - sum(causal_saving(bench, n) for n in lengths) / way.num_questions
    return row | {
        "seconds_per_question": first + whole / way.num_questions,
        "tflops_per_question": tflops,
        "causal_tflops": causal,
        "prune_share": sum(a.seconds_prune for a in answers) / whole if answers else None,
        "kept_tokens": answers[0].num_kept_tokens if answers else None,
        "peak_gb": peak_gigabytes(bench.device),
    }


def _against(loop: Row, row: Row) -> Row:
    """Speed-up against the Hugging Face loop: measured, by the FLOPs account, and by the FLOPs done."""
    if not (loop["seconds_per_question"] and row["seconds_per_question"]):
        return dict.fromkeys(
            ("speed_up", "by_flops", "share_of_prediction", "by_causal_flops", "share_of_done")
        )
    speed_up = loop["seconds_per_question"] / row["seconds_per_question"]
    by_flops = loop["tflops_per_question"] / row["tflops_per_question"]
    by_causal_flops = loop["causal_tflops"] / row["causal_tflops"]
    return {
        "speed_up": speed_up,
        "by_flops": by_flops,
        "share_of_prediction": speed_up / by_flops,
        "by_causal_flops": by_causal_flops,
        "share_of_done": speed_up / by_causal_flops,
    }


def _baselines(bench: Bench, case: Case, samples: np.ndarray) -> list[Way]:
    """What one would write with Hugging Face alone, on one recording: the loop, and encoding once."""
    shape, questions = bench.lm.model.shape, ask(case.num_questions)
    model, processor = bench.hugging_face
    num_windows = -(-len(samples) // bench.lm.model.window_samples)
    num_tokens = _num_tokens(bench, case)
    # a question's time doesn't depend on how many there are
    asked = questions[:1] if num_windows > LONG_WINDOWS else questions
    embeds: list[torch.Tensor] = []

    def loop() -> list[Answer]:
        for question, choices in asked:
            answer_with_hugging_face(model, processor, samples, question, list(choices))
        return []

    def encode() -> None:
        embeds[:] = [encode_with_hugging_face(model, processor, samples)]

    def answer_encoded() -> list[Answer]:
        for question, choices in asked:
            answer_encoded_with_hugging_face(model, processor, embeds[0], question, list(choices))
        return []

    in_loop = hugging_face_flops(shape, num_windows, num_tokens) / 1e12
    once = encoded_once_flops(shape, num_windows, num_tokens, len(questions)) / 1e12 / len(questions)
    saving = causal_saving(bench, num_tokens)
    return [
        Way("Hugging Face loop", loop, len(asked), tflops=in_loop, causal_tflops=in_loop - saving),
        Way(
            "Hugging Face, encoding once",
            answer_encoded,
            len(asked),
            first=encode,
            num_sharing=len(questions),
            tflops=once,
            causal_tflops=once - saving,
        ),
    ]


def _ours(bench: Bench, recordings: Recordings, methods: Mapping[str, PruningMethod]) -> list[Way]:
    """Ours, about all recordings as one block of a job, from samples and from stored states."""
    questions = ask(recordings.case.num_questions)
    number = len(questions) * len(recordings.samples)
    longest = bench.lm.model.language_model.max_prompt_tokens
    ways = [
        Way(name, partial(answer_about, bench, recordings.samples, questions, method), number)
        for name, method in methods.items()
        if name != UNPRUNED or _num_tokens(bench, recordings.case) <= longest
    ]
    from_index = partial(_answer_stored, bench, recordings.stored(bench.lm.model), questions)
    return [*ways, Way(f"{STORED} from the index", from_index, number)]


def _num_tokens(bench: Bench, case: Case) -> int:
    """Tokens of an unpruned prompt."""
    model = bench.lm.model
    question, choices = ask(1)[0]
    chat = model.tokenizer(model.render_chat(question + " ".join(choices)))["input_ids"]
    return round(case.seconds * model.shape.token_rate) + len(chat)


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
