"""Word statistics of a model's whole vocabulary on a sample of windows, so that a search reads two numbers a
word.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from speechprune.data.word_statistics import WordStatistics
from speechprune.inference.states import load_states
from speechprune.inference.word_vectors import word_vectors
from speechprune.models.base import SpeechModel

_WORDS_PER_PRODUCT = 8192  # whose cosines with a window's tokens are in memory together
_SMALLEST = 1e-12


@torch.inference_mode()
def measure_vocabulary(
    model: SpeechModel, windows: Iterable[dict[str, Any]], block_tokens: int
) -> WordStatistics:
    """Measure the statistics of all text tokens, in the order of their ids; V · d products a token.

    - ``windows``: rows of the index with ``states``, ``scales`` and ``norms``, each with tokens.
    - ``block_tokens``: number of tokens in a block, half a window of ``search.scan``.
    """
    num_words = len(model.language_model.embedding.weight)
    vectors = [torch.from_numpy(some).to(model.device) for some in word_vectors(model, range(num_words))]
    directions, offsets = (some.split(_WORDS_PER_PRODUCT) for some in vectors)
    total = WordStatistics(0, np.zeros(num_words), np.zeros(num_words))
    for window in windows:
        states = torch.from_numpy(load_states(window)).to(model.device)
        norms = torch.tensor(window["norms"], dtype=torch.float32, device=model.device).clamp_min(_SMALLEST)
        maxima = []
        for some, offset in zip(directions, offsets, strict=True):
            cosines = torch.addmm(offset, states, some.T) / norms[:, None]
            maxima.append(torch.stack([block.amax(dim=0) for block in cosines.split(block_tokens)]))
        total += WordStatistics.of(torch.cat(maxima, dim=1).cpu().numpy())
    return total
