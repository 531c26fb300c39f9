"""The whole training: speech, encoder, LLM, checkpoint. Each step is skipped where it is done."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from loguru import logger
from torch.nn import functional
from transformers import PreTrainedTokenizerFast, Qwen2AudioForConditionalGeneration

from speechprune.builder.grammar import subject_words
from speechprune.prompts import LETTERS
from speechprune.training.blank_model import make_model, make_processor
from speechprune.training.card import new_card
from speechprune.training.config import TrainingConfig
from speechprune.training.contexts import Asked, Context, Recordings, Simulator, telling_tokens
from speechprune.training.corpus import BLANK, TOKEN_SECONDS, Corpus, load_corpus, render_corpus
from speechprune.training.encoder import EncoderLesson, embed_windows, train_encoder, word_errors
from speechprune.training.language_model import LanguageLesson, train_language
from speechprune.training.packing import Packer
from speechprune.training.progress import LessonProgress
from speechprune.training.word_table import NORM, make_word_table

NUM_DEVELOPMENT_WINDOWS = 64  # for one figure on the screen; they are trained on as well
ENCODED_WINDOWS = 8
SIMULATED_SHARE = 0.15  # of the contexts of the second half of the LLM's lesson


def train(config: TrainingConfig) -> None:
    """Make the model that the config asks for, from nothing or from where a stopped run was.

    Raises
    ------
    ValueError
        The work folder holds a training of other settings.
    """
    work = Path(config.output.work_path)
    _claim(work, config)
    processor = make_processor(config.model)
    tokenizer = processor.tokenizer
    torch.manual_seed(config.run.seed)
    model = make_model(config.model, tokenizer)
    blank_id = model.config.audio_token_id
    table = make_word_table(len(tokenizer), config.model.hidden_size, blank_id, config.run.seed)
    model.get_input_embeddings().weight.data.copy_(table)
    model.lm_head.weight.data.copy_(table / NORM)
    model.to(config.run.device)

    parts = render_corpus(work / "speech", config.corpus, config.model.num_mel_bins, config.run.seed)
    corpus = load_corpus(parts)
    logger.info("speech: {:,.1f} hours", corpus.num_tokens.sum() * TOKEN_SECONDS / 3600)
    encoder = EncoderLesson(model.model.audio_tower, model.model.multi_modal_projector, table, blank_id)
    encoder.to(config.run.device)
    encoder_progress = LessonProgress("encoder", work / "encoder.pt", config.encoder.num_steps)
    train_encoder(encoder, corpus, config.encoder, encoder_progress, config.run.seed)
    errors, total = word_errors(
        encoder, corpus, list(range(min(NUM_DEVELOPMENT_WINDOWS, len(corpus.features))))
    )
    logger.info("encoder: word error rate {:.1%} on speech that it was trained on", errors / total)

    _train_language(config, model, processor, encoder, corpus, table, work)
    folder = Path(config.output.path)
    save_checkpoint(model, processor, folder)
    (folder / "README.md").write_text(new_card(config, sum(p.numel() for p in model.parameters())))
    logger.info("saved {}", folder)


def _train_language(
    config: TrainingConfig,
    model: Qwen2AudioForConditionalGeneration,
    processor: Any,
    encoder: EncoderLesson,
    corpus: Corpus,
    table: torch.Tensor,
    work: Path,
) -> None:
    """Simulated contexts first, then the corpus as the encoder hears it."""
    tokenizer: PreTrainedTokenizerFast = processor.tokenizer
    lesson = LanguageLesson(model.model.language_model, model.lm_head).to(config.run.device)
    packer = Packer(processor, model.config.audio_token_id, table)

    def token_of(word: str) -> int:
        [token_id] = tokenizer.encode(word, add_special_tokens=False)
        return token_id

    simulator = Simulator(table.numpy(), encoder.blank_id, token_of)
    recipe = config.language
    first = LessonProgress("LLM, simulated", work / "language-simulated.pt", recipe.num_simulated_steps)
    train_language(
        lesson,
        packer,
        lambda share: lambda rng, generator: simulator.draw(share, rng, generator),
        first,
        peak_rate=recipe.learning_rate,
        batch_tokens=recipe.simulated_batch_tokens,
        seed=config.run.seed,
    )
    recordings = Recordings(recorded_contexts(encoder, corpus, token_of))

    def draw(rng: random.Random, generator: np.random.Generator) -> Context:
        if rng.random() < SIMULATED_SHARE:
            return simulator.draw(1.0, rng, generator)
        return recordings.draw(rng, generator)

    second = LessonProgress("LLM, recorded", work / "language-recorded.pt", recipe.num_recorded_steps)
    train_language(
        lesson,
        packer,
        lambda _: draw,
        second,
        peak_rate=recipe.learning_rate,
        batch_tokens=recipe.recorded_batch_tokens,
        seed=config.run.seed,
    )


def recorded_contexts(
    encoder: EncoderLesson, corpus: Corpus, token_of: Callable[[str], int]
) -> list[Context]:
    """Every recording of the corpus as the encoder hears it."""
    embeds, blanks = [], []
    for begin in range(0, len(corpus.features), ENCODED_WINDOWS):
        some = embed_windows(encoder, corpus.features[begin : begin + ENCODED_WINDOWS])
        nearest = (functional.normalize(some, dim=-1) @ encoder.directions.T).argmax(-1)
        embeds.append(some.half().cpu().numpy())
        blanks.append((nearest == encoder.blank_id).cpu().numpy())
    all_embeds, all_blanks = np.concatenate(embeds), np.concatenate(blanks)
    contexts = []
    for number, questions in enumerate(corpus.questions):
        windows = slice(corpus.first_window[number], corpus.first_window[number + 1])
        length = corpus.num_tokens[number]
        labels = corpus.word_labels[windows].reshape(-1)[:length]
        contexts.append(
            Context(
                all_embeds[windows].reshape(-1, all_embeds.shape[-1])[:length],
                all_blanks[windows].reshape(-1)[:length],
                tuple(_asked(question, labels, token_of) for question in questions),
            )
        )
    return contexts


def _asked(question: dict[str, Any], labels: np.ndarray, token_of: Callable[[str], int]) -> Asked:
    """A question of the corpus, with the audio tokens of its fact and of the word that tells it."""
    start, end = question["span"]
    first, last = int(start / TOKEN_SECONDS), min(len(labels), int(np.ceil(end / TOKEN_SECONDS)))
    value = question["choices"][LETTERS.index(question["answer"])]
    wanted = [token_of(word) for word in (*subject_words(question["question"]), value)]
    return Asked(
        question["question"],
        tuple(question["choices"]),
        question["answer"],
        (first, last),
        telling_tokens(_words_said(labels, first, last), wanted),
    )


def _words_said(labels: np.ndarray, first: int, last: int) -> list[tuple[int, tuple[int, int]]]:
    """Token id, begin and end of every run of one label in a part of a recording."""
    edges = first + 1 + np.flatnonzero(np.diff(labels[first:last]))
    begins, ends = [first, *edges.tolist()], [*edges.tolist(), last]
    return [
        (int(labels[begin]), (begin, end))
        for begin, end in zip(begins, ends, strict=True)
        if labels[begin] != BLANK
    ]


def save_checkpoint(model: Qwen2AudioForConditionalGeneration, processor: Any, folder: Path) -> None:
    """Save bfloat16 weights with tokenizer and processor, as ``from_pretrained`` loads them."""
    model.to(torch.bfloat16).save_pretrained(folder)
    processor.save_pretrained(folder)


def _claim(work: Path, config: TrainingConfig) -> None:
    """Note the settings in the work folder, or refuse to mix them with others."""
    work.mkdir(parents=True, exist_ok=True)
    settings = {k: v for k, v in dataclasses.asdict(config).items() if k != "output"}
    note = work / "training.json"
    if note.exists():
        begun = json.loads(note.read_text())
        for section, values in settings.items():
            for key, value in values.items():
                if begun.get(section, {}).get(key) != value:
                    raise ValueError(
                        f"{work} holds a training with {section}.{key}={begun.get(section, {}).get(key)!r}, "
                        f"not {value!r}: choose another output.work_path, or remove that folder"
                    )
    note.write_text(json.dumps(settings, indent=2))
