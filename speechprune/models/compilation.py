"""``torch.compile`` for a loaded model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from speechprune.models.base import SpeechModel, SplicedPrompt, Window
from speechprune.models.hub import ModelError

_PROMPTS = ((2, 64), (3, 96))  # number and tokens: at the second sizes torch makes code for any


def compile_layers(model: SpeechModel, backend: str | Callable[..., Any] = "inductor") -> None:
    """Compile the layers one by one, and run them once: layers of a kind share one compilation.

    A single prompt is compiled when the first comes. Generation runs uncompiled.

    - ``backend``: of ``torch.compile``.

    Raises
    ------
    ModelError
        They can't be compiled here.
    """
    for layer in model.layers:
        layer.compile(backend=backend)
    lengths = (model.window_samples, model.window_samples // 2)
    audio_id, width = model.language_model.audio_token_id, model.shape.decoder.hidden_size
    try:
        for length in lengths:
            model.embed_windows([Window(np.zeros(length, np.int16), 0.0)] * model.encoder_batch_size)
        for number, length in _PROMPTS:
            embeds = torch.zeros(length, width, dtype=model.dtype, device=model.device)
            model.next_token_logits([SplicedPrompt(embeds, [audio_id] * length)] * number)
        if model.device.type == "cuda":
            model.graph_encoder()
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(
            f"model.compile is true, but torch.compile can't compile {model.name} here ({reason}): set it to "
            "false, or install what it names (a C compiler, say)"
        ) from error
