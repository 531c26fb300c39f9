"""The quality measurements that need models, on a worker that can run them.

Torch is loaded only where one is asked for.
"""

from __future__ import annotations

import datetime
import operator
import random
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from loguru import logger

from speechprune import storage
from speechprune.audio import SAMPLE_RATE, decode_audio
from speechprune.benchmarks.builder.card import QualityOptions, RecordingFacts
from speechprune.benchmarks.builder.recognition import Recogniser, check_recogniser, word_error_rate

# of DNSMOS, by the names that speechmos gives them
RATINGS = {"overall": "ovrl_mos", "speech": "sig_mos", "background": "bak_mos", "p808": "p808_mos"}


def check_quality_models(options: QualityOptions) -> None:
    """Check without loading them that the models can be loaded.

    Raises
    ------
    ValueError
        One of them can't be loaded.
    ModuleNotFoundError
        The package that holds DNSMOS is not installed.
    """
    if options.model is not None:
        from speechprune.models.loading import check_model
        from speechprune.models.options import ModelOptions

        check_model(ModelOptions(path=options.model))
    if options.asr_model is not None:
        check_recogniser(options.asr_model)
    if options.dnsmos:
        import speechmos.dnsmos  # noqa: F401


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
    sample = random.Random(0).sample(list(recordings), min(options.limit, len(recordings)))
    measured = {}
    if options.model is not None:
        logger.info("no-audio baseline by {}", options.model)
        measured["no_audio"] = run(_no_audio, options.model, recordings)
    if options.asr_model is not None:
        logger.info("word error rate by {} on {:,} recordings", options.asr_model, len(sample))
        measured["recognition"] = run(_recognition, options.asr_model, path, sample)
    if options.dnsmos:
        logger.info("DNSMOS of {:,} recordings", len(sample))
        measured["dnsmos"] = run(_dnsmos, path, sample)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return {name: values | {"date": today} for name, values in measured.items()}


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
    spoken = ((_samples(path, recording), recording.text) for recording in recordings)
    return {
        "model": model_path,
        "num_recordings": len(recordings),
        "word_error_rate": word_error_rate(recognise, spoken),
    }


def _dnsmos(path: str, recordings: Sequence[RecordingFacts]) -> dict[str, Any]:
    """Mean of the ratings that DNSMOS gives to each recording."""
    from speechmos import dnsmos

    rated = [
        dnsmos.run(_samples(path, recording).astype(np.float32) / 32768, SAMPLE_RATE)
        for recording in recordings
    ]
    means = {name: float(np.mean([ratings[key] for ratings in rated])) for name, key in RATINGS.items()}
    return {"num_recordings": len(recordings), **means}


def _samples(path: str, recording: RecordingFacts) -> np.ndarray:
    return decode_audio(storage.join(path, recording.questions[0]["audio"]))
