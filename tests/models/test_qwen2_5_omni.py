"""What is Qwen2.5-Omni's own and not in the conformance suite: its repository's layout, other variants."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from speechprune.models.loading import check_model, load_model, model_shape
from speechprune.models.options import ModelOptions
from speechprune.models.qwen2_5_omni import Qwen25Omni
from tests.helpers.loaded import error_of, same_weights
from tests.helpers.tiny_models import load_tiny_model
from tests.helpers.tiny_qwen2_5_omni import save_tiny_omni

THINKER, TALKER = (f"model-0000{number}-of-00002.safetensors" for number in (1, 2))
OPTIONS = {"dtype": "float32", "device": "cpu"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> str:
    return save_tiny_omni(tmp_path_factory.mktemp("omni"))


@pytest.fixture
def folder(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def test_a_thinker_alone_is_the_whole_models(whole, folder):
    thinker = json.loads((folder / "config.json").read_text())["thinker_config"]
    (folder / "config.json").write_text(json.dumps(thinker))
    weights = load_file(folder / THINKER)
    weights = {name.removeprefix("thinker."): weight for name, weight in weights.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    for name in (THINKER, TALKER, "model.safetensors.index.json"):
        (folder / name).unlink()
    models = [load_tiny_model(path).model for path in (whole, str(folder))]
    assert models[0].shape == models[1].shape
    assert same_weights(*(model.model for model in models))


def test_what_answers_nothing_takes_no_memory(whole):
    model = load_tiny_model(whole).model.model
    assert {name for name, _ in model.model.named_children()} == {"audio_tower", "language_model"}


def test_a_talker_alone_is_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config["talker_config"]))
    message = error_of(check_model, ModelOptions(path=str(folder)))
    assert "is a qwen2_5_omni_talker; the nearest is qwen2_5_omni" in message


def test_a_broken_config_is_one_line(folder):
    (folder / "config.json").write_text('{"model_type": "qwen2_5_omni", "thinker_config": 5}')
    assert "thinker_config in config.json" in error_of(check_model, ModelOptions(path=str(folder)))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda folder: (folder / THINKER).unlink(), "is incomplete: its files hold"),
        (lambda folder: shutil.copy(folder / TALKER, folder / THINKER), "is incomplete: its files hold"),
        (lambda folder: _drop(folder, "thinker.audio_tower.proj.bias"), "is incomplete: 1 weights"),
        (lambda folder: (folder / "chat_template.json").unlink(), "has no chat template"),
        (lambda folder: (folder / "preprocessor_config.json").unlink(), "can't be loaded"),
    ],
)
def test_a_part_of_the_model_is_refused(folder, damage, sentence):
    damage(folder)
    assert sentence in error_of(load_model, ModelOptions(path=str(folder), **OPTIONS))


def _drop(folder: Path, name: str) -> None:
    weights = load_file(folder / THINKER)
    del weights[name]
    save_file(weights, folder / THINKER, metadata={"format": "pt"})


def test_windows_are_whole_blocks_of_the_published_encoder():
    shape = model_shape("qwen2.5-omni-7b")
    assert shape.encoder.window_tokens == 750
    assert shape.encoder.num_positions % shape.encoder.attention_block == 0
    assert shape.encoder.flops(1) == pytest.approx(1.930e12, rel=1e-3)
    assert Qwen25Omni.full_window_samples == 2999 * 160 + 1
