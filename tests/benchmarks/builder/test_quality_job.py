"""Quality that models measure: which recordings, in what form, and what is refused before a build."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from speechprune.audio import SAMPLE_RATE
from speechprune.benchmarks.builder.card import QualityOptions, RecordingFacts
from speechprune.benchmarks.builder.quality_job import check_quality_models, measure_quality


@pytest.fixture
def recordings(tmp_path) -> list[RecordingFacts]:
    """Three recordings of one value each: 0.1, 0.2 and 0.3 of the loudest."""
    for number in (1, 2, 3):
        samples = np.full(SAMPLE_RATE, 0.1 * number)
        samples[:10] = -samples[:10]  # else it is no sound
        soundfile.write(tmp_path / f"{number}.flac", samples, SAMPLE_RATE)
    return [
        RecordingFacts(questions=[{"audio": f"{number}.flac"}], text="", audio_seconds=1.0)
        for number in (1, 2, 3)
    ]


def rate(samples: np.ndarray, rate: int) -> dict[str, float]:
    """Twice, three, four and five times the loudest sample."""
    assert (samples.dtype, rate) == (np.float32, SAMPLE_RATE)
    loudest = float(np.abs(samples).max())
    return {f"{name}_mos": times * loudest for times, name in enumerate(("ovrl", "sig", "bak", "p808"), 2)}


@pytest.mark.parametrize(("limit", "num_recordings"), [(10, 3), (2, 2)])
def test_ratings_are_means_over_a_sample_of_the_recordings(
    tmp_path, recordings, monkeypatch, limit, num_recordings
):
    monkeypatch.setitem(sys.modules, "speechmos", SimpleNamespace(dnsmos=SimpleNamespace(run=rate)))
    options = QualityOptions(dnsmos=True, limit=limit)
    measured = measure_quality(options, str(tmp_path), recordings, "local")["dnsmos"]
    assert measured["num_recordings"] == num_recordings
    assert len(measured["date"]) == len("2026-11-27")
    if num_recordings == len(recordings):
        assert measured["overall"] == pytest.approx(2 * 0.2, rel=1e-3)
        assert measured["p808"] == pytest.approx(5 * 0.2, rel=1e-3)
    assert measured["speech"] == pytest.approx(measured["background"] * 3 / 4)


def test_a_missing_package_is_named_before_anything_is_built(monkeypatch):
    monkeypatch.setitem(sys.modules, "speechmos", None)
    with pytest.raises(ModuleNotFoundError) as error:
        check_quality_models(QualityOptions(dnsmos=True))
    assert error.value.name.partition(".")[0] == "speechmos"
