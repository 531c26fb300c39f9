"""Late interaction: windows ranked by how many different words of the query find a match in them.

Ours, after ColBERT's MaxSim (https://arxiv.org/abs/2004.12832). Phase 1 scores tokens one by one, so in an
hour the matches of a query's common words fill the budget. A sentence that answers the query has matches of
several of its words, the rare ones among them, side by side.

Shapes: S (N, D) audio embeddings, T (L, D) embeddings of the query's tokens, of which V are different
(here: words), f tokens a second, blocks of 2.5 s, B = ceil(N / block) of them, windows of two neighbouring
blocks, W = max(1, B - 1) of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from speechprune.pruning.phase1 import ascending_keys
from speechprune.pruning.transfers import is_queued
from speechprune.pruning.word_cosines import WordCosines

SENTENCE_SECONDS = 5  # a window of two blocks: about a sentence
NEARLY_BEST = 0.8  # share of the best window's score that makes another one worth keeping
_ROWS_PER_CHUNK = 2048  # float32 copies of S are made about this many rows at a time: whole blocks
_SMALLEST = 1e-12


@dataclass(frozen=True)
class WordMatches:
    """Where a query's words are matched in a recording: all that is kept of one pass over it."""

    # max over a block's tokens i of cos(S_i, T_v), for every block and word v: float32, ``(B, V)``
    best_cosines: torch.Tensor
    block_tokens: int  # tokens in a block; the last may be short


def block_tokens(token_rate: float) -> int:
    """Tokens in half a window at f tokens a second, at least 1."""
    return max(1, int(SENTENCE_SECONDS * token_rate / 2))


def match_words(
    audio_embeds: torch.Tensor,
    queries: Sequence[torch.Tensor],
    token_ids: Sequence[Sequence[int]],
    token_rate: float,
) -> list[WordMatches]:
    """Best match of each word in each block, max over tokens i of cos(S_i, T_v), for all queries at once.

    One pass over S, and one product for the words of all Q queries of a recording, each word once.

    Parameters
    ----------
    audio_embeds
        S, shape ``(N, D)``, N at least 1.
    queries
        Q tensors T, each ``(L, D)``; a token that is repeated counts once.
    token_ids
        The L tokens of each query.
    token_rate
        f.

    Returns
    -------
    list of WordMatches
        One a query; its words in the order of their token ids.
    """
    if not queries:
        return []
    size = block_tokens(token_rate)
    cosines = WordCosines(audio_embeds, queries, token_ids)
    chunks = []
    for rows in cosines.chunks(max(1, _ROWS_PER_CHUNK // size) * size):
        num_full = len(rows) // size * size
        chunks.append(rows[:num_full].view(-1, size, rows.shape[1]).amax(dim=1))
        if num_full < len(rows):
            chunks.append(rows[num_full:].amax(dim=0, keepdim=True))
    best_cosines = torch.cat(chunks)
    return [WordMatches(best_cosines[:, own], size) for own in cosines.words_of_query]


def window_scores(best_cosines: torch.Tensor) -> torch.Tensor:
    """How much more than other windows a window matches, M_w = Σ_v max(0, z_wv)².

    z_wv = (m_wv - mean_w m_wv) / deviation_w m_wv, with m_wv the best cosine of word v in window w. Each
    word is measured against the recording itself, so that no threshold depends on the model. If a word
    is matched in a share p of the windows, and as well in each, its z² is (1 - p) / p there: rare words
    weigh most, as idf has them do in text.

    Parameters
    ----------
    best_cosines
        Of ``WordMatches``, shape ``(B, V)``.

    Returns
    -------
    torch.Tensor
        float64, shape ``(W,)``; window w is the blocks w and w + 1.
    """
    m = window_maxima(best_cosines)
    mean = m.mean(dim=0)
    return sum_of_squares(m, mean, (m - mean).square().mean(dim=0).sqrt())


def window_maxima(best_cosines: torch.Tensor) -> torch.Tensor:
    """m_wv, the best cosine of word v in window w: of its two blocks; float64, ``(B, V)`` to ``(W, V)``."""
    m = best_cosines.double()
    return m[:-1].maximum(m[1:]) if len(m) > 1 else m


def sum_of_squares(m: torch.Tensor, mean: torch.Tensor, deviation: torch.Tensor) -> torch.Tensor:
    """Σ_v max(0, z_wv)², z_wv = (m_wv - mean_v) / deviation_v; float64, ``(W, V)`` to ``(W,)``."""
    z = (m - mean) / deviation.clamp(min=_SMALLEST)
    return z.clamp(min=0.0).square().sum(dim=1)


def choose_windows(scores: torch.Tensor, block_tokens: int, num_tokens: int, num_kept: int) -> torch.Tensor:
    """Blocks of the windows that score nearly as high as the best, M_w ≥ 0.8 · max M.

    The best comes first, equal ones in the order of time, and none after there are enough tokens: a
    clear case is one window, a doubtful one as many as the prompt can hold.

    Parameters
    ----------
    scores
        M, shape ``(W,)``.
    block_tokens
        Tokens in a block.
    num_tokens
        N.
    num_kept
        k.

    Returns
    -------
    torch.Tensor
        bool, shape ``(B,)``.
    """
    num_windows, num_blocks = len(scores), -(-num_tokens // block_tokens)
    ranked = scores.sort(descending=True, stable=True)
    places = torch.arange(num_windows, device=scores.device)
    rank = torch.empty_like(places).scatter(0, ranked.indices, places)
    # a block comes with the better of the two windows that it is in
    neighbours = torch.nn.functional.pad(rank, (1, 1), value=num_windows)
    rank_of_block = neighbours[:num_blocks].minimum(neighbours[1 : num_blocks + 1])
    sizes = torch.full_like(rank_of_block, block_tokens)
    sizes[-1] = num_tokens - (num_blocks - 1) * block_tokens
    num_new = torch.zeros_like(rank).scatter_add(0, rank_of_block, sizes)
    num_before = num_new.cumsum(dim=0) - num_new
    is_chosen = (ranked.values >= NEARLY_BEST * ranked.values[0]) & (num_before < num_kept)
    return is_chosen[rank_of_block]


def distance_to_chosen(chosen: torch.Tensor, block_tokens: int, num_tokens: int) -> torch.Tensor:
    """How far the nearest token of a chosen block is, d_i = min over such j of |i - j|; int64, ``(N,)``.

    - ``chosen``: bool, shape ``(B,)``.
    """
    blocks = torch.arange(len(chosen), device=chosen.device)
    far = 2 * num_tokens
    ends = torch.where(chosen, (blocks + 1) * block_tokens - 1, -far).cummax(dim=0).values
    starts = torch.where(chosen, blocks * block_tokens, far).flip(0).cummin(dim=0).values.flip(0)
    tokens = torch.arange(num_tokens, device=chosen.device)
    before, after = (edges.repeat_interleave(block_tokens)[:num_tokens] for edges in (ends, starts))
    # inside a chosen block both are negative or zero
    return (tokens - before).minimum(after - tokens).clamp_(min=0)


def keep_nearest(distances: torch.Tensor, scores: torch.Tensor, num_kept: int) -> torch.Tensor:
    """The k tokens nearest to the chosen ones, ties to the higher phase 1 score, then to the earlier.

    Where the chosen windows hold more than k tokens, phase 1's score decides inside them; where they hold
    fewer, what surrounds them is kept.

    Parameters
    ----------
    distances
        d, shape ``(N,)``.
    scores
        s, shape ``(N,)``.
    num_kept
        k, 1 to N.

    Returns
    -------
    torch.Tensor
        int64 token indices, ascending.
    """
    if is_queued(distances):  # a GPU would wait for the number of those that are near
        return ascending_keys(distances, scores).argsort(stable=True)[:num_kept].sort().values
    farthest = np.partition(distances.numpy(), num_kept - 1)[num_kept - 1]
    # few of an hour's tokens: sorting all takes five times as long
    near = (distances <= farthest).nonzero()[:, 0]
    order = ascending_keys(distances[near], scores[near]).argsort(stable=True)
    return near[order[:num_kept].sort().values]
