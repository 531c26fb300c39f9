"""Cosines of audio tokens with the words of queries: the same to the bit in any batch.

Shapes: S (N, D) audio embeddings, T (L, D) embeddings of a query's tokens, V different tokens (here: words)
in all queries about a recording.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from speechprune.pruning.phase2 import exact_product
from speechprune.pruning.transfers import is_queued, upload

_SMALLEST = 1e-12
_STEPS = 2.0**11  # coordinates of directions are multiples of 1 / _STEPS


def directions(embeds: torch.Tensor) -> torch.Tensor:
    """Unit vectors in whole steps, round(2¹¹ x / ‖x‖); float32, shape ``(rows, D)``.

    Products of such vectors are whole numbers, and by Cauchy-Schwarz no partial sum of one exceeds
    (2¹¹ + √D / 2)² < 2²⁴: float32 adds them without rounding, in any order, so that a cosine depends on
    its two vectors alone, not on the batch. It is off by some 2·10⁻⁴, at most by √D / 2¹¹.
    """
    x = embeds.to(torch.float32, copy=True)
    x *= _STEPS / x.norm(dim=-1, keepdim=True).clamp_min(_SMALLEST)
    return x.round_()


class WordCosines:
    """cos(S_i, T_v) of every audio token i and word v: one product for all queries, each word once.

    Parameters
    ----------
    audio_embeds
        S, shape ``(N, D)``, N at least 1.
    queries
        Q tensors T, each ``(L, D)``, Q at least 1; a token that is repeated counts once.
    token_ids
        The L tokens of each query, on the host: found there, as a GPU would be waited for.

    Attributes
    ----------
    words_of_query
        Numbers of each query's words, in the order of their token ids: int64, on the device of S.
    """

    def __init__(
        self,
        audio_embeds: torch.Tensor,
        queries: Sequence[torch.Tensor],
        token_ids: Sequence[Sequence[int]],
    ) -> None:
        device = audio_embeds.device
        self._audio_embeds = audio_embeds
        vocabulary, first = np.unique(np.concatenate(token_ids), return_index=True)
        words = torch.cat(list(queries)).to(device)[upload(first, device)]
        # float16 holds whole numbers up to 2¹¹: a GPU multiplies them much faster than float32
        self._dtype = torch.float16 if is_queued(words) else torch.float32
        self._words = directions(words).to(self._dtype).T.contiguous()
        own = [np.searchsorted(vocabulary, np.unique(ids)) for ids in token_ids]
        self.words_of_query = upload(np.concatenate(own), device).split([len(words) for words in own])

    def chunks(self, num_rows: int) -> Iterator[torch.Tensor]:
        """The cosines of ``num_rows`` tokens at a time: float32, ``(rows, V)``, multiples of 2⁻²²."""
        for rows in self._audio_embeds.split(num_rows):
            yield exact_product(directions(rows).to(self._dtype), self._words) / _STEPS**2
