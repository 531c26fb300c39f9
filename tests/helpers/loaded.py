"""What comes of loading a model, edited or not: its weights, or an error of one line."""

import json
from pathlib import Path

import pytest
import torch

from speechprune.models.hub import ModelError

WEIGHTS = "model.safetensors"


def edit(file: Path, **values) -> None:
    """Set values of a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def error_of(call, *args, **kwargs) -> str:
    """The message, which must be one line."""
    with pytest.raises(ModelError) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    return str(caught.value)


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)
