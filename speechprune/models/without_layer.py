"""A module that ends before its last layer."""

from __future__ import annotations

import copy
from typing import Any

import torch


def without_layer(module: Any, name: str) -> Any:
    """Return a module of the same submodules that gives what its last layer takes.

    - ``name``: of that layer in it.
    """
    shortened = copy.copy(module)
    shortened._modules = module._modules | {name: torch.nn.Identity()}
    vars(shortened).pop("forward", None)  # a wrapper for sharded weights would run the whole module
    return shortened
