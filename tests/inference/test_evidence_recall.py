"""Evidence recall: how much of the critical fact is left to answer from."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechprune.inference.evidence import evidence_recall
from speechprune.pruning import METHODS
from speechprune.pruning.base import PruningInputs

TOKEN_MILLISECONDS = 40  # of Qwen2-Audio
LENGTH_SECONDS = 33.0  # of the recording that methods prune: a full window and part of another

MILLISECONDS = st.integers(0, 6_000)
GRID = MILLISECONDS.map(lambda t: t - t % TOKEN_MILLISECONDS)  # where spans and tokens end together


def token_times(num_tokens: int, start_seconds: float) -> np.ndarray:
    """As the encoder gives them, rounding and all."""
    begins = start_seconds + np.arange(num_tokens) / 25
    return np.stack([begins, begins + 1 / 25], axis=1)


@given(
    num_tokens=st.integers(1, 100),
    start=MILLISECONDS,
    span=st.tuples(st.one_of(MILLISECONDS, GRID), st.one_of(MILLISECONDS, GRID))
    .map(sorted)
    .filter(lambda span: span[0] < span[1]),
    data=st.data(),
)
def test_recall_is_the_share_of_the_spans_tokens_that_were_kept(num_tokens, start, span, data):
    """Against a loop over the milliseconds of every token, in whole numbers."""
    kept = sorted(data.draw(st.sets(st.integers(0, num_tokens - 1))))
    spoken = set(range(*span))
    gold = []
    for token in range(num_tokens):
        begin = start + token * TOKEN_MILLISECONDS
        if any(millisecond in spoken for millisecond in range(begin, begin + TOKEN_MILLISECONDS)):
            gold.append(token)

    times = token_times(num_tokens, start / 1000)
    recall = evidence_recall(np.array(kept, np.int64), times, (span[0] / 1000, span[1] / 1000))

    if not gold:
        assert recall is None
    else:
        assert recall == pytest.approx(len([token for token in gold if token in kept]) / len(gold))


def test_a_span_on_the_grid_has_its_own_tokens_and_no_neighbour():
    """0.12 + 0.04 is a little more than 0.16: rounding must not name a token that ends as the span begins."""
    times = token_times(750, 0.0)
    for first in range(0, 740, 7):
        span = (first * 0.04, (first + 5) * 0.04)
        own = np.arange(first, first + 5)
        assert evidence_recall(own, times, span) == 1.0
        assert evidence_recall(np.setdiff1d(np.arange(750), own), times, span) == 0.0


@pytest.mark.parametrize(
    ("method", "span", "recall"),
    [
        ("none", (3.0, 4.5), 1.0),
        ("none", (29.5, 30.5), 1.0),
        ("none", (31.0, 32.5), 1.0),
        ("none", (32.0, 90.0), 1.0),  # of what there is
        ("none", (40.0, 41.0), None),
        ("truncate", (3.0, 4.5), 1.0),
        ("truncate", (0.0, 30.0), 1.0),
        ("truncate", (29.0, 31.0), 0.5),
        ("truncate", (30.0, 31.0), 0.0),
        ("truncate", (31.0, 32.5), 0.0),
    ],
)
@pytest.mark.parametrize("start", [0.0, 60.0])
def test_none_keeps_it_all_and_truncate_what_is_told_in_the_first_30_seconds(
    tiny_lm, long_audio, method, span, recall, start
):
    """Of a recording, and of a slice that begins a minute into it: spans are in the recording's time."""
    audio = long_audio[start]
    item = PruningInputs(
        audio_embeds=audio.embeds,
        query_embeds=audio.embeds[:3],
        projections=tiny_lm.model.language_model.projections,
        frame_starts=torch.from_numpy(audio.frame_starts),
        item_id="x",
    )
    kept = METHODS[method]().prune(item).kept_indices
    assert evidence_recall(kept, audio.times, (start + span[0], start + span[1])) == recall


@pytest.fixture(scope="module")
def long_audio(tiny_lm, speech):
    samples = speech(LENGTH_SECONDS)
    return {start: tiny_lm.encode_many([samples], [start])[0] for start in (0.0, 60.0)}
