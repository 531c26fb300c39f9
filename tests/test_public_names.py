"""What ``import speechprune`` offers, and that it costs nothing until it is used."""

import subprocess
import sys

import speechprune
from speechprune.pruning import METHODS


def test_every_public_name_can_be_imported():
    assert speechprune.__all__ == sorted(speechprune._MODULES, key=lambda name: (not name.isupper(), name))
    for name in speechprune.__all__:
        assert getattr(speechprune, name) is not None


def test_every_method_and_the_two_contracts_are_public():
    for method in METHODS.values():
        assert method.__name__ in speechprune.__all__
        assert getattr(speechprune, method.__name__) is method
    assert {"METHODS", "MODELS", "PruningMethod", "SpeechModel"} <= set(speechprune.__all__)


def test_a_name_that_is_none_is_an_attribute_error():
    assert not hasattr(speechprune, "SpeechPruned")


def test_names_are_imported_when_they_are_used():
    code = (
        "import sys, speechprune; print([n for n in ('torch', 'numpy', 'transformers') if n in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout == "[]\n"
