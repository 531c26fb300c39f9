"""A whole tiny training: its losses are what a plain loop gives, and wherever it stops it ends the same."""

import dataclasses
import json
import math
from itertools import groupby, product
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from speechprune.lab.connector import measure, train
from speechprune.lab.connector.config import ConnectorConfig, Recipe, SpeechOptions, StartOptions
from speechprune.lab.connector.held_out import held_out_lines
from speechprune.lab.connector.objective import CtcObjective, best_path
from speechprune.lab.connector.speakers import load_scripts, text_of
from speechprune.lab.connector.windows import IGNORED, WindowBatch
from speechprune.lab.training import progress
from speechprune.lab.training.config import ModelOutputOptions
from speechprune.lab.training.progress import StageProgress
from speechprune.models.ctc import BLANK, Connector
from speechprune.models.loading import load_model
from speechprune.models.options import ModelOptions

SENTENCES = ["The review is on Monday.", "Laura's team leads it.", "Nobody else comes.", "It ends at noon."]


class FourPositions(torch.nn.Module):
    """An encoder of 12 positions: three frames a window."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv1d(3, 8, 1)
        self.layers = torch.nn.ModuleList([torch.nn.Identity()])
        self.layer_norm = torch.nn.LayerNorm(8)

    def forward(self, features):
        states = self.layer_norm(self.conv1(features).transpose(1, 2))
        return type("Output", (), {"last_hidden_state": states})


def written(path):
    return [place for place, _ in groupby(path) if place != BLANK]


def probability(path, log_probs):
    return math.exp(sum(float(row[place]) for row, place in zip(log_probs, path, strict=True)))


def test_the_losses_are_those_of_all_paths_and_of_the_labels():
    torch.manual_seed(0)
    objective = CtcObjective(FourPositions(), Connector(8, 16, 6), torch.randn(4, 6), free_layers=0)
    objective.directions = objective.directions.float()
    targets = [[1, 1], [3]]
    labels = torch.tensor([[1, BLANK, 1], [IGNORED, IGNORED, IGNORED]])
    batch = WindowBatch(torch.randn(2, 3, 12), labels, torch.tensor([1, 1, 3]), torch.tensor([2, 1]))
    losses = objective.losses(batch)
    log_probs = objective.logits(batch.features).log_softmax(-1).detach()
    total = -sum(
        math.log(
            sum(probability(path, rows) for path in product(range(5), repeat=3) if written(path) == target)
        )
        for rows, target in zip(log_probs, targets, strict=True)
    )
    assert float(losses["ctc"]) == pytest.approx(total / 3, rel=1e-4)
    by_hand = -sum(float(log_probs[0, i, c]) for i, c in enumerate([1, BLANK, 1]))
    assert float(losses["frames"]) == pytest.approx(by_hand / 3, rel=1e-5)


def test_the_best_path_drops_repeats_and_blanks():
    path = [BLANK, 2, 2, BLANK, 2, 1, 1, BLANK]
    assert best_path(torch.eye(3)[path]) == [2, 2, 1]


def write_texts(path: Path) -> str:
    """Six items of SPIRAL's form; of two every fifth ones, the last repeats a text to train on."""
    texts = [
        [*SENTENCES, f"It is number {number}."] for number in ("one", "two", "three", "four", "five", "two")
    ]
    records = [
        {
            "transcript": [{"speaker": "spk_1", "text": texts[i]}],
            "original_key_sentence": SENTENCES[0],
            "test_question": {
                "question": "When is the review?",
                "choices": ["A. Monday", "B. Friday"],
                "correct_answer": "A. Monday",
            },
            "metadata": {
                "main_topic": "work",
                "subtopic": "plans",
                "transcript_type": "lecture",
                "id": f"lecture_{i}",
            },
            "audio_data": {
                "key_sentences": {"indices": [0, 1]},
                "combined": {
                    "audio_files": ["a.wav"],
                    "audio_folder": "wavs",
                    "prompts_used": {"spk_1": "1_F.wav"},
                    "sentences": texts[i],
                },
            },
        }
        for i in range(6)
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


@pytest.fixture
def make_config(tiny_parts_folder, tmp_path):
    texts = write_texts(tmp_path / "data.jsonl")

    def make(folder: Path) -> ConnectorConfig:
        return ConnectorConfig(
            start=StartOptions(whisper=f"{tiny_parts_folder}/whisper", llm=f"{tiny_parts_folder}/llm"),
            speech=SpeechOptions(texts=(texts,)),
            output=ModelOutputOptions(path=str(folder / "model"), work_path=str(folder / "work")),
            recipe=Recipe(num_steps=4, windows_per_step=2, free_layers=1, hidden_size=16),
        )

    return make


def test_a_stopped_training_ends_at_the_same_weights(make_config, tmp_path, monkeypatch):
    pytest.importorskip("espeakng_loader")
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_SAVES", -1.0)
    monkeypatch.setattr(measure, "NUM_WINDOWS", 1)
    recognised = train.train_connector(make_config(tmp_path / "whole"))
    assert recognised.num_words > 5
    assert recognised.num_frames > 20

    class StopError(Exception):
        pass

    advance = StageProgress.advance

    def advance_to_two(self, *args):
        advance(self, *args)
        if self.step == 2:
            raise StopError

    monkeypatch.setattr(StageProgress, "advance", advance_to_two)
    config = make_config(tmp_path / "stopped")
    with pytest.raises(StopError):
        train.train_connector(config)
    monkeypatch.setattr(StageProgress, "advance", advance)
    other = dataclasses.replace(config.recipe, free_layers=2)
    with pytest.raises(ValueError, match=r"recipe\.free_layers=1, not 2"):
        train.train_connector(dataclasses.replace(config, recipe=other))
    elsewhere = dataclasses.replace(config, start=StartOptions(whisper="not here", llm="nor here"))
    assert train.train_connector(elsewhere) == recognised
    whole, stopped = (
        load_file(tmp_path / name / "model/connector.safetensors") for name in ("whole", "stopped")
    )
    assert whole.keys() == stopped.keys()
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)
    assert {name.split(".")[0] for name in whole} == {"encoder", "connector", "token_ids"}
    assert "encoder.layers.0.fc1.weight" not in whole
    for name in ("whole", "stopped"):  # the second was not given the two models
        has_models = {file.name for file in (tmp_path / name / "model").iterdir() if file.is_dir()}
        assert has_models == ({"whisper", "llm"} if name == "whole" else set())
    model = load_model(ModelOptions(path=str(tmp_path / "whole/model"), dtype="float32", device="cpu"))
    assert model.transcriber.token_ids == whole["token_ids"].tolist()


def test_an_item_whose_text_is_trained_on_is_not_held_out(tmp_path):
    texts = write_texts(tmp_path / "data.jsonl")
    training, held_out = load_scripts([texts])
    assert (len(training), len(held_out)) == (4, 1)
    assert text_of(held_out[0]) not in map(text_of, training)
    (line,) = held_out_lines([texts])
    assert json.loads(line)["metadata"]["id"] == "lecture_0"


def test_missing_texts_leave_no_work_folder(make_config, tmp_path):
    config = make_config(tmp_path)
    speech = dataclasses.replace(config.speech, texts=("nowhere.jsonl",))
    with pytest.raises(ValueError, match=r"nowhere\.jsonl is missing; SPIRAL's is at https"):
        train.train_connector(dataclasses.replace(config, speech=speech))
    assert not (tmp_path / "work").exists()
