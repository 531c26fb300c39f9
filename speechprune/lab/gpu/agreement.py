"""Numbers that must hold on a card as on a CPU, on the full width and few layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from speechprune.inference.answer import answer_items
from speechprune.inference.speech_lm import SpeechLM
from speechprune.inference.types import Answer, AnsweringOptions, Item
from speechprune.lab.gpu.bench import Bench, Rows, ask, load, make_samples
from speechprune.lab.gpu.clock import reset_peak
from speechprune.lab.gpu.stages import QUERY_TOKENS, prune_all, random_audio
from speechprune.lab.qwen2_audio import as_qwen2_audio
from speechprune.lab.speed.hugging_face_loop import answer_with_hugging_face
from speechprune.models.options import DType
from speechprune.pruning import LateInteraction, NoPruning, PruningMethod, SpeechPrune

SECONDS = 75.0  # two full windows and a short one
NUM_ON_CPU = 4


def measure_agreement(bench: Bench) -> Rows:
    """Logits against Hugging Face's forward; kept tokens alone and in a batch; predictions of bfloat16."""
    questions = ask(bench.sizes.compared_questions)
    answers: dict[str, list[Answer]] = {}
    dtypes: tuple[DType, ...] = ("float32", "bfloat16")
    for dtype in dtypes:
        reset_peak(bench.device)
        lm = load(bench.sizes, bench.folder / "few", str(bench.device), dtype, bench.sizes.few_layers)
        samples = make_samples(SECONDS, 0)
        difference = _logits(lm, samples)
        yield {"what": f"largest difference of a logit from Hugging Face's, {dtype}", "value": difference}
        audio = lm.encode_many([samples])[0]
        together = _answers(lm, audio, questions, SpeechPrune(pruning_rate=0.5))
        alone = [_answers(lm, audio, [one], SpeechPrune(pruning_rate=0.5))[0] for one in questions[:4]]
        same = [np.array_equal(a.kept_indices, b.kept_indices) for a, b in zip(alone, together, strict=False)]
        yield {"what": f"keep the same tokens alone and in a batch, {dtype}", "value": float(np.mean(same))}
        answers[dtype] = together
        del lm, audio
    yield {"what": "keep the same tokens here and on a CPU, float32", "value": _as_on_a_cpu(bench)}
    pairs = list(zip(answers["float32"], answers["bfloat16"], strict=True))
    yield {
        "what": "predictions of bfloat16 that differ from float32's, random weights",
        "value": float(np.mean([a.prediction != b.prediction for a, b in pairs])),
    }
    yield {
        "what": "kept tokens of float32 that bfloat16 keeps too",
        "value": float(np.mean([np.isin(a.kept_indices, b.kept_indices).mean() for a, b in pairs])),
    }


def _as_on_a_cpu(bench: Bench) -> float:
    """Share of questions for which two methods keep the same of the same float32 embeddings on both."""
    width, same = bench.lm.model.shape.decoder.hidden_size, []
    audio = random_audio(bench, SECONDS, torch.float32)
    queries = [torch.randn(QUERY_TOKENS, width, device=bench.device) for _ in range(NUM_ON_CPU)]
    on_cpu = dataclasses.replace(audio, embeds=audio.embeds.cpu())
    for method in (SpeechPrune(pruning_rate=0.5), LateInteraction(pruning_rate=0.5)):
        here = prune_all(bench.lm.model, audio, queries, method)
        there = prune_all(bench.lm.model, on_cpu, [query.cpu() for query in queries], method)
        same += [np.array_equal(a, b) for a, b in zip(here, there, strict=True)]
    return float(np.mean(same))


def _logits(lm: SpeechLM, samples: np.ndarray) -> float:
    """Largest difference over four letters of the unpruned logits, relative to the largest logit."""
    model = as_qwen2_audio(lm)
    question, choices = ask(1)[0]
    theirs = answer_with_hugging_face(model.model, model.processor, samples, question, list(choices)).float()
    ours = _answers(lm, lm.encode_many([samples])[0], [(question, choices)], NoPruning())[0]
    letters = [model.tokenizer.encode(letter)[0] for letter in "ABCD"]
    expected = torch.log_softmax(theirs[letters], dim=0).cpu()
    assert ours.choice_probabilities is not None
    return float((torch.tensor(ours.choice_probabilities).log() - expected).abs().max())


def _answers(
    lm: SpeechLM, audio: object, questions: Sequence[tuple[str, tuple[str, ...]]], method: PruningMethod
) -> list[Answer]:
    items = [
        Item(item_id=question, audio=audio, question=question, choices=choices)  # type: ignore[arg-type]
        for question, choices in questions
    ]
    outcomes = answer_items(lm.model, items, method, AnsweringOptions())
    return [outcome for outcome in outcomes if isinstance(outcome, Answer)]
