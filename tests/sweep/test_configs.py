"""The sweeps that the project ships, and what a config of one's own may say."""

import shlex
from pathlib import Path

import pytest

from speechprune.benchmarks.builder.config import BuildConfig
from speechprune.config import ConfigError, config_from_arguments, parse_config
from speechprune.sweep.config import SweepConfig

CONFIGS = Path(__file__).parents[2] / "configs"
ON_SPEECH = CONFIGS / "evidence_on_speech.yaml"
NOT_BUILT = [ON_SPEECH, CONFIGS / "evidence_on_text.yaml"]  # the second is no sweep
SWEEPS = sorted(
    path for path in CONFIGS.glob("*.yaml") if "\ngrid:" in path.read_text() and path not in NOT_BUILT
)
SECTIONS = {"input": {"manifest": "m.jsonl"}, "model": {"path": "m"}, "output": {"path": "out"}}


def sweep_of(points: list[dict], **sections) -> SweepConfig:
    return parse_config(SweepConfig, SECTIONS | {"grid": {"points": points}} | sections)


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_shipped_sweeps_can_be_read(path, monkeypatch):
    monkeypatch.chdir(CONFIGS.parent)
    config = config_from_arguments(SweepConfig, [str(path)])
    assert len(config.points) >= 2
    for source in config.input.manifests.values():
        benchmark = config_from_arguments(BuildConfig, shlex.split(source))
        assert benchmark.items.fact_group == "held_out"


def test_the_sweep_on_speech_can_be_read(tmp_path, monkeypatch):
    (tmp_path / "whisper-base-smollm2-135m").mkdir()
    monkeypatch.setenv("SPEECHPRUNE_MODELS", str(tmp_path))
    config = config_from_arguments(SweepConfig, [str(ON_SPEECH)])
    assert all(Path(manifest).is_file() for manifest in config.input.manifests.values())
    assert config.reference == {"method": "first_phase", "similarity": "mean"}


def test_the_paper_has_its_sweeps():
    assert {path.stem for path in SWEEPS} == {
        *("paper_table1", "paper_table2", "paper_fig3"),
        *("overhead", "long", "noise", "phase_balance", "pauses"),
    }


def test_benchmarks_of_one_folder_are_the_same_everywhere(monkeypatch):
    monkeypatch.chdir(CONFIGS.parent)
    settings: dict[str, dict] = {}
    for path in SWEEPS:
        for source in config_from_arguments(SweepConfig, [str(path)]).input.manifests.values():
            benchmark = config_from_arguments(BuildConfig, shlex.split(source))
            assert settings.setdefault(benchmark.output.path, benchmark.settings()) == benchmark.settings()


def test_phase_balance_keeps_the_same_tokens_everywhere():
    config = config_from_arguments(SweepConfig, [str(CONFIGS / "phase_balance.yaml")])
    assert {point.method.num_kept(2_250) for point in config.points} == {300}


def test_both_checks_are_on_unless_told_otherwise():
    assert sweep_of([{"method": "none"}]).answering.permuted_check
    config = sweep_of([{"method": "none"}], answering={"no_audio_baseline": False})
    assert config.answering.permuted_check
    assert not config.answering.no_audio_baseline


def test_the_reference_is_the_whole_recording_where_the_grid_has_it():
    assert sweep_of([{"method": ["none", "truncate"]}]).reference == {"method": "none"}
    assert sweep_of([{"method": "truncate"}]).reference is None
    asked = sweep_of([{"method": ["none", "truncate"]}], report={"reference": {"method": "truncate"}})
    assert asked.reference == {"method": "truncate"}


def test_a_query_for_all_points_is_the_default_of_each():
    points = [{"method": "first_phase"}, {"method": "first_phase", "query_text": "question_and_choices"}]
    config = sweep_of(points, answering={"query_text": "question"})
    assert [point.query_text for point in config.points] == ["question", "question_and_choices"]


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"grid": {"points": [{"method": "none", "seed": 1}]}}, "grid.points, block 1: none has no setting"),
        ({"report": {"reference": {"method": "random"}}}, "report.reference {method: random} is no point"),
        ({"input": {"manifest": {}}}, "input.manifest is empty"),
        ({"input": {"manifest": "m.jsonl", "limit": 0}}, "input.limit is 0"),
        ({"grid": {}}, "grid.points is missing"),
    ],
)
def test_what_cannot_be_swept_is_one_sentence(sections, sentence):
    with pytest.raises(ConfigError) as error:
        sweep_of([{"method": "none"}], **sections)
    assert sentence in str(error.value)
