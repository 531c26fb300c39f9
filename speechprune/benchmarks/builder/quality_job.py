"""The two quality measurements that need models, on a worker that can run them.

Torch is loaded only where one is asked for.
"""

from __future__ import annotations

import operator
import random
from collections.abc import Callable, Sequence
from typing import Any, Literal

from loguru import logger

from speechprune import storage
from speechprune.audio import decode_audio
from speechprune.benchmarks.builder.card import QualityOptions, RecordingFacts
from speechprune.benchmarks.builder.recognition import Recogniser, check_recogniser, word_error_rate


def check_quality_models(options: QualityOptions) -> None:
    """Check without loading them that the models can be loaded.

    Raises
    ------
    ValueError
        One of them can't be loaded.
    """
    if options.model is not None:
        from speechprune.models.loading import check_model
        from speechprune.models.options import ModelOptions

        check_model(ModelOptions(path=options.model))
    if options.asr_model is not None:
        check_recogniser(options.asr_model)


def measure_quality(
    options: QualityOptions,
    path: str,
    recordings: Sequence[RecordingFacts],
    executor: Literal["ray", "local"],
) -> dict[str, Any]:
    """Measure what the options ask for; returns values for ``card_markdown``.

    Parameters
    ----------
    options
        Models to use.
    path
        The benchmark's folder.
    recordings
        All of them, in the benchmark's order.
    executor
        See ``BuildRayOptions``.
    """
    run: Callable[..., dict[str, Any]] = operator.call
    if executor == "ray":
        from speechprune.benchmarks.builder.on_ray import call_on_ray

        run = call_on_ray
    measured = {}
    if options.model is not None:
        logger.info("no-audio baseline by {}", options.model)
        measured["no_audio"] = run(_no_audio, options.model, recordings)
    if options.asr_model is not None:
        num_recordings = min(options.asr_limit, len(recordings))
        sample = random.Random(0).sample(list(recordings), num_recordings)
        logger.info("word error rate by {} on {:,} recordings", options.asr_model, num_recordings)
        measured["recognition"] = run(_recognition, options.asr_model, path, sample)
    return measured


def _no_audio(model_path: str, recordings: Sequence[RecordingFacts]) -> dict[str, Any]:
    """Accuracy from questions and choices alone."""
    from speechprune.inference.no_audio import answer_without_audio
    from speechprune.models.loading import load_model
    from speechprune.models.options import ModelOptions

    questions = [question for recording in recordings for question in recording.questions]
    model = load_model(ModelOptions(path=storage.absolute(model_path)))
    answers = answer_without_audio(model, [(q["question"], q["choices"]) for q in questions])
    right = 0
    for answer, question in zip(answers, questions, strict=True):
        if isinstance(answer, Exception):
            raise answer
        right += answer.prediction == question["answer"]
    return {"model": model_path, "num_questions": len(questions), "accuracy": right / len(questions)}


def _recognition(model_path: str, path: str, recordings: Sequence[RecordingFacts]) -> dict[str, Any]:
    """Word error rate over all recordings together."""
    recognise = Recogniser(model_path)
    spoken = (
        (decode_audio(storage.join(path, recording.questions[0]["audio"])), recording.text)
        for recording in recordings
    )
    return {
        "model": model_path,
        "num_recordings": len(recordings),
        "word_error_rate": word_error_rate(recognise, spoken),
    }
