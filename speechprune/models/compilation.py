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

    Short windows and single prompts are compiled when the first of them comes. Generation runs uncompiled.

    - ``backend``: of ``torch.compile``.

    Raises
    ------
    ModelError
        They can't be compiled here.
    """
    for layer in model.layers:
        layer.compile(backend=backend)
    window = Window(np.zeros(model.window_samples, np.int16), 0.0)
    audio_id, width = model.language_model.audio_token_id, model.shape.decoder.hidden_size
    try:
        model.embed_windows([window] * model.encoder_batch_size)
        for number, length in _PROMPTS:
            embeds = torch.zeros(length, width, dtype=model.dtype, device=model.device)
            model.next_token_logits([SplicedPrompt(embeds, [audio_id] * length)] * number)
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(
            f"model.compile is true, but torch.compile can't compile {model.name} here ({reason}): set it to "
            "false, or install what it names (a C compiler, say)"
        ) from error
