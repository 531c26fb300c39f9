"""The fixed table of word embeddings: target of the encoder, input of the LLM.

Phase 1 of SpeechPrune compares audio embeddings with text embeddings by cosine, so both must live in one
space: the encoder is trained to give the embedding of a word at the time of the word.
"""

from __future__ import annotations

import torch
from torch.nn import functional

NORM = 4.0
BLANK_COSINE = -0.15  # of every word with the blank
SPREADING_STEPS = 300


def make_word_table(num_tokens: int, size: int, blank_id: int, seed: int) -> torch.Tensor:
    """Make nearly orthogonal directions, one per token, and one for the blank with a negative cosine to all.

    The latter is the blank: what the encoder gives where no word ends. In the table it has the row of the
    audio placeholder, which the LLM never reads.

    Returns
    -------
    torch.Tensor
        ``(num_tokens, size)``, rows of norm ``NORM``.
    """
    generator = torch.Generator().manual_seed(seed)
    directions = functional.normalize(torch.randn(num_tokens, size - 1, generator=generator), dim=1)
    step = min(4.0, 0.08 * size**2 / num_tokens)  # the closer they lie, the stronger they push one another
    for _ in range(SPREADING_STEPS):  # push the closest apart
        cosines = directions @ directions.T
        cosines.fill_diagonal_(0)
        push = (cosines.abs() ** 3 * cosines.sign()) @ directions
        directions = functional.normalize(directions - step * push, dim=1)
    along_blank = torch.full((num_tokens, 1), BLANK_COSINE)
    table = torch.cat([along_blank, directions * (1 - BLANK_COSINE**2) ** 0.5], dim=1) * NORM
    table[blank_id] = 0
    table[blank_id, 0] = NORM
    rotation, _ = torch.linalg.qr(torch.randn(size, size, generator=generator))  # no axis is special
    return table @ rotation
