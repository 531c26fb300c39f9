"""Learning rates, and Muon and AdamW in float32 over a module in bfloat16."""

import copy
from itertools import pairwise

import pytest
import torch
from torch import nn

from speechprune.lab.training.language_model import LanguageObjective
from speechprune.lab.training.schedule import (
    FINAL_SHARE,
    MAX_GRADIENT_NORM,
    WARMUP_STEPS,
    WEIGHT_DECAY,
    MasterWeights,
    learning_rate,
)


class Small(nn.Module):
    """One matrix of a layer, and weights of every other kind."""

    def __init__(self):
        super().__init__()
        self.tower = nn.Module()
        self.tower.layers = nn.Sequential(nn.Linear(12, 20), nn.Tanh(), nn.LayerNorm(20))
        self.head = nn.Linear(20, 3)

    def forward(self, inputs):
        return self.head(self.tower.layers(inputs))


@pytest.fixture
def module() -> nn.Module:
    torch.manual_seed(0)
    return Small()


def loss_of(module: nn.Module, scale: float, step: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(step)
    inputs = torch.randn(8, 12, generator=generator)
    dtype = next(module.parameters()).dtype
    return scale * module(inputs.to(dtype)).float().square().mean()


@pytest.mark.parametrize("scale", [0.05, 30.0], ids=["gradient below the limit", "clipped"])
def test_a_step_is_adamw_in_float32_within_the_rounding_of_bfloat16(module, scale):
    plain = copy.deepcopy(module)
    optimizer = torch.optim.AdamW(plain.parameters(), lr=0.01, weight_decay=0.01, betas=(0.9, 0.98))
    weights = MasterWeights(module)
    loss_of(plain, scale).backward()
    torch.nn.utils.clip_grad_norm_(plain.parameters(), MAX_GRADIENT_NORM)
    norms = [parameter.grad.norm() for parameter in plain.parameters()]
    assert (torch.stack(norms).norm() > 0.99 * MAX_GRADIENT_NORM) == (scale > 1)
    optimizer.step()
    weights.step(loss_of(module, scale), rate=0.01)
    expected = dict(plain.named_parameters())
    for name, parameter in module.named_parameters():
        assert parameter.dtype == torch.bfloat16
        if name == "tower.layers.0.weight":
            continue
        # the first step of Adam moves every weight by the rate, whichever way its gradient points
        moved_alike = torch.isclose(parameter.float(), expected[name], rtol=2**-8, atol=1e-4)
        assert moved_alike.float().mean() > 0.97


def test_a_matrix_of_a_layer_moves_along_the_orthogonal_factor_of_its_gradient(module):
    """Muon's step, by a singular value decomposition: every direction of the gradient counts alike."""
    matrix = module.tower.layers[0].weight
    before = matrix.detach().clone()
    plain = copy.deepcopy(module)
    loss_of(plain, 1.0).backward()
    u, singular, v = torch.linalg.svd(plain.tower.layers[0].weight.grad)
    rank = int((singular > 1e-3 * singular[0]).sum())
    weights = MasterWeights(module)
    weights.step(loss_of(module, 1.0), rate=0.01)
    names = [name for name, _ in module.named_parameters()]
    after = weights.masters[names.index("tower.layers.0.weight")]
    strength = (u.T @ (before * (1 - 0.01 * WEIGHT_DECAY) - after) @ v.T)[:rank, :rank]
    # a fifth of the rate, root mean square, as AdamW's steps are; Newton's five iterations are rough
    wanted = 0.2 * 0.01 * 20**0.5
    assert rank > 4
    assert strength.diagonal().min() > 0.6 * wanted
    assert strength.diagonal().max() < 1.25 * wanted
    assert (strength - strength.diagonal().diag()).abs().max() < 0.1 * wanted


def test_masters_keep_what_bfloat16_would_lose(module):
    """A thousand steps of a ten-thousandth each move a weight of one by a tenth; in bfloat16 by nothing."""
    module = nn.Linear(1, 1, bias=False)
    nn.init.ones_(module.weight)
    weights = MasterWeights(module)
    for _ in range(1000):
        weights.step(module.weight.float().sum(), rate=1e-4)
    assert module.weight.item() == pytest.approx(0.9, abs=0.01)
    assert (torch.ones((), dtype=torch.bfloat16) - 1e-4).item() == 1


def test_a_restored_state_goes_on_to_the_same_bits(module):
    other = copy.deepcopy(module)
    weights = MasterWeights(module)
    for step in range(3):
        weights.step(loss_of(module, 1.0, step), rate=0.01)
    state = copy.deepcopy(weights.state_dict())
    resumed = MasterWeights(other)
    resumed.load_state_dict(state)
    for step in range(3, 6):
        weights.step(loss_of(module, 1.0, step), rate=0.01)
        resumed.step(loss_of(other, 1.0, step), rate=0.01)
    for parameter, again in zip(module.parameters(), other.parameters(), strict=True):
        assert torch.equal(parameter, again)
    for master, again in zip(weights.masters, resumed.masters, strict=True):
        assert torch.equal(master, again)


def test_frozen_weights_stay_and_buffers_stay_exact(model):
    """Rotary frequencies rounded to bfloat16 would be three radians off at the end of a 90 s recording."""
    rotary = model.model.language_model.rotary_emb
    exact = rotary.inv_freq.clone()
    embeddings = model.get_input_embeddings().weight
    before = embeddings.detach().clone()
    objective = LanguageObjective(model.model.language_model, model.lm_head)
    weights = MasterWeights(objective)
    assert embeddings.dtype == torch.bfloat16
    assert sum(master.numel() for master in weights.masters) == (
        sum(parameter.numel() for parameter in objective.parameters()) - embeddings.numel()
    )
    weights.step(objective.lm_head.weight.float().square().sum(), rate=0.1)
    assert torch.equal(embeddings, before.bfloat16())
    assert torch.equal(rotary.inv_freq, exact)


def test_the_rate_warms_up_to_its_peak_and_falls_to_its_final_share():
    rates = [learning_rate(step, 2000, peak=0.5) for step in range(2000)]
    assert rates[0] == pytest.approx(0.5 / WARMUP_STEPS, rel=0.01)
    assert all(before < after for before, after in pairwise(rates[: WARMUP_STEPS - 10]))
    assert all(before > after for before, after in pairwise(rates[WARMUP_STEPS:]))
    assert 0.95 * 0.5 < max(rates) <= 0.5
    assert rates[1000] == pytest.approx(0.5 * (1 + FINAL_SHARE) / 2)
    assert rates[-1] == pytest.approx(0.5 * FINAL_SHARE, rel=0.01)
