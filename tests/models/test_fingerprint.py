"""A model's fingerprint is its content's, wherever it lies."""

import pytest

from speechprune.models.fingerprint import fingerprint
from speechprune.models.options import ModelOptions
from tests.helpers.loaded import WEIGHTS


def fingerprint_of(path, **options) -> str:
    return fingerprint(ModelOptions(path=str(path), **options))


def test_a_copy_has_the_same_fingerprint_wherever_it_is(tiny_model_folder, model_copy, remote_model):
    expected = fingerprint_of(tiny_model_folder)
    assert fingerprint_of(model_copy) == fingerprint_of(remote_model) == expected
    (model_copy / ".lock").touch()  # hidden files can't change an answer
    assert fingerprint_of(model_copy) == expected
    assert fingerprint_of(model_copy, random_weights=True) != expected


@pytest.mark.parametrize("place", [0.01, 0.3, 0.9])
def test_another_weight_is_another_fingerprint(tiny_model_folder, model_copy, place):
    data = bytearray((model_copy / WEIGHTS).read_bytes())
    data[int(place * len(data))] ^= 1
    (model_copy / WEIGHTS).write_bytes(data)
    assert fingerprint_of(model_copy) != fingerprint_of(tiny_model_folder)


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "chat_template.jinja", "generation_config.json"]
)
def test_another_word_in_a_small_file_is_another_fingerprint(tiny_model_folder, model_copy, name):
    path = model_copy / name
    path.write_text(path.read_text().replace("assistant", "servant", 1) + "\n")
    assert fingerprint_of(model_copy) != fingerprint_of(tiny_model_folder)


def test_a_file_more_is_another_fingerprint(tiny_model_folder, model_copy):
    (model_copy / "added_tokens.json").write_text("{}")
    assert fingerprint_of(model_copy) != fingerprint_of(tiny_model_folder)
