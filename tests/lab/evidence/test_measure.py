"""The measurement on texts: which tokens are the key sentence's, and what is computed of those kept."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechprune.benchmarks.builder.script import Script, ScriptQuestion, Speaker, Turn
from speechprune.config import load_config
from speechprune.lab.evidence import measure
from speechprune.lab.evidence.config import EvidenceConfig, TextsOptions
from speechprune.lab.evidence.measure import area_under_curve, bootstrap_interval, measure_on_text
from speechprune.lab.evidence.tables import as_markdown
from speechprune.lab.evidence.texts import chosen_scripts
from tests.helpers.embeddings import SEEDS
from tests.helpers.tiny_cascade import save_tiny_cascade

ROOT = Path(__file__).parents[3]
SENTENCES = ["The browser goes on Monday.", "Simon writes the letter.", "We meet in May.", "That is all."]


def script(key):
    return Script(
        scenario="meeting",
        topic="work",
        subtopic="days",
        speakers=(Speaker(name="spk_1", gender="female"),),
        turns=(Turn(speaker="spk_1", sentences=tuple(SENTENCES)),),
        questions=(
            ScriptQuestion(
                question="When?", choices=("Monday", "May", "June", "July"), answer="A", turn=0, sentence=key
            ),
        ),
    )


@pytest.fixture
def texts(monkeypatch):
    scripts = [(f"item-{number}", script(number % 4)) for number in range(4)]
    monkeypatch.setattr("speechprune.lab.evidence.texts.read_spiral_scripts", lambda path: list(scripts))
    return scripts


def test_development_items_are_none_of_those_reported(texts):
    options = {"texts": "data.jsonl", "num_development": 1, "num_reported": 2}
    reported = [item_id for item_id, _ in chosen_scripts(TextsOptions(**options))]
    developed = [item_id for item_id, _ in chosen_scripts(TextsOptions(**options, development=True))]
    assert len(set(reported) | set(developed)) == len(reported) + len(developed) == 3


def test_what_keeps_all_keeps_the_key_sentence_and_what_keeps_half_does_so_of_a_random_one(texts, tmp_path):
    config = load_config(
        EvidenceConfig,
        "package://configs/evidence_on_text.yaml",
        [
            f"model.path={save_tiny_cascade(tmp_path / 'model')}",
            "input.num_development=0",
            "input.num_answered=2",
            f"output.path={tmp_path / 'results.json'}",
        ],
    )
    results = measure_on_text(config)
    assert json.loads((tmp_path / "results.json").read_text()) == json.loads(json.dumps(results))
    rows = {row["point"]: row for row in results["rows"]}
    assert rows["none"]["key_kept"] == 1
    assert rows["none"]["num_answered"] == 2
    assert all(row["num_items"] == 4 for row in rows.values())
    assert rows["first_phase(pruning_rate=0.8)"]["key_kept"] < 0.6
    paired = rows["late_interaction(pruning_rate=0.8)"]
    assert paired["reference"] == "first_phase(pruning_rate=0.8)"
    assert paired["p_value"] <= 1
    low, high = paired["key_kept_difference"]
    assert low <= paired["key_kept"] - rows["first_phase(pruning_rate=0.8)"]["key_kept"] <= high
    lines = as_markdown(results).splitlines()
    assert sum("late_interaction" in line for line in lines) == 2
    assert all(line.count("|") == lines[0].count("|") for line in lines[:10])


@given(SEEDS, st.integers(2, 30), st.integers(1, 4))
def test_area_under_curve_is_the_share_of_pairs_in_order(seed, num_tokens, num_values):
    generator = np.random.default_rng(seed)
    scores, is_key = generator.integers(0, num_values, num_tokens), generator.random(num_tokens) < 0.5
    is_key[:2] = True, False
    pairs = [(a, b) for a in scores[is_key] for b in scores[~is_key]]
    naive = sum((a > b) + (a == b) / 2 for a, b in pairs) / len(pairs)
    assert area_under_curve(scores, is_key) == pytest.approx(naive)


def test_bootstrap_interval_is_that_of_a_normal_mean(monkeypatch):
    monkeypatch.setattr(measure, "NUM_RESAMPLES", 4_000)
    values = np.random.default_rng(1).normal(0.3, 1.0, 400)
    half = 1.96 * values.std() / 20
    expected = (values.mean() - half, values.mean() + half)
    assert bootstrap_interval(values) == pytest.approx(expected, abs=0.01)


def test_the_tables_of_the_docs_are_those_of_the_measured_files():
    page = (ROOT / "docs/results.md").read_text()
    for name in ("smollm2", "qwen2.5"):
        measured = json.loads((ROOT / f"docs/measured/evidence_on_text_{name}.json").read_text())
        assert measured["items"] == "reported"
        tables = [table for table in as_markdown(measured).split("\n\n") if table.count("\n") > 1]
        assert tables
        assert [table for table in tables if table not in page] == []
