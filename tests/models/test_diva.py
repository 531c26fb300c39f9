"""What is DiVA's own and not in the conformance suite: its parts, its prompt, tokens without times."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from speechprune.data.answer_rows import are_nominal
from speechprune.inference.evidence import find_evidence
from speechprune.models.config_files import read_config
from speechprune.models.diva_config import PINNED
from speechprune.models.loading import check_model, load_model, model_shape
from speechprune.models.options import ModelOptions
from tests.helpers.loaded import WEIGHTS, edit, error_of
from tests.helpers.tiny_diva import HIDDEN, QUERIES, save_tiny_diva
from tests.helpers.tiny_models import load_tiny_model

OPTIONS = {"dtype": "float32", "device": "cpu"}
RATE = 16_000


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> str:
    return save_tiny_diva(tmp_path_factory.mktemp("diva"))


@pytest.fixture(scope="module")
def lm(saved):
    return load_tiny_model(saved)


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


# Its parts


def test_the_published_names_are_of_one_commit_each(folder, monkeypatch):
    """As config.json of the hub has them."""
    edit(
        folder / "config.json",
        reference_encoder="openai/whisper-large-v3",
        reference_decoder="meta-llama/Meta-Llama-3-8B-Instruct",
    )
    asked = []

    def read(path, revision=None, subfolder=""):
        asked.append((path, revision, subfolder))
        return read_config(str(folder / ("whisper" if "whisper" in path else "llama")))

    monkeypatch.setattr("speechprune.models.parts.read_config", read)
    model_shape(str(folder))
    assert asked == [(name, commit, "") for name, commit in PINNED.items()]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"reference_encoder": "openai/whisper-large-v9"}, "where no model is"),
        ({"reference_encoder": "llama"}, "is a llama: give a whisper"),
        ({"reference_decoder": "whisper"}, "is a whisper: give a llama"),
        ({"reference_decoder": None}, "reference_decoder in config.json"),
        ({"reference_decoder": {"repository": "team/llama"}}, "commit of 40 digits"),
        ({"reference_decoder": "../llama"}, "give a folder beside it"),
    ],
)
def test_a_wrong_entry_of_config_json_is_one_line(folder, values, sentence):
    edit(folder / "config.json", **values)
    assert sentence in error_of(check_model, ModelOptions(path=str(folder)))


def drop_projection(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    del weights["projection.weight"]
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda folder: (folder / WEIGHTS).unlink(), "can't be loaded"),
        (drop_projection, "is incomplete: 1 weights, such as projection.weight"),
        (lambda folder: (folder / "whisper" / WEIGHTS).unlink(), "can't be loaded"),
        (lambda folder: (folder / "llama/chat_template.jinja").unlink(), "has no chat template"),
    ],
)
def test_a_part_that_is_missing_is_one_line(folder, damage, sentence):
    damage(folder)
    assert sentence in error_of(load_model, ModelOptions(path=str(folder), **OPTIONS))


def test_the_projector_lies_transposed_in_its_checkpoint(saved, lm):
    stored = load_file(f"{saved}/{WEIGHTS}")["projection.weight"]
    weight, _ = lm.model.projector
    assert weight.shape == (HIDDEN, stored.shape[0])
    assert weight.T.equal(stored)


# Its prompt


def test_words_have_the_place_of_a_system_prompt_where_the_template_has_one(lm):
    tokenizer = lm.model.tokenizer
    own = tokenizer.chat_template
    system = "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>\n"
    try:
        tokenizer.chat_template = "{{ bos_token }}" + system + own.replace("bos_token + content", "content")
        assert lm.model.render_chat("Who?").startswith(
            "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\nWho?\n"
            "<|start_header_id|>user<|end_header_id|>\n<|audio|>"
        )
    finally:
        tokenizer.chat_template = own


# Tokens without times


def test_a_token_has_its_windows_time(lm, speech):
    (audio,) = lm.encode_many([speech(37.3)])
    assert np.unique(audio.times, axis=0).tolist() == [[0, 30], [30, pytest.approx(37.3)]]
    assert len(audio.embeds) == 2 * QUERIES
    assert are_nominal(audio.times, audio.frame_starts)


def test_budget_frames_are_as_many_as_seconds_of_a_window(lm, speech):
    (audio,) = lm.encode_many([speech(37.3)])
    sizes = np.diff(audio.frame_starts)
    assert len(sizes) == 60
    assert set(sizes.tolist()) == {1, 2}  # 48 queries in 30 s
    assert QUERIES in audio.frame_starts
    shape = model_shape("diva-llama-3-8b")
    assert (shape.encoder.window_tokens, shape.encoder.states_size) == (448, 1280)


def test_evidence_names_each_window_once(lm, speech):
    (audio,) = lm.encode_many([speech(61.0)])
    scores = np.zeros(len(audio.embeds))
    best = audio.frame_starts[[3, 9, 20, 65, 80]]
    scores[best] = [0.5, 0.4, 0.3, 0.2, 0.1]
    spans = find_evidence(scores, np.arange(len(scores)), audio.times, audio.frame_starts)
    assert [(span.start, span.end) for span in spans] == [(0, 30), (60, 61)]
