"""Methods by name and by import path, and what the section ``pruning`` of a config makes of them."""

import dataclasses
import sys
from typing import get_type_hints

import pytest

from speechprune.docstrings import parameter_docs
from speechprune.pruning import METHODS, method_class
from speechprune.pruning.options import PruningOptions
from tests.helpers import own_method
from tests.helpers.own_method import KeepEvery

OWN = "tests.helpers.own_method:KeepEvery"


def test_methods_are_found_by_name_and_by_import_path():
    for name, method in METHODS.items():
        assert method_class(name) is method
        assert method.name == name
    assert method_class(OWN) is KeepEvery
    assert method_class("speechprune.pruning.methods:SpeechPrune") is METHODS["speechprune"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("speechprun", "method is 'speechprun': did you mean speechprune?"),
        ("RAP", "method is 'RAP': give speechprune, first_phase, "),
        ("a b:C", "method is 'a b:C': give speechprune, "),
        ("gone:X", "method is 'gone:X', but there is no module gone: put its folder on PYTHONPATH, or start"),
        (
            "tests.helpers.gone:X",
            "method is 'tests.helpers.gone:X', but there is no module tests.helpers.gone: ",
        ),
        (f"{OWN}s", f"method is '{OWN}s', but tests.helpers.own_method has no class KeepEverys"),
        ("json:JSONDecoder", "method is 'json:JSONDecoder', which is not a subclass of PruningMethod"),
        (
            "tests.helpers.own_method:AnotherRandom",
            "method is 'tests.helpers.own_method:AnotherRandom', but there is another method named 'random'",
        ),
        (
            "speechprune.pruning:METHODS",
            "method is 'speechprune.pruning:METHODS', which is not a subclass of",
        ),
    ],
)
def test_what_is_no_method_is_one_sentence(name, sentence):
    with pytest.raises(ValueError, match=r"^method is ") as raised:
        method_class(name)
    assert str(raised.value).startswith(sentence)
    assert "\n" not in str(raised.value)


def test_a_class_in_the_current_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_rule_here.py").write_text(
        "from tests.helpers.own_method import KeepEvery\nclass Mine(KeepEvery):\n    name = 'mine'\n"
    )
    assert method_class("my_rule_here:Mine").name == "mine"


def test_a_class_without_a_name_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "nameless_method.py").write_text(
        "from speechprune import PruningMethod\nclass Nameless(PruningMethod): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        ValueError, match=r"method is 'nameless_method:Nameless', whose class has no name: add "
    ):
        method_class("nameless_method:Nameless")
    with pytest.raises(ValueError, match=r"whose class has no name: add "):
        PruningOptions(method="nameless_method:Nameless")


def test_a_class_whose_features_share_a_name_is_refused():
    with pytest.raises(ValueError, match=r"^two different features are named 'lengths', one of them of the "):
        method_class("tests.helpers.own_method:TwoLengths")


def test_a_fault_inside_the_users_module_shows_its_traceback(tmp_path, monkeypatch):
    """A dependency that is missing there is not the module that was asked for."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_broken_rule.py").write_text("import my_missing_dependency\n")
    with pytest.raises(ModuleNotFoundError, match="my_missing_dependency"):
        method_class("my_broken_rule:Mine")


def test_options_build_a_class_of_the_users_own_with_its_settings():
    assert PruningOptions(method=OWN).build() == KeepEvery()
    options = PruningOptions(method=OWN, phase1_budget=30, pruning_rate=0.5, settings={"every": 7})
    assert options.build() == KeepEvery(phase1_budget=30, every=7)
    longest = PruningOptions(method="tests.helpers.own_method:Longest", pruning_rate=0.5).build()
    assert longest == own_method.Longest(pruning_rate=0.5)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"method": OWN, "settings": {"evry": 2}},
            f"settings.evry is not a setting of {OWN}: did you mean every?",
        ),
        ({"method": OWN, "settings": {"every": 0}}, "settings.every is 0: give at least 1"),
        (
            {"method": "truncate", "settings": {"seed": 0}},
            "settings.seed is not a setting of truncate: valid here",
        ),
        ({"method": OWN, "phase1_budget": 0}, "phase1_budget is 0: give at least 1 token"),
        ({"method": "truncate", "pruning_rate": 1.5}, "pruning_rate is 1.5: give a share"),
    ],
)
def test_options_that_cannot_be_are_one_sentence(options, sentence):
    with pytest.raises(ValueError, match=" is ") as raised:
        PruningOptions(**options)
    assert str(raised.value).startswith(sentence)
    assert "\n" not in str(raised.value)


def test_methods_agree_on_the_settings_that_several_have():
    """The config has each once: its type and default must be right for all of them."""
    options = {field.name: field for field in dataclasses.fields(PruningOptions)}
    types = get_type_hints(PruningOptions)
    for method in METHODS.values():
        for setting, hint in get_type_hints(method).items():
            if setting not in {field.name for field in dataclasses.fields(method)}:
                continue  # a ClassVar
            own = next(field for field in dataclasses.fields(method) if field.name == setting)
            assert (setting, types[setting], options[setting].default) == (setting, hint, own.default)
    of_any = {field.name for method in METHODS.values() for field in dataclasses.fields(method)}
    assert set(options) == {"method", "settings"} | of_any


def test_every_setting_is_documented():
    for method in METHODS.values():
        documented = parameter_docs(method)
        assert all(documented.get(field.name) for field in dataclasses.fields(method)), method
    assert set(parameter_docs(PruningOptions)) == {field.name for field in dataclasses.fields(PruningOptions)}
