"""Fig. 2: the number is what it is lines_shown to be, and the job draws what the methods keep."""

import importlib.util
import io
import json
import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from loguru import logger
from PIL import Image

from speechprune.lab.figure2.drawing import Panel, draw_panels, nearest_query_distances, project
from speechprune.sweep.figures import render

ROOT = Path(__file__).parents[3]
ARCHIVE = ROOT / "speechprune/demo/archive"


def load_job():
    spec = importlib.util.spec_from_file_location("figure2_job", ROOT / "jobs/figure2.py")
    job = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(job)
    return job


@pytest.fixture(autouse=True)
def no_screen(monkeypatch):
    """The screen is the standard error of the time when it was first used."""
    monkeypatch.setattr("speechprune.pipeline.terminal.log_to_screen", lambda: None)


@pytest.fixture
def logged():
    lines: list[str] = []
    sink = logger.add(lines.append, format="{message}")
    yield lines
    logger.remove(sink)


@pytest.fixture(scope="module")
def embeds() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    return generator.normal(size=(40, 6)).astype(np.float32), generator.normal(size=(3, 6)).astype(np.float32)


def test_distance_to_the_nearest_text_token_against_a_loop(embeds):
    audio, text = embeds
    for s, distance in zip(audio.tolist(), nearest_query_distances(audio, text), strict=True):
        cosines = [
            sum(a * b for a, b in zip(s, t, strict=True)) / (math.hypot(*s) * math.hypot(*t))
            for t in text.tolist()
        ]
        assert distance == pytest.approx(1 - max(cosines), abs=1e-9)


def test_a_token_that_is_a_text_token_lies_on_it_and_silence_is_far(embeds):
    _, text = embeds
    audio = np.stack([7 * text[1], np.zeros(6)])
    assert nearest_query_distances(audio, text) == pytest.approx([0, 1])


def test_the_same_tokens_give_the_same_places(embeds):
    first, second = (project(*embeds, perplexity=30, seed=1) for _ in range(2))
    assert first.shape == (43, 2)
    assert np.array_equal(first, second)


def test_the_picture_tells_each_panel_apart(embeds):
    places = project(*embeds, perplexity=5, seed=0)
    panels = [Panel("speechprune", np.arange(5), ["kept $1$"]), Panel("random", np.arange(9, 20), ["kept 2"])]
    files = render(draw_panels(places, 40, panels, "Who & when?"))
    words = " ".join(ElementTree.fromstring(files["svg"]).itertext())
    for text in (
        "speechprune",
        "random",
        "kept $1$",
        "kept 2",
        "kept (5)",
        "kept (11)",
        "text (3)",
        "Who & when?",
    ):
        assert text in words
    assert Image.open(io.BytesIO(files["png"])).width == 1200


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_model_folder):
    """Runs the job about eight seconds each of two of the demo's recordings."""
    folder = tmp_path_factory.mktemp("map")
    rows = [json.loads(line) for line in (ARCHIVE / "manifest.jsonl").read_text().splitlines()]
    rows = [
        {
            "item_id": row["item_id"],
            "audio": str(ARCHIVE / row["audio"]),
            "question": row["question"],
            "choices": row["choices"],
            "answer": row["answer"],
            "start": 1.0,
            "end": 9.0,
        }
        for row in [rows[0], rows[1], rows[4]]
    ]
    rows.append(rows[0] | {"item_id": "lost", "audio": str(folder / "lost.wav")})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    overrides = [
        f"input.manifest={folder}/manifest.jsonl",
        f"model.path={tiny_model_folder}",
        "model.dtype=float32",
        "model.device=cpu",
    ]
    job = load_job()
    return lambda *more: job.main([*overrides, f"output.path={folder}/out", *more]), folder / "out"


def test_the_job_draws_an_item_and_averages_over_those_that_can_be_answered(run, capfd, logged):
    main, out = run
    assert main("map.item_id=recording-0001-1", "input.limit=4", "map.beside=random_crop") == 0
    told = capfd.readouterr().out
    assert any("left out: lost" in line for line in logged)
    for name in ("speechprune(pruning_rate=0.8)", "random_crop(pruning_rate=0.8)"):
        assert name in told
        assert name in " ".join(ElementTree.parse(out / "figure2.svg").getroot().itertext())
    assert "mean of 3 items" in told
    assert Image.open(out / "figure2.png").width == 1200


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("map.beside=speechprune", "map.beside is speechprune, which pruning.method is too"),
        ("map.item_id=nobody", "map.item_id is nobody, which the manifest has not"),
        ("map.item_id=lost", "item lost can't be drawn"),
        ("map.perplexity=0", "map.perplexity is 0"),
        ("map.colour=red", "unknown key map.colour"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(run, logged, override, sentence):
    main, _ = run
    assert main(override, "input.limit=1") == 2
    assert sentence in logged[-1]
    assert logged[-1].count("\n") == 1


def test_the_config_that_is_shipped_is_complete(logged, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert load_job().main([str(ROOT / "configs/paper_fig2.yaml"), "map.item_id=nobody"]) == 2
    assert "map.item_id is nobody" in logged[-1]
