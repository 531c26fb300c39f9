"""Loading a config of any kind, and the arguments that jobs share."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

import speechprune
from speechprune.config import (
    ConfigError,
    as_yaml,
    config_from_arguments,
    load_config,
    parse_config,
)
from speechprune.pipeline.config import BatchQAConfig


@dataclass(frozen=True)
class Oven:
    degrees: float
    trays: int = 1


@dataclass(frozen=True)
class Dough:
    flours: tuple[str, ...] = ("wheat",)
    grams: dict[str, int] = field(default_factory=dict)
    label: str | None = None


@dataclass(frozen=True)
class Bakery:
    """A config that is no job's."""

    oven: Oven
    dough: Dough = field(default_factory=lambda: Dough(flours=("rye",)))

    def __post_init__(self) -> None:
        if self.oven.trays < len(self.dough.flours):
            raise ValueError(f"oven.trays is {self.oven.trays}: give one for each of dough.flours")


@pytest.fixture
def config_file(tmp_path) -> str:
    path = tmp_path / "bakery.yaml"
    path.write_text("oven:\n  degrees: 220\n")
    return str(path)


def test_a_section_with_a_default_may_be_absent_and_one_without_may_not():
    assert parse_config(Bakery, {"oven": {"degrees": 220}}) == Bakery(Oven(220.0), Dough(("rye",)))
    with pytest.raises(ConfigError, match=r"^oven\.degrees is missing: set it .* as oven\.degrees=\.\.\.$"):
        parse_config(Bakery, {"dough": {}})


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"ovens": {}}, "unknown section ovens: did you mean oven?"),
        ({"oven": {"label": "x"}}, "unknown key oven.label: did you mean dough.label?"),
        ({"oven": {"degrees": 220, "zzz": 1}}, "unknown key oven.zzz: valid here: degrees, trays"),
        ({"oven": {"degrees": "hot"}}, "oven.degrees is 'hot': input should be a valid number"),
        (
            {"oven": {"degrees": 220}, "dough": {"flours": ["rye", "spelt"]}},
            "oven.trays is 1: give one for each of dough.flours",  # a check across sections
        ),
    ],
)
def test_refusals_speak_of_the_kind_that_was_asked_for(values, sentence):
    with pytest.raises(ConfigError) as refusal:
        parse_config(Bakery, values)
    assert str(refusal.value).startswith(sentence)


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("dough.flours=[spelt]", "flours", ("spelt",)),
        ("dough.grams={spelt: 500}", "grams", {"spelt": 500}),
        ("dough.label={name}", "label", "{name}"),  # text with braces
        ("dough.label=[name]", "label", "[name]"),
        ("dough.label=null", "label", None),
    ],
)
def test_an_override_is_a_list_only_where_the_setting_takes_one(config_file, override, key, value):
    assert getattr(load_config(Bakery, config_file, [override]).dough, key) == value


def test_what_is_no_config_or_no_override_is_told_with_sections_of_the_kind(tmp_path, config_file):
    empty = tmp_path / "empty.yaml"
    empty.touch()
    with pytest.raises(ConfigError, match=r"must hold sections such as oven and dough$"):
        load_config(Bakery, str(empty))
    with pytest.raises(ConfigError, match=r"write section\.key=value, as in oven\.degrees=\.\.\.$"):
        load_config(Bakery, config_file, ["trays=2"])


def test_arguments_are_a_config_and_overrides_in_any_order(config_file):
    expected = Bakery(Oven(180.0, 2), Dough(("rye",)))
    for arguments in (
        [config_file, "oven.degrees=180", "oven.trays=2"],
        ["oven.trays=2", config_file, "oven.degrees=180"],
    ):
        assert config_from_arguments(Bakery, arguments) == expected


def test_the_default_config_is_taken_where_none_is_named(tmp_path, config_file):
    default = tmp_path / "default.yaml"
    default.write_text("oven:\n  degrees: 99\n")
    assert config_from_arguments(Bakery, ["oven.trays=3"], str(default)).oven == Oven(99.0, 3)
    assert config_from_arguments(Bakery, [config_file], str(default)).oven == Oven(220.0)


def test_too_many_configs_are_refused_and_none_where_there_is_no_default(config_file):
    with pytest.raises(ConfigError, match=r"^give one config file, not .*bakery\.yaml and b\.yaml: "):
        config_from_arguments(Bakery, [config_file, "b.yaml"])
    with pytest.raises(ConfigError, match=r"^give a config file: CONFIG\.yaml"):
        config_from_arguments(Bakery, ["oven.trays=3"])


def test_an_unknown_option_is_no_config_file(config_file):
    with pytest.raises(
        ConfigError, match=r"^unknown option --trays=2: settings are written section\.key=value"
    ):
        config_from_arguments(Bakery, [config_file, "--trays=2"])


PACKAGE = Path(speechprune.__file__).parent


def test_an_address_in_the_package_is_a_path_from_any_folder(tmp_path, config_file, monkeypatch):
    monkeypatch.chdir(tmp_path)
    override = "dough.label=package://demo/model"
    assert load_config(Bakery, config_file, [override]).dough.label == str(PACKAGE / "demo/model")
    demo = load_config(BatchQAConfig, "package://configs/demo.yaml")
    assert demo.input.manifest == str(PACKAGE / "demo/archive/manifest.jsonl")
    assert demo.output.path == "runs/demo"


def test_below_the_current_folder_it_is_relative(config_file, monkeypatch):
    monkeypatch.chdir(PACKAGE.parent)
    overrides = ["dough.label=package://demo/model", "dough.flours=[package://demo/archive]"]
    dough = load_config(Bakery, config_file, overrides).dough
    assert (dough.label, dough.flours) == ("speechprune/demo/model", ("speechprune/demo/archive",))


def test_what_the_package_lacks_is_refused_with_what_it_has(config_file):
    with pytest.raises(
        ConfigError, match=r"^package://demo/modle is not in the package: demo/ .*archive, model"
    ):
        load_config(Bakery, config_file, ["dough.label=package://demo/modle"])
    with pytest.raises(ConfigError, match=r"^package://configs/dmeo.yaml is not .* configs/ .*demo\.yaml"):
        load_config(Bakery, "package://configs/dmeo.yaml")


def test_a_shipped_config_by_its_bare_name_is_pointed_to():
    with pytest.raises(
        ConfigError, match=r"can't be read: .*; the package ships package://configs/noise\.yaml$"
    ):
        load_config(Bakery, "noise.yaml")


def test_a_config_as_yaml_reads_back_to_itself(tmp_path):
    config = Bakery(Oven(180.0, 3), Dough(("rye", "spelt"), {"rye": 5}, "{name}\n\tKäse: [1]"))
    path = tmp_path / "again.yaml"
    path.write_text(as_yaml(config))
    assert load_config(Bakery, str(path)) == config
