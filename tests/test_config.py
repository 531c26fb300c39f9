"""The main job's config: what is refused is named with its key, and what is shipped loads."""

from pathlib import Path

import pytest
import yaml

from speechprune.config import ConfigError, load_config, parse_config
from speechprune.pipeline.config import BatchQAConfig
from speechprune.pruning import METHODS
from tests.helpers.own_method import KeepEvery

CONFIGS = Path(__file__).parents[1] / "configs"
LEAST = {"input": {"manifest": "m.jsonl"}, "model": {"path": "some/model"}, "output": {"path": "runs/x"}}


@pytest.fixture
def config_file(tmp_path) -> str:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(LEAST))
    return str(path)


def with_setting(section: str, key: str, value) -> dict:
    return LEAST | {section: LEAST.get(section, {}) | {key: value}}


SHIPPED = [
    "audio_flamingo_3",
    "demo",
    "diva_llama_3_8b",
    "gemma_4_e2b",
    "granite_speech_4_1_2b",
    "phi_4_multimodal",
    "qwen2_5_omni_7b",
    "qwen2_audio_7b",
    "qwen3_omni_30b_a3b",
    "ultravox_v0_5_llama_3_1_8b",
    "voxtral_mini_3b",
]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_configs_load(name):
    assert isinstance(load_config(BatchQAConfig, str(CONFIGS / f"{name}.yaml")), BatchQAConfig)


def test_defaults_fill_what_is_left_out():
    config = parse_config(BatchQAConfig, LEAST)
    assert config.pruning.build() == METHODS["speechprune"](pruning_rate=0.2, phase1_budget=750)
    assert config.input.limit is None
    assert config.output.max_failed_fraction == 0.05


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"prunning": {}}, "unknown section prunning: did you mean pruning?"),
        ({"pruning_rate": 0.4}, "unknown section pruning_rate: did you mean pruning.pruning_rate?"),
        ({"zzz": {}}, "unknown section zzz: valid here: input, model, output, encoding, pruning, answering"),
        ({1: {}}, "unknown section 1"),
        ({"pruning": {"rate": 1}}, "unknown key pruning.rate: did you mean pruning.pruning_rate?"),
        ({"model": {"manifest": "m"}}, "unknown key model.manifest: did you mean input.manifest?"),
        ({"input": {"zzz": 1}}, "unknown key input.zzz: valid here: manifest, track, split, limit"),
        ({"pruning": {2: 1}}, "unknown key pruning.2"),
        ({"pruning": 0.4}, "section pruning must hold keys and values, not 0.4"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(values, sentence):
    with pytest.raises(ConfigError) as refusal:
        parse_config(BatchQAConfig, LEAST | values)
    assert str(refusal.value).startswith(sentence)


@pytest.mark.parametrize(
    ("section", "key", "value", "hint"),
    [
        ("input", "limit", 0, "at least 1"),
        ("input", "limit", "many", "integer"),
        ("input", "manifest", None, "give a text"),
        ("model", "dtype", "fp16", "'auto', 'float32', 'bfloat16' or 'float16'"),
        ("model", "encoder_batch_size", 0, "at least 1"),
        ("model", "random_weights", "perhaps", "boolean"),
        ("pruning", "method", "speechprunes", "did you mean speechprune?"),
        ("pruning", "pruning_rate", 1.0, "from 0 to below 1"),
        ("pruning", "pruning_rate", -0.1, "from 0 to below 1"),
        ("pruning", "pruning_rate", float("nan"), "from 0 to below 1"),
        ("pruning", "pruning_rate", "abc", "number"),
        ("pruning", "phase1_budget", 0, "at least 1"),
        ("pruning", "allocation", "ceil", "'floor'"),
        ("pruning", "scale", "int8", "'xnor'"),
        ("answering", "prompt", "Answer: {question}", "{choices}"),
        ("answering", "choice_format", "{text}", "{letter}"),
        ("answering", "query_text", "choices", "'question'"),
        ("answering", "max_new_tokens", 0, "at least 1"),
        ("answering", "permute_choices", -1, "at least 1"),
        ("output", "max_failed_fraction", 1.5, "from 0 to 1"),
        ("output", "max_failed_fraction", float("nan"), "from 0 to 1"),
        ("ray", "recordings_per_block", 0, "at least 1"),
        ("ray", "max_attempts", 2.5, "integer"),
        ("ray", "gpus_per_actor", -1, "0 or more"),
        ("ray", "gpus_per_actor", float("inf"), "0 or more"),
    ],
)
def test_values_out_of_range_are_refused_with_key_and_value(section, key, value, hint):
    with pytest.raises(ConfigError) as refusal:
        parse_config(BatchQAConfig, with_setting(section, key, value))
    sentence = str(refusal.value)
    assert sentence.startswith(f"{section}.{key} ")
    assert hint in sentence
    assert "\n" not in sentence


def test_a_setting_is_checked_even_where_the_method_has_no_use_for_it():
    values = with_setting("pruning", "pruning_rate", 1.5)
    values["pruning"]["method"] = "truncate"
    with pytest.raises(ConfigError, match="pruning_rate is 1"):
        parse_config(BatchQAConfig, values)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_built_by_name_with_the_settings_it_has(method):
    settings = {"method": method, "pruning_rate": 0.4, "phase1_budget": 500, "scale": "xnor", "seed": 3}
    built = parse_config(BatchQAConfig, LEAST | {"pruning": settings}).pruning.build()
    assert built.name == method
    assert {name: value for name, value in settings.items() if hasattr(built, name)} == {
        name: getattr(built, name) for name in settings if hasattr(built, name)
    }


OWN = "tests.helpers.own_method:KeepEvery"


def test_a_class_of_the_users_own_is_built_with_the_settings_it_has():
    section = {"method": OWN, "phase1_budget": 500, "pruning_rate": 0.4, "settings": {"every": 3}}
    config = parse_config(BatchQAConfig, LEAST | {"pruning": section})
    assert config.pruning.build() == KeepEvery(phase1_budget=500, every=3)


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({"method": "whisper"}, "pruning.method is 'whisper': give speechprune, first_phase, "),
        ({"method": "gone.x:Y"}, "pruning.method is 'gone.x:Y', but there is no module gone: put its folder"),
        (
            {"method": OWN, "settings": {"evry": 3}},
            f"pruning.settings.evry is not a setting of {OWN}: did you",
        ),
        ({"method": OWN, "settings": {"every": 0}}, "pruning.settings.every is 0: give at least 1"),
        ({"method": OWN, "settings": {"every": "no"}}, "pruning.settings.every is 'no': input should be a"),
        ({"settings": {"every": 3}}, "pruning.settings.every is not a setting of speechprune: valid here: "),
    ],
)
def test_a_method_that_cannot_be_is_refused_in_one_sentence(section, sentence):
    with pytest.raises(ConfigError) as refusal:
        parse_config(BatchQAConfig, LEAST | {"pruning": section})
    assert str(refusal.value).startswith(sentence)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("missing", ["input.manifest", "model.path", "output.path"])
def test_a_missing_setting_is_asked_for_by_its_full_name(missing):
    values = {section: settings for section, settings in LEAST.items() if section != missing.split(".")[0]}
    with pytest.raises(ConfigError, match=f"^{missing} is missing: set it .* as {missing}=..."):
        parse_config(BatchQAConfig, values)


def test_min_actors_above_max_actors_is_refused():
    with pytest.raises(ConfigError, match=r"ray\.min_actors is 3, more than max_actors, 2"):
        parse_config(BatchQAConfig, LEAST | {"ray": {"min_actors": 3, "max_actors": 2}})


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("pruning.pruning_rate=0.4", "pruning", "pruning_rate", 0.4),
        ("input.limit=5", "input", "limit", 5),
        ("input.limit=null", "input", "limit", None),
        ("model.random_weights=true", "model", "random_weights", True),
        ("model.path=s3://bucket/a=b/model", "model", "path", "s3://bucket/a=b/model"),
        ("answering.open_prompt=Q = {question}", "answering", "open_prompt", "Q = {question}"),
        ("answering.open_prompt={question}", "answering", "open_prompt", "{question}"),
        ('answering.choice_separator="\\n\\n"', "answering", "choice_separator", "\n\n"),
        ("ray.max_attempts=7", "ray", "max_attempts", 7),
    ],
)
def test_overrides_are_read_as_yaml(config_file, override, section, key, value):
    config = load_config(BatchQAConfig, config_file, [override])
    assert getattr(getattr(config, section), key) == value


def test_the_last_override_of_a_key_wins(config_file):
    overrides = ["pruning.pruning_rate=0.4", "pruning.pruning_rate=0.6"]
    assert load_config(BatchQAConfig, config_file, overrides).pruning.pruning_rate == 0.6


@pytest.mark.parametrize("override", ["limit=3", "input.=3", ".limit=3", "input.limit"])
def test_what_is_no_override_is_refused_with_the_form(config_file, override):
    with pytest.raises(ConfigError, match=r"write section\.key=value"):
        load_config(BatchQAConfig, config_file, [override])


def test_an_override_goes_through_the_same_checks(config_file):
    with pytest.raises(ConfigError, match=r"unknown key pruning\.sacle: did you mean pruning\.scale"):
        load_config(BatchQAConfig, config_file, ["pruning.sacle=sign"])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("input: [unclosed", "is not valid YAML"),
        ("- a list", "must hold sections"),
        ("", "must hold sections"),
        ("pruning: 5", "section pruning must hold keys and values"),
    ],
)
def test_a_file_that_is_no_config_is_refused_in_one_line(tmp_path, text, sentence):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=sentence) as refusal:
        load_config(BatchQAConfig, str(path), ["pruning.pruning_rate=0.4"])
    assert "\n" not in str(refusal.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml can't be read: No such file"):
        load_config(BatchQAConfig, str(tmp_path / "nowhere.yaml"))


def test_a_section_whose_keys_are_all_commented_out_keeps_its_defaults(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(LEAST) + "pruning:\n  # pruning_rate: 0.4\n")
    assert load_config(BatchQAConfig, str(path)) == parse_config(BatchQAConfig, LEAST)
