"""Code that fails, not data: a bug in a method of the user's ends the job, one odd recording does not."""

from dataclasses import dataclass

import pytest

from speechprune import SpeechPrune
from speechprune.pruning import METHODS, PruningInputs, PruningResult
from tests.helpers.harness import Job, Launch, launch
from tests.helpers.job_items import good_items


@pytest.fixture
def job(tmp_path, tiny_model_folder, speech) -> Job:
    job = Job(tmp_path)
    job.write(good_items(tmp_path, speech), tiny_model_folder, output={"max_failed_fraction": 1})
    return job


@dataclass(frozen=True, kw_only=True)
class BrokenMethod(SpeechPrune):
    """A pruning method with a bug."""

    def keep(self, inputs: PruningInputs, num_kept: int) -> PruningResult:
        return "many" + num_kept


@dataclass(frozen=True, kw_only=True)
class OddMethod(SpeechPrune):
    """A pruning method that one recording's questions trip up."""

    def keep(self, inputs: PruningInputs, num_kept: int) -> PruningResult:
        if inputs.item_id.startswith("short"):
            raise TypeError("an odd recording")
        return super().keep(inputs, num_kept)


def launch_with(job: Job, monkeypatch, method: type[SpeechPrune], *overrides: str) -> Launch:
    """Launch it with another method in the place of the default one."""
    monkeypatch.setitem(METHODS, "speechprune", method)
    return launch(job.config, *overrides)


def error_types(job: Job) -> dict[str, str]:
    return {item_id: row["error_type"] for item_id, row in job.rows("failed").items()}


def test_a_bug_in_a_method_ends_the_job_with_its_traceback(job, monkeypatch):
    result = launch_with(job, monkeypatch, BrokenMethod, "ray.recordings_per_block=1")
    assert result.code == 1
    assert 'return "many" + num_kept' in result.lines[-1]
    assert "TypeError: can only concatenate str" in result.lines[-1]
    assert "3 recordings in a row failed by the same TypeError at " in result.lines[-1].splitlines()[-1]


def test_so_does_one_that_all_of_a_few_recordings_met_after_their_rows_are_written(job, monkeypatch):
    result = launch_with(job, monkeypatch, BrokenMethod, "input.limit=3")
    assert result.code == 1
    sentence = result.lines[-1].splitlines()[-1]
    assert sentence.startswith("the job ends: all 2 recordings met the same TypeError")
    assert error_types(job) == dict.fromkeys(["short-1", "short-2", "long-1"], "TypeError")


def test_one_odd_recording_is_failed_rows_and_one_traceback(job, monkeypatch):
    result = launch_with(job, monkeypatch, OddMethod)
    assert result.code == 0
    tracebacks = [line for line in result.lines if "Traceback" in line]
    assert len(tracebacks) == 1
    assert 'raise TypeError("an odd recording")' in tracebacks[0]
    assert error_types(job) == dict.fromkeys(["short-1", "short-2"], "TypeError")
