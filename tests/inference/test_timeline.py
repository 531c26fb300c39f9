"""The timeline of an answer: all of its recording, in few parts, with what was kept of each."""

import itertools

import numpy as np
import pytest

from speechprune.inference.evidence import MAX_TIMELINE_PARTS, make_timeline


@pytest.mark.parametrize("num_frames", [1, 7, MAX_TIMELINE_PARTS, MAX_TIMELINE_PARTS + 1, 3600])
def test_parts_cover_the_recording_and_count_what_was_kept(num_frames):
    generator = np.random.default_rng(num_frames)
    frame_starts = np.append(np.arange(num_frames) * 5, num_frames * 5 - 2)  # the last frame is short
    num_tokens = frame_starts[-1]
    begins = 30.0 + np.arange(num_tokens) / 5
    times = np.stack([begins, begins + 0.2], axis=1)
    scores = generator.normal(size=num_tokens)
    kept = np.sort(generator.choice(num_tokens, num_tokens // 3, replace=False))

    parts = make_timeline(scores, kept, times, frame_starts)

    assert len(parts) <= MAX_TIMELINE_PARTS
    assert (parts[0].start, parts[-1].end) == (30.0, times[-1, 1])
    assert all(one.end == pytest.approx(next_one.start) for one, next_one in itertools.pairwise(parts))
    for part in parts:
        inside = (begins > part.start - 0.1) & (begins < part.end - 0.1)
        assert part.kept == pytest.approx(np.isin(np.flatnonzero(inside), kept).mean(), abs=1e-4)
        assert part.score == pytest.approx(scores[inside].mean(), abs=1e-4)


def test_a_method_that_does_not_look_at_the_question_has_no_scores():
    times = np.array([[0.0, 1.0], [1.0, 2.0]])
    parts = make_timeline(None, np.array([1]), times, np.array([0, 1, 2]))
    assert [(part.kept, part.score) for part in parts] == [(0.0, None), (1.0, None)]
