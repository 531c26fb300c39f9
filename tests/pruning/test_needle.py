"""A needle in an hour: one second among 90,000 audio tokens matches the question.

Phase 1 finds it. Whether phase 2 keeps it is up to W_Q and W_K, as phase 2 never sees the question: with
random projections it is a draw, and one that the second loses if its tokens are alike, since a saturated
softmax gives each query to a single one of them. Tokens of the second kept, of 25, over 20 seeds with
scale ``sign`` (mean, fewest):

=============================  ==========================  ========  ========  =======
projections                    the second's cosine to t̄    PR 0.2    PR 0.5    PR 0.8
=============================  ==========================  ========  ========  =======
blind draw                                                 20.0      12.5      5.0
random                         0.35                        19.4, 16  11.0, 6   4.1, 1
random                         0.9: near copies            10.1, 4   3.1, 0    0.8, 0
attend to t̄                    0.9: near copies            25.0, 25  24.9, 24  24.0, 22
=============================  ==========================  ========  ========  =======
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch

from speechprune.pruning import FirstLayerProjections, PruningInputs, SpeechPrune
from speechprune.pruning.phase1 import first_phase
from speechprune.pruning.similarity import mean_query_directions, token_scores
from tests.helpers.frames import equal_frames

NUM_TOKENS, FRAME_TOKENS, PHASE1_BUDGET = 90_000, 25, 750
FRAME_STARTS = torch.from_numpy(equal_frames(NUM_TOKENS, FRAME_TOKENS))
NUM_DIMENSIONS, NUM_HEADS = 64, 4
SEEDS = range(4)
LOOSE, CLOSE = 0.35, 0.9  # cosines of the second's tokens to the question's direction


@dataclass(frozen=True)
class Hour:
    """An hour of tokens, the indices of the second that matches, and two kinds of projections."""

    audio_embeds: torch.Tensor
    query_embeds: torch.Tensor
    token_scores: torch.Tensor
    needle: np.ndarray
    random: FirstLayerProjections
    attending: FirstLayerProjections  # what every query looks for is the question's direction

    def num_kept(self, projections: FirstLayerProjections, **settings) -> int:
        """Tokens of the needle that both phases leave."""
        inputs = PruningInputs(
            audio_embeds=self.audio_embeds,
            query_embeds=self.query_embeds,
            projections=projections,
            frame_starts=FRAME_STARTS,
            item_id="hour",
            features={"token_scores": self.token_scores},
        )
        return np.isin(self.needle, SpeechPrune(**settings).prune(inputs).kept_indices).sum()


@cache
def make_hour(seed: int, cosine: float) -> Hour:
    """Noise all over; the text embeddings share a direction, as those of real models do."""
    generator = torch.Generator().manual_seed(seed)
    query_embeds = torch.randn(12, NUM_DIMENSIONS, generator=generator)
    query_embeds += torch.randn(NUM_DIMENSIONS, generator=generator)
    direction = mean_query_directions([query_embeds])[:, 0].float()
    direction *= NUM_DIMENSIONS**0.5 / direction.norm()  # as long as a token of noise
    audio_embeds = torch.randn(NUM_TOKENS, NUM_DIMENSIONS, generator=generator)
    second = int(torch.randint(NUM_TOKENS // FRAME_TOKENS, (1,), generator=generator))
    needle = np.arange(second * FRAME_TOKENS, (second + 1) * FRAME_TOKENS)
    if cosine > 0:
        audio_embeds[needle] = cosine * direction + (1 - cosine**2) ** 0.5 * audio_embeds[needle]
    weights = torch.randn(2, NUM_DIMENSIONS, NUM_DIMENSIONS, generator=generator)
    return Hour(
        audio_embeds,
        query_embeds,
        token_scores(audio_embeds, [query_embeds])[0],
        needle,
        random=FirstLayerProjections(*weights, NUM_HEADS, NUM_HEADS),
        attending=FirstLayerProjections(*(direction + 0.5 * weights), NUM_HEADS, NUM_HEADS),
    )


@pytest.mark.parametrize("cosine", [LOOSE, CLOSE])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_first_phase_keeps_the_whole_second(seed, cosine):
    hour = make_hour(seed, cosine)
    survivors = first_phase(hour.token_scores, PHASE1_BUDGET, FRAME_STARTS, "fill")
    assert len(survivors) == PHASE1_BUDGET
    assert np.isin(hour.needle, survivors).all()


@pytest.mark.parametrize("scale", ["sign", "xnor"])
@pytest.mark.parametrize("pruning_rate", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_first_layer_that_attends_to_the_question_keeps_it_through_the_second(seed, pruning_rate, scale):
    """Most of its tokens survive at every rate, where a blind draw would leave 5 of 25 at the highest."""
    hour = make_hour(seed, CLOSE)
    assert hour.num_kept(hour.attending, pruning_rate=pruning_rate, scale=scale) > FRAME_TOKENS / 2


@pytest.mark.parametrize("seed", SEEDS)
def test_at_the_papers_rate_even_random_projections_leave_most_of_it(seed):
    hour = make_hour(seed, LOOSE)
    assert hour.num_kept(hour.random, pruning_rate=0.2) > FRAME_TOKENS / 2


def test_tokens_that_are_near_copies_compete_for_the_same_attention():
    """With random projections fewer of them survive than a blind draw would leave."""
    hours = [make_hour(seed, CLOSE) for seed in SEEDS]
    for pruning_rate in (0.2, 0.5, 0.8):
        num_kept = [hour.num_kept(hour.random, pruning_rate=pruning_rate) for hour in hours]
        assert np.mean(num_kept) < (1 - pruning_rate) * FRAME_TOKENS


@pytest.mark.parametrize("seed", SEEDS)
def test_the_floor_keeps_the_needle_and_throws_the_hay_away(seed):
    """Eq 7 as written: the second that stands out survives, next to nothing of the 725 other tokens does."""
    hour = make_hour(seed, CLOSE)
    survivors = first_phase(hour.token_scores, PHASE1_BUDGET, FRAME_STARTS, "floor")
    assert survivors.tolist() == hour.needle.tolist()
    assert hour.num_kept(hour.random, allocation="floor") == FRAME_TOKENS  # nothing left for phase 2 to drop


@pytest.mark.parametrize("seed", SEEDS)
def test_where_no_second_stands_out_the_floor_keeps_next_to_nothing(seed):
    hour = make_hour(seed, cosine=0)
    floor, fill = (
        first_phase(hour.token_scores, PHASE1_BUDGET, FRAME_STARTS, allocation)
        for allocation in ("floor", "fill")
    )
    assert len(floor) < PHASE1_BUDGET / 50
    assert len(fill) == PHASE1_BUDGET
