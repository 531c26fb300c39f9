"""Training of the demo model: speech, encoder, LLM, checkpoint. Finished steps are skipped."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from loguru import logger
from transformers import Qwen2AudioForConditionalGeneration

from speechprune.lab.training.blank_model import make_model, make_processor
from speechprune.lab.training.card import new_card
from speechprune.lab.training.config import TrainingConfig
from speechprune.lab.training.contexts import Contexts, DrawContext, Recordings, Simulator
from speechprune.lab.training.corpus import TOKEN_SECONDS, Corpus, load_corpus, render_corpus
from speechprune.lab.training.encoder import EncoderObjective, train_encoder, word_errors
from speechprune.lab.training.language_model import LanguageObjective, train_language
from speechprune.lab.training.packing import Packer
from speechprune.lab.training.progress import StageProgress
from speechprune.lab.training.recorded_contexts import RecordedContexts
from speechprune.lab.training.word_table import NORM, make_word_table
from speechprune.lab.training.work_folder import claim

NUM_DEVELOPMENT_WINDOWS = 64  # for one figure on the screen; they are trained on as well
STAGE_FILES = {  # of the work folder: their states
    "encoder": "encoder.pt",
    "LLM, simulated": "language-simulated.pt",
    "LLM, recorded": "language-recorded.pt",
}
SIMULATED_SHARE = 0.15  # of the batches of the LLM's second stage


def train(config: TrainingConfig, set_up_process: Callable[[], None] | None = None) -> None:
    """Train the model of the config, from random weights or from the state of a stopped run.

    The encoder's stage and the LLM's first stage are independent: each has a process and half of
    the CPUs, which small products use better than all of them together.

    Parameters
    ----------
    set_up_process
        Called in the second process before its stage, for logging.

    Raises
    ------
    ValueError
        The work folder holds a training of other settings.
    """
    work = Path(config.output.work_path)
    claim(work, {name: value for name, value in dataclasses.asdict(config).items() if name != "output"})
    start = _start(config)
    parts = render_corpus(work / "speech", config.corpus, config.model.num_mel_bins, config.run.seed)
    corpus = load_corpus(parts)
    logger.info("speech: {:,.1f} hours", corpus.num_tokens.sum() * TOKEN_SECONDS / 3600)
    # spawned: a forked process would inherit torch's threads and locks
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        max_workers=1, mp_context=context, initializer=_begin_process, initargs=(set_up_process,)
    ) as pool:
        simulated = pool.submit(_train_simulated_stage, config)
        encoder = _train_encoder_stage(config, start, corpus)
        simulated.result()
    _train_recorded_stage(config, start, RecordedContexts(encoder, corpus, start.token_of))
    folder = Path(config.output.path)
    save_checkpoint(start.model, start.processor, folder)
    num_parameters = sum(p.numel() for p in start.model.parameters())
    seconds = {
        name: float(torch.load(work / file, map_location="cpu")["seconds"])
        for name, file in STAGE_FILES.items()
    }
    (folder / "README.md").write_text(new_card(config, num_parameters, seconds))
    logger.info("saved {}", folder)


def _begin_process(set_up: Callable[[], None] | None) -> None:
    """Set up the second process, and end it with the first, however that ends."""

    def end_with_parent() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    if set_up is not None:
        set_up()


@dataclass(frozen=True)
class _Start:
    """Starting point of every stage; the same in every process.

    Parameters
    ----------
    model, processor
        Hugging Face's modules with random weights, but for the word table in the LLM.
    table
        Of ``word_table``, ``(V, D)``.
    """

    model: Qwen2AudioForConditionalGeneration
    processor: Any
    table: torch.Tensor

    @property
    def blank_id(self) -> int:
        """The table's row of the blank."""
        blank_id: int = self.model.config.audio_token_id
        return blank_id

    def token_of(self, word: str) -> int:
        """The one token of a word."""
        [token_id] = self.processor.tokenizer.encode(word, add_special_tokens=False)
        return token_id

    def simulator(self) -> Simulator:
        """Simulator of recordings, made from scripts without sound."""
        return Simulator(self.table.numpy(), self.blank_id, self.token_of)

    def language_objective(self) -> LanguageObjective:
        """Objective of the model's decoder."""
        objective = LanguageObjective(self.model.model.language_model, self.model.lm_head)
        return objective.to(self.model.device)

    def packer(self) -> Packer:
        """Packer of questions after their contexts."""
        return Packer(self.processor, self.blank_id, self.table)


def _start(config: TrainingConfig) -> _Start:
    processor = make_processor(config.model)
    torch.manual_seed(config.run.seed)
    model = make_model(config.model, processor.tokenizer)
    table = make_word_table(
        len(processor.tokenizer), config.model.hidden_size, model.config.audio_token_id, config.run.seed
    )
    model.get_input_embeddings().weight.data.copy_(table)
    model.lm_head.weight.data.copy_(table / NORM)
    return _Start(model.to(config.run.device), processor, table)


def _train_encoder_stage(config: TrainingConfig, start: _Start, corpus: Corpus) -> EncoderObjective:
    model = start.model.model
    objective = EncoderObjective(model.audio_tower, model.multi_modal_projector, start.table, start.blank_id)
    objective.to(config.run.device)
    progress = _progress(config, "encoder", config.encoder.num_steps)
    with half_of_the_threads():
        train_encoder(objective, corpus, config.encoder, progress, config.run.seed)
    some = list(range(min(NUM_DEVELOPMENT_WINDOWS, len(corpus.features))))
    errors, total = word_errors(objective, corpus, some)
    logger.info("encoder: word error rate {:.1%} on speech that it was trained on", errors / total)
    return objective


def _train_simulated_stage(config: TrainingConfig) -> None:
    start = _start(config)
    simulator = start.simulator()
    recipe = config.language
    with half_of_the_threads():
        train_language(
            start.language_objective(),
            start.packer(),
            lambda share, _: partial(simulator.draw, share),
            _progress(config, "LLM, simulated", recipe.num_simulated_steps),
            peak_rate=recipe.learning_rate,
            batch_tokens=recipe.simulated_batch_tokens,
            seed=config.run.seed,
        )


def _progress(config: TrainingConfig, name: str, num_steps: int) -> StageProgress:
    return StageProgress(name, Path(config.output.work_path) / STAGE_FILES[name], num_steps)


def _train_recorded_stage(config: TrainingConfig, start: _Start, contexts: Contexts) -> None:
    """Train the LLM on recordings, from the weights of the simulated stage."""
    objective = start.language_objective()
    simulated = Path(config.output.work_path) / STAGE_FILES["LLM, simulated"]
    state = torch.load(simulated, map_location=config.run.device)
    objective.load_state_dict(state["lesson"])
    simulator, recordings = start.simulator(), Recordings(contexts)

    def choose(_: float, rng: random.Random) -> DrawContext:
        if rng.random() < SIMULATED_SHARE:
            return partial(simulator.draw, 1.0)
        return recordings.choose(rng)

    recipe = config.language
    train_language(
        objective,
        start.packer(),
        choose,
        _progress(config, "LLM, recorded", recipe.num_recorded_steps),
        peak_rate=recipe.learning_rate,
        batch_tokens=recipe.recorded_batch_tokens,
        seed=config.run.seed,
    )


@contextlib.contextmanager
def half_of_the_threads() -> Iterator[None]:
    """Leave the other half of this machine's CPUs to the other process."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // 2))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def save_checkpoint(model: Qwen2AudioForConditionalGeneration, processor: Any, folder: Path) -> None:
    """Save bfloat16 weights with tokenizer and processor, as ``from_pretrained`` loads them."""
    model.to(torch.bfloat16).save_pretrained(folder)
    processor.save_pretrained(folder)
