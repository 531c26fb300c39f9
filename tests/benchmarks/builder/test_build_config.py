"""The builder's config: what is refused is named, what is shipped loads, what changes bytes is known."""

from pathlib import Path

import pytest
import yaml

from speechprune.benchmarks.builder.config import BuildConfig
from speechprune.config import ConfigError, load_config, parse_config

SHIPPED = Path(__file__).parents[3] / "configs/benchmark.yaml"
LEAST = {"output": {"path": "out"}}
CHAT = {"chat": {"model": "some-model"}, "writer": {"kind": "chat"}}


def test_the_shipped_config_says_the_defaults():
    """And nothing else: a comment beside a value would otherwise be about another."""
    assert load_config(BuildConfig, str(SHIPPED)) == parse_config(
        BuildConfig, {"output": {"path": "runs/benchmark"}}
    )


def test_the_sections_that_are_commented_out_in_it_load():
    sections = ("chat:", "piper:", "kokoro:", "endpoint:", "hugging_face:")
    lines = SHIPPED.read_text().splitlines()
    begins = [number for number, line in enumerate(lines) if line.removeprefix("# ") in sections]
    assert len(begins) == len(sections)
    for number in begins:
        while lines[number].startswith("# "):
            lines[number] = lines[number].removeprefix("# ")
            number += 1
    config = parse_config(BuildConfig, yaml.safe_load("\n".join(lines)))
    assert config.chat.model
    assert config.endpoint.voices
    assert config.hugging_face.model
    assert len(config.piper.male) == len(config.kokoro.voices) == 2


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"writer": {"kind": "chat"}}, "chat.model is missing: writer.kind=chat needs the section chat"),
        ({"speech": {"kind": "endpoint"}}, "endpoint.model is missing: speech.kind=endpoint"),
        ({"speech": {"kind": "hugging_face"}}, "hugging_face.model is missing"),
        ({"speech": {"kind": "piper"}}, "piper.female is missing: speech.kind=piper needs the section piper"),
        ({"piper": {"female": ["a.onnx"], "male": []}}, "piper.male is empty: list a voice"),
        ({"chat": {}}, "chat.model is missing: set it in the config file or as chat.model="),
        ({"writer": {"kind": "spiral"}}, "writer.texts is missing"),
        ({"writer": {"kind": "poet"}}, "writer.kind is 'poet'"),
        ({"items": {"num_recordings": None}}, "items.num_recordings is null"),
        (
            {"items": {"num_recording": 3}},
            "unknown key items.num_recording: did you mean",
        ),
        ({"items": {"min_seconds": 100}}, "items.min_seconds is 100 and max_seconds 95"),
        ({"output": {"path": "out", "audio_format": "mp3"}}, "output.audio_format is 'mp3'"),
        ({"speech": {"overlap_fraction": 2}}, "speech.overlap_fraction is 2"),
        ({"acoustics": {"snr_db": 1000}}, "acoustics.snr_db is 1000"),
        ({"quality": {"limit": 0}}, "quality.limit is 0"),
        ({"ray": {"cpus_per_actor": 0}}, "ray.cpus_per_actor is 0"),
        ({"ray": {"gpus_per_actor": -1}}, "ray.gpus_per_actor is -1"),
        ({"ray": {"recordings_per_block": 0}}, "ray.recordings_per_block is 0"),
    ],
)
def test_what_makes_no_benchmark_is_refused_by_its_name(values, sentence):
    with pytest.raises(ConfigError) as refusal:
        parse_config(BuildConfig, LEAST | values)
    assert str(refusal.value).startswith(sentence)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"items": {"seed": 1}}, "items.seed"),
        ({"items": {"max_seconds": 99}}, "items.max_seconds"),
        ({"output": {"path": "out", "audio_format": "opus"}}, "output.audio_format"),
        ({"speech": {"overlap_fraction": 0.5}}, "speech.overlap_fraction"),
        ({"acoustics": {"telephone": True}}, "acoustics.telephone"),
        ({"writer": {"kind": "chat"}, "chat": {"model": "other"}}, "chat.model"),
        (
            {"writer": {"kind": "chat"}, "chat": {"model": "some-model", "temperature": 0.5}},
            "chat.temperature",
        ),
    ],
)
def test_what_changes_a_byte_is_among_the_settings(values, name):
    before = parse_config(BuildConfig, LEAST | CHAT).settings()
    after = parse_config(BuildConfig, LEAST | CHAT | values).settings()
    assert [key for key in after if after[key] != before[key]] == [name]


@pytest.mark.parametrize(
    "values",
    [
        {"output": {"path": "elsewhere"}},
        {"quality": {"asr_model": "some/asr"}},
        {"ray": {"cpus_per_actor": 0.5, "recordings_per_block": 1}},
        {"chat": {"model": "some-model", "base_url": "http://mirror/v1", "max_attempts": 9}},
        {"endpoint": {"model": "unused", "voices": ["a:female"]}},
    ],
)
def test_what_changes_none_is_not(values):
    settings = parse_config(BuildConfig, LEAST | CHAT).settings()
    assert parse_config(BuildConfig, LEAST | CHAT | values).settings() == settings


def test_texts_count_by_their_content(tmp_path):
    def settings_with(name: str, text: str) -> dict:
        (tmp_path / name).write_text(text)
        writer = {"kind": "spiral", "texts": str(tmp_path / name)}
        return parse_config(BuildConfig, LEAST | {"writer": writer}).settings()

    assert settings_with("a.jsonl", "one") == settings_with("b.jsonl", "one")
    assert settings_with("a.jsonl", "one") != settings_with("b.jsonl", "two")


def test_speech_does_not_decide_what_is_said():
    loud, quiet = (
        parse_config(BuildConfig, LEAST | CHAT | {"acoustics": {"telephone": value}})
        for value in (True, False)
    )
    assert loud.settings() != quiet.settings()
    assert loud.script_settings() == quiet.script_settings()
