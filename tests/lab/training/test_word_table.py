"""The table of directions that tells words apart."""

import pytest
import torch
from torch.nn import functional

from speechprune.lab.training import word_table
from speechprune.lab.training.word_table import BLANK_COSINE, NORM, make_word_table

BLANK = 3


@pytest.fixture(scope="module")
def table() -> torch.Tensor:
    """As large as the demo model's, but spread out less long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(word_table, "SPREADING_STEPS", 30)
        return make_word_table(714, 192, BLANK, seed=0)


def largest_cosine(table: torch.Tensor) -> float:
    """Of any two different words."""
    words = functional.normalize(torch.cat([table[:BLANK], table[BLANK + 1 :]]).double(), dim=1)
    return max(float((words[i + 1 :] @ words[i]).abs().max()) for i in range(len(words) - 1))


def test_all_rows_have_one_norm_and_all_words_turn_away_from_the_blank(table):
    torch.testing.assert_close(table.norm(dim=1), torch.full((714,), NORM))
    cosines = functional.cosine_similarity(table, table[BLANK], dim=1)
    others = torch.cat([cosines[:BLANK], cosines[BLANK + 1 :]])
    torch.testing.assert_close(others, torch.full((713,), BLANK_COSINE))


def test_no_two_words_are_alike(table):
    chance = torch.randn(714, 192, generator=torch.Generator().manual_seed(0))
    assert largest_cosine(chance) > 0.3
    assert largest_cosine(table) < 0.15


@pytest.mark.parametrize(("num_tokens", "size", "highest"), [(300, 48, 0.35), (300, 24, 0.6)])
def test_spreading_does_not_overshoot_in_few_dimensions(num_tokens, size, highest):
    chance = torch.randn(num_tokens, size, generator=torch.Generator().manual_seed(0))
    spread = largest_cosine(make_word_table(num_tokens, size, BLANK, seed=0))
    assert spread < min(highest, largest_cosine(chance) - 0.1)


def test_no_axis_is_special(table):
    """The blank's direction, and all words, are spread over all dimensions."""
    assert table[BLANK].abs().max() < 0.3 * NORM
    assert table.square().mean(0).max() < 3 * table.square().mean()


def test_the_seed_makes_the_table():
    one, again, other = (make_word_table(60, 32, BLANK, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.allclose(one, other, atol=0.1)
