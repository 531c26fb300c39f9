"""Settings that take text get the text that was written, from a config file and from the command line."""

from dataclasses import dataclass, field

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from speechprune.config import ConfigError, as_yaml, load_config
from speechprune.pipeline.config import BatchQAConfig
from speechprune.typed_yaml import read_override, read_yaml

NULLS = ("", "~", "null", "Null", "NULL")
TEXTS = st.text(st.characters(blacklist_categories=["Cs"]))


@dataclass(frozen=True)
class Batch:
    label: str = "none"
    note: str | None = None
    flours: tuple[str, ...] = ()
    places: str | dict[str, str] = "here"
    grams: int = 1


@dataclass(frozen=True)
class Bakery:
    batch: Batch = field(default_factory=Batch)


def is_quoted(text: str) -> bool:
    return len(text) > 1 and text[0] in "\"'" and text[-1] == text[0]


@given(TEXTS)
def test_an_override_of_a_text_is_the_text_as_it_stands(text):
    if not is_quoted(text) and text:
        assert read_override(text, str) == text
        if text not in NULLS:
            assert read_override(text, str | None) == text


@given(TEXTS)
def test_a_text_in_quotes_is_what_yaml_reads_there(text):
    quoted = yaml.safe_dump(text, default_style='"', width=1 << 20, allow_unicode=True).removesuffix("\n")
    assert read_override(quoted, str) == text


# PyYAML itself writes the three unusual line ends so that they read back as others
@settings(max_examples=30)
@given(
    st.one_of(
        st.text(st.characters(blacklist_categories=["Cs", "Zl", "Zp"], blacklist_characters="\x85")),
        st.sampled_from(["0123456", "on", "no", "2026-11-27", "1_000", "1:30", "#", "null"]),
    )
)
def test_a_config_with_any_text_reads_back_to_itself(tmp_path_factory, text):
    config = Bakery(Batch(label=text, note=text, flours=(text,), places={"a": text}))
    path = tmp_path_factory.getbasetemp() / "texts.yaml"
    path.write_text(as_yaml(config), encoding="utf-8")
    assert load_config(Bakery, str(path)) == config


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("output.path=runs/team #5/out", "runs/team #5/out"),
        ("input.manifest=/data/Meetings #3/m.jsonl", "/data/Meetings #3/m.jsonl"),
        ("output.path=2026-11-27", "2026-11-27"),
        ("output.path=2026-13-45", "2026-13-45"),
        ("output.path=20261127", "20261127"),
        ("output.path=a: b", "a: b"),
        ("output.path=--- x", "--- x"),
        ("output.path=*star", "*star"),
        ("model.revision=0123456", "0123456"),
        ("model.revision=1e5", "1e5"),
        ("model.revision=# 1", "# 1"),
        ("model.revision=null", None),
        ("model.revision='null'", "null"),
        ("input.split=on", "on"),
        ("answering.choice_separator= ", " "),
        ('answering.choice_separator="\\n"', "\n"),
        ('answering.choice_separator=""', ""),
        ("input.limit=20", 20),
    ],
)
def test_settings_of_the_job(override, value):
    section, key = override.partition("=")[0].split(".")
    config = load_config(BatchQAConfig, "package://configs/demo.yaml", [override])
    assert getattr(getattr(config, section), key) == value


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("label: 0123456", {"label": "0123456"}),
        ("label: on", {"label": "on"}),
        ("label: 2026-11-27", {"label": "2026-11-27"}),
        ("label: 2026-13-27", {"label": "2026-13-27"}),
        ("note: null", {"note": None}),
        ("note: no", {"note": "no"}),
        ("flours: [1.50, yes, rye]", {"flours": ["1.50", "yes", "rye"]}),
        ("places: {NO: no, 1: 2}", {"places": {False: "no", 1: "2"}}),
        ("grams: 5", {"grams": 5}),
        ("<<: {label: 007}", {"label": "007"}),
    ],
)
def test_texts_in_a_config_file(written, read):
    hints = {"label": str, "note": str | None, "flours": tuple[str, ...], "grams": int}
    assert read_yaml(written, hints | {"places": str | dict[str, str]}) == read


def test_an_empty_override_of_a_text_is_refused_with_the_quotes(tmp_path):
    """``output.path=$OUT`` with an empty variable is no folder."""
    with pytest.raises(ConfigError, match=r'^output\.path is empty: give a text, .* \("" for an empty one\)'):
        load_config(BatchQAConfig, "package://configs/demo.yaml", ["output.path="])


def test_a_config_of_endless_brackets_is_one_sentence(tmp_path):
    path = tmp_path / "deep.yaml"
    path.write_text("a: " + "[" * 2_000)
    with pytest.raises(ConfigError, match="nested too deeply"):
        load_config(Bakery, str(path))
