"""Weights in 4 bits: groups of numbers along a row, each with a scale of its own."""

from __future__ import annotations

import math

import torch

GROUP_SIZE = 64
LARGEST = 7
SCALES = ".scales"


def pack(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Round matrices to 4 bits a number; all else becomes float16.

    Returns
    -------
    dict
        Of a matrix ``(rows, columns)`` two numbers a byte, ``(rows, columns / 2)``, and under its name with
        ``.scales`` float16, ``(rows, groups)``.
    """
    packed = {}
    for name, weight in weights.items():
        if weight.ndim != 2:
            packed[name] = weight.half()
            continue
        groups = weight.float().unflatten(1, (-1, math.gcd(GROUP_SIZE, weight.shape[1])))
        scales = (groups.abs().amax(-1) / LARGEST).half()
        steps = (groups / scales.float().clamp_min(torch.finfo(torch.float16).tiny)[..., None]).round()
        numbers = steps.clamp(-LARGEST, LARGEST).flatten(1).to(torch.int8) + LARGEST
        packed[name] = (numbers[:, ::2] + 16 * numbers[:, 1::2].to(torch.int16)).to(torch.uint8)
        packed[name + SCALES] = scales
    return packed


def unpack(packed: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Give the weights of ``pack`` as float32."""
    weights = {}
    for name, stored in packed.items():
        if name.endswith(SCALES):
            continue
        if name + SCALES not in packed:
            weights[name] = stored.float()
            continue
        scales = packed[name + SCALES].float()
        numbers = torch.stack([stored % 16, stored // 16], dim=-1).flatten(1).float() - LARGEST
        weights[name] = (numbers.unflatten(1, (scales.shape[1], -1)) * scales[..., None]).flatten(1)
    return weights
