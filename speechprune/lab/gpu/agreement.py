"""Numbers that must hold on a card as on a CPU, on the full width and few layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from speechprune.inference.answer import answer_items
from speechprune.inference.speech_lm import SpeechLM
from speechprune.inference.types import Answer, AnsweringOptions, Item
from speechprune.lab.gpu.bench import Bench, Rows, ask, load, make_prompts
from speechprune.lab.gpu.clock import reset_peak
from speechprune.lab.gpu.generation import generate_unclosed, generate_with_hugging_face
from speechprune.lab.gpu.recordings import make_samples
from speechprune.lab.gpu.stages import QUERY_TOKENS, prune_all, random_audio
from speechprune.lab.qwen2_audio import as_qwen2_audio
from speechprune.lab.speed.hugging_face_loop import answer_with_hugging_face
from speechprune.models.base import Window
from speechprune.models.options import DType
from speechprune.pruning import LateInteraction, NoPruning, PruningMethod, SpeechPrune

SECONDS = 75.0  # two full windows and a short one
NUM_ON_CPU = 4
NEW_TOKENS = 24
WINDOW_BATCHES = (1, 2, 4, 8)


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
        yield {"what": f"tokens generated that are Hugging Face's, {dtype}", "value": _generated(lm)}
        del lm, audio
    yield {"what": "keep the same tokens here and on a CPU, float32", "value": _as_on_a_cpu(bench)}
    yield from _window_bits(bench)
    pairs = list(zip(answers["float32"], answers["bfloat16"], strict=True))
    yield {
        "what": "predictions of bfloat16 that differ from float32's, random weights",
        "value": float(np.mean([a.prediction != b.prediction for a, b in pairs])),
    }
    yield {
        "what": "kept tokens of float32 that bfloat16 keeps too",
        "value": float(np.mean([np.isin(a.kept_indices, b.kept_indices).mean() for a, b in pairs])),
    }


def _generated(lm: SpeechLM) -> float:
    """Share of the tokens of one batch of unequal prompts that Hugging Face gives for each alone."""
    model = as_qwen2_audio(lm)
    prompts = [make_prompts(model, num_tokens, 1)[0] for num_tokens in (90, 41, 73)]
    ours = generate_unclosed(model, prompts, NEW_TOKENS)
    theirs = [generate_with_hugging_face(model.model, [prompt], NEW_TOKENS)[0] for prompt in prompts]
    return float(np.mean(np.array(ours) == np.array(theirs)))


def _window_bits(bench: Bench) -> Rows:
    """What a window's embeddings depend on, to the bit, in the model as it is measured."""
    model = bench.lm.model
    windows = [Window(make_samples(model.window_seconds, seed), 0.0) for seed in range(WINDOW_BATCHES[-1])]
    alone = model.embed_windows(windows[:1])[0].embeds
    for size in WINDOW_BATCHES[1:]:
        first = model.embed_windows(windows[:size])[0].embeds
        last = model.embed_windows([*windows[1:size], windows[0]])[-1].embeds
        among_others = model.embed_windows([windows[0], *[windows[1]] * (size - 1)])[0].embeds
        for what, other in (
            ("at another place", last),
            ("among other windows", among_others),
            ("alone", alone),
        ):
            equal = float(torch.equal(first, other))
            yield {"what": f"a window's bits in a batch of {size} are those {what}", "value": equal}


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
