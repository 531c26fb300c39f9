"""The methods that the paper compares with: they take no part of the recording for its content."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from speechprune.pruning import (
    NoPruning,
    RandomCrop,
    RandomSegments,
    Truncate,
)
from tests.helpers.pruning_inputs import make_inputs

RANDOM_METHODS = [RandomSegments, RandomCrop]


@pytest.mark.parametrize("method_class", RANDOM_METHODS)
def test_item_and_seed_decide_alone(method_class):
    method, inputs = method_class(phase1_budget=100), make_inputs(2_000)
    kept = method.prune(inputs).kept_indices
    np.random.seed(7)
    torch.manual_seed(7)
    np.testing.assert_array_equal(method.prune(make_inputs(2_000, seed=1)).kept_indices, kept)
    others = [
        method_class(phase1_budget=100, seed=1).prune(inputs),
        method.prune(replace(inputs, item_id="meeting.wav#1")),
    ]
    assert all(other.kept_indices.tolist() != kept.tolist() for other in others)


WORKER = """
import numpy as np
import torch
from speechprune.pruning import PruningInputs, RandomCrop, RandomSegments
inputs = PruningInputs(audio_embeds=torch.zeros(500, 1), query_embeds=torch.zeros(1, 1), projections=None,
                       frame_starts=torch.arange(0, 501, 5), item_id="meeting.wav#0")
for method_class in (RandomSegments, RandomCrop):
    print(method_class(phase1_budget=20).prune(inputs).kept_indices.tolist())
"""


def test_any_worker_draws_the_same_tokens():
    """Python's own hash of a string differs from process to process; the seeds must not."""
    inputs = make_inputs(500)
    here = [method_class(phase1_budget=20).prune(inputs).kept_indices for method_class in RANDOM_METHODS]
    there = subprocess.run([sys.executable, "-c", WORKER], capture_output=True, text=True, check=True)
    assert there.stdout.splitlines() == [str(kept.tolist()) for kept in here]


def test_random_keeps_short_segments_from_all_over():
    kept = RandomSegments(phase1_budget=100, pruning_rate=0.2).prune(make_inputs(2_000)).kept_indices
    segments = np.split(kept, np.flatnonzero(np.diff(kept) > 1) + 1)
    assert len(segments) > 10  # 16 drawn, neighbours run together
    assert all(len(segment) % 5 == 0 for segment in segments)
    assert kept[0] < 500
    assert kept[-1] >= 1_500


def test_random_crop_keeps_one_segment_that_may_lie_anywhere():
    inputs = make_inputs(6)
    starts = set()
    for seed in range(60):
        kept = RandomCrop(phase1_budget=5, seed=seed).prune(inputs).kept_indices
        assert kept.tolist() == list(range(kept[0], kept[0] + 4))
        starts.add(int(kept[0]))
    assert starts == {0, 1, 2}


def test_random_segments_may_lie_anywhere():
    drawn = [RandomSegments(phase1_budget=10, seed=seed).prune(make_inputs(23)) for seed in range(60)]
    assert set(np.concatenate([result.kept_indices for result in drawn])) == set(range(23))


def test_truncate_keeps_the_beginning_and_none_keeps_all():
    inputs = make_inputs(53)
    assert Truncate(phase1_budget=20).prune(inputs).kept_indices.tolist() == list(range(20))
    assert Truncate(phase1_budget=80).prune(inputs).kept_indices.tolist() == list(range(53))
    assert NoPruning().prune(inputs).kept_indices.tolist() == list(range(53))
