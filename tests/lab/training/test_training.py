"""A whole tiny training: wherever it is stopped, the same command ends at the same weights."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Qwen2AudioForConditionalGeneration

from speechprune import SpeechLM
from speechprune.audio import SAMPLE_RATE
from speechprune.lab.training import corpus, progress, train, word_table
from speechprune.lab.training.config import (
    CorpusOptions,
    EncoderRecipe,
    LanguageRecipe,
    ModelOutputOptions,
    RunOptions,
    TrainingConfig,
)
from speechprune.lab.training.progress import StageProgress

pytest.importorskip("espeakng_loader")

LESSONS = ["LLM, simulated", "encoder", "LLM, recorded"]  # the first two side by side, here in turn


@pytest.fixture(scope="module", autouse=True)
def in_small(one_process):
    """One process, a table made quickly, a state saved after every step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "ProcessPoolExecutor", one_process)
        patch.setattr(train, "ProcessPoolExecutor", one_process)
        patch.setattr(word_table, "SPREADING_STEPS", 2)
        patch.setattr(progress, "SECONDS_BETWEEN_SAVES", -1.0)
        yield


@pytest.fixture(scope="module")
def make_config(size):
    def make(folder: Path) -> TrainingConfig:
        return TrainingConfig(
            output=ModelOutputOptions(path=str(folder / "model"), work_path=str(folder / "work")),
            run=RunOptions(seed=3),
            model=size,
            corpus=CorpusOptions(num_recordings=2, min_seconds=25, max_seconds=32),
            encoder=EncoderRecipe(
                num_steps=4, batch_seconds=30, crop_seconds=5, whole_window_share=0.25, compile=False
            ),
            language=LanguageRecipe(
                num_simulated_steps=3,
                num_recorded_steps=3,
                simulated_batch_tokens=400,
                recorded_batch_tokens=800,
            ),
        )

    return make


@pytest.fixture(scope="module")
def undisturbed(make_config, tmp_path_factory) -> TrainingConfig:
    config = make_config(tmp_path_factory.mktemp("undisturbed"))
    train.train(config)
    return config


def weights(config: TrainingConfig) -> bytes:
    return (Path(config.output.path) / "model.safetensors").read_bytes()


def stop_at(objective: str, step: int, *, saved: bool):
    """An ``advance`` that is interrupted at a step, before or after its state is saved."""
    advance = StageProgress.advance

    def interrupted(self, *arguments):
        here = (self.name, self.step) == (objective, step)
        if here and not saved:
            raise KeyboardInterrupt
        advance(self, *arguments)
        if here:
            raise KeyboardInterrupt

    return interrupted


def test_a_training_that_is_stopped_again_and_again_ends_at_the_same_bytes(
    undisturbed, make_config, tmp_path, monkeypatch
):
    config = make_config(tmp_path)
    # speech from the other training: parts that are there are kept, as test_corpus holds
    shutil.copytree(Path(undisturbed.output.work_path) / "speech", tmp_path / "work" / "speech")
    steps_taken = []
    advance = StageProgress.advance

    def counted(self, *arguments):
        steps_taken.append((self.name, self.step))
        advance(self, *arguments)

    monkeypatch.setattr(StageProgress, "advance", counted)
    stops = [
        ("LLM, simulated", 1, True),
        ("encoder", 1, True),
        ("encoder", 3, False),  # the state after step 2 is the last one saved
        ("encoder", 3, True),  # the very end of a objective
        ("LLM, recorded", 0, False),
        ("LLM, recorded", 1, True),
    ]
    for objective, step, saved in stops:
        with monkeypatch.context() as patch:
            patch.setattr(StageProgress, "advance", stop_at(objective, step, saved=saved))
            with pytest.raises(KeyboardInterrupt):
                train.train(config)
        assert not Path(config.output.path).exists()
    train.train(config)
    assert weights(config) == weights(undisturbed)
    # every step was finished once: those that were stopped before their end were taken anew, and no other
    lengths = {"encoder": 4, "LLM, simulated": 3, "LLM, recorded": 3}
    every_step = [(name, step) for name in LESSONS for step in range(lengths[name])]
    assert steps_taken == every_step


def test_a_finished_training_is_saved_again_without_a_step(undisturbed, monkeypatch):
    before = weights(undisturbed)
    shutil.rmtree(undisturbed.output.path)

    def refuse(self, *_):
        raise AssertionError(f"{self.name} took a step")

    monkeypatch.setattr(StageProgress, "advance", refuse)
    train.train(undisturbed)
    assert weights(undisturbed) == before


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [("run", "seed", 4), ("encoder", "num_steps", 5), ("corpus", "noisy_share", 0.1), ("model", "layers", 5)],
)
def test_other_settings_are_refused_by_name_and_nothing_is_touched(undisturbed, section, key, value):
    changed = dataclasses.replace(getattr(undisturbed, section), **{key: value})
    before = weights(undisturbed)
    with pytest.raises(ValueError, match=f"{section}.{key}=.*not {value}.*work_path") as refusal:
        train.train(dataclasses.replace(undisturbed, **{section: changed}))
    assert undisturbed.output.work_path in str(refusal.value)
    assert weights(undisturbed) == before


def test_another_output_path_continues_the_same_training(undisturbed, tmp_path):
    output = dataclasses.replace(undisturbed.output, path=str(tmp_path / "elsewhere"))
    moved = dataclasses.replace(undisturbed, output=output)
    train.train(moved)
    assert weights(moved) == weights(undisturbed)


def test_what_was_trained_is_what_is_loaded(undisturbed):
    """Both stages moved their weights, the table stayed, and the checkpoint answers."""
    model = Qwen2AudioForConditionalGeneration.from_pretrained(undisturbed.output.path, dtype="auto")
    states = {
        name: torch.load(Path(undisturbed.output.work_path) / f"{name}.pt")
        for name in ("encoder", "language-simulated", "language-recorded")
    }
    tower = dict(model.model.audio_tower.named_parameters())
    for name, parameter in tower.items():
        assert torch.equal(parameter, states["encoder"]["lesson"][f"audio_tower.{name}"])
    language = dict(model.model.language_model.named_parameters())
    moved = 0
    for name, parameter in language.items():
        assert torch.equal(parameter, states["language-recorded"]["lesson"][f"language_model.{name}"])
        moved += not torch.equal(parameter, states["language-simulated"]["lesson"][f"language_model.{name}"])
    assert moved > 0.7 * len(language)  # norms of one move by less than bfloat16 tells
    table = word_table.make_word_table(
        model.config.text_config.vocab_size, 64, model.config.audio_token_id, undisturbed.run.seed
    )
    assert torch.equal(model.get_input_embeddings().weight, table.bfloat16())
    lm = SpeechLM.from_pretrained(undisturbed.output.path)
    noise = np.random.default_rng(0).integers(-3000, 3000, 35 * SAMPLE_RATE, dtype=np.int16)
    answer = lm.answer((noise, SAMPLE_RATE), "When is the security review?", ["Monday", "Friday"])
    assert answer.prediction in "AB"
    card = (Path(undisturbed.output.path) / "README.md").read_text()
    assert "million, bfloat16" in card
