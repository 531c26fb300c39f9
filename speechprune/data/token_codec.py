"""Coding of audio tokens in a few bytes, and the search among them: inverted lists of FAISS.

The vector of token i is (x_i, 1) / ‖S_i‖, with x_i its state, and that of word v is (Pᵀt_v, b · t_v), so that
their product is cos(S_i, T_v), as in ``search.words``. A token is coded as the number of its nearest centroid
and a product code of the difference, https://doi.org/10.1109/TPAMI.2010.57.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from speechprune.inference.states import load_states

FaissIndex = Any  # an IndexIVFPQ: the package is an extra
CODE_BYTES = 56  # product code of a token: one byte for each of 56 parts of its vector
NUM_PROBES = 8  # centroids whose tokens a word is compared with, at most
MIN_PROBES = 2  # of these, however many tokens they have: with one, recall is lower
TOKENS_PER_WORD = 1 << 16  # tokens that a word is compared with, but for those and one centroid's, at most
MAX_CENTROIDS = 4096
# tokens that a codebook is learned from: at least one for each of a byte's values
MIN_TOKENS = 256
_TOKENS_PER_CENTROID = 39  # fewer make poor centroids, as FAISS says
_ITERATIONS = 10
_SMALLEST = 1e-12


def token_vectors(window: dict[str, Any]) -> np.ndarray:
    """Vectors of a window's tokens: float32, ``(tokens, d + 1)``, with zeros up to a multiple of 64.

    - ``window``: a row of the index with ``states``, ``scales`` and ``norms``.
    """
    states = load_states(window)
    vectors = np.column_stack([states, np.ones(len(states), np.float32)])
    return _padded(vectors / np.maximum(np.asarray(window["norms"], np.float32), _SMALLEST)[:, None])


def _padded(vectors: np.ndarray) -> np.ndarray:
    return np.pad(vectors, ((0, 0), (0, -vectors.shape[1] % CODE_BYTES)))


@dataclass(frozen=True)
class TokenCodec:
    """Centroids and codebooks of tokens' vectors."""

    quantiser: bytes  # an IndexIVFPQ of FAISS without tokens

    @cached_property
    def name(self) -> str:
        """Hash of all that decides what a code means."""
        return hashlib.sha256(self.quantiser).hexdigest()[:16]


def learn_codec(vectors: np.ndarray, num_tokens: int) -> TokenCodec:
    """Learn centroids and codebooks; the same vectors give the same codec.

    Parameters
    ----------
    vectors
        Of a sample of tokens, at least ``MIN_TOKENS`` of them.
    num_tokens
        Number of tokens that are to be coded: there are about √num_tokens centroids.
    """
    import faiss  # an extra

    most = min(MAX_CENTROIDS, len(vectors) // _TOKENS_PER_CENTROID)
    num_centroids = 2 ** int(min(np.log2(most), round(np.log2(num_tokens) / 2)))
    width = vectors.shape[1]
    index = faiss.IndexIVFPQ(
        faiss.IndexFlatL2(width), width, num_centroids, CODE_BYTES, 8, faiss.METRIC_INNER_PRODUCT
    )
    index.cp.niter = _ITERATIONS
    index.pq.cp.min_points_per_centroid = 1  # else a small archive makes it print warnings
    index.train(vectors)
    return TokenCodec(faiss.serialize_index(index).tobytes())


def empty_index(codec: TokenCodec) -> FaissIndex:
    """Make an index of FAISS without tokens."""
    import faiss

    return faiss.deserialize_index(np.frombuffer(codec.quantiser, np.uint8))


def centroids_of(index: FaissIndex) -> np.ndarray:
    """Return the centroids of a codec's index, float32, ``(C, d)``."""
    centroids: np.ndarray = index.quantizer.reconstruct_n(0, index.nlist)
    return centroids


def encode_tokens(
    index: FaissIndex, centroids: np.ndarray, windows: Iterable[dict[str, Any]]
) -> tuple[np.ndarray, np.ndarray]:
    """Code the tokens of some windows, one after the other.

    - ``index``, ``centroids``: of ``empty_index`` and ``centroids_of``.

    Returns
    -------
    tuple of ndarray
        Numbers of centroids, int64, ``(N,)``, and product codes, uint8, ``(N, CODE_BYTES)``.
    """
    vectors = [token_vectors(window) for window in windows if window["num_tokens"]]
    if not vectors:
        return np.zeros(0, np.int64), np.zeros((0, CODE_BYTES), np.uint8)
    every = np.concatenate(vectors)
    numbers = index.quantizer.assign(every, 1)[:, 0]
    return numbers, index.pq.compute_codes(every - centroids[numbers])


def choose_lists(
    centroids: np.ndarray, words: np.ndarray, lengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the lists that each word is looked for in: those of the centroids of largest product.

    Parameters
    ----------
    centroids
        ``(C, d)``.
    words
        Vectors of V words, float32, ``(V, d + 1)``.
    lengths
        Tokens of each centroid, ``(C,)``. A word that has ``TOKENS_PER_WORD`` gets no more lists than
        ``MIN_PROBES``.

    Returns
    -------
    tuple of ndarray
        Numbers of the lists, best first and then -1, int64, ``(V, NUM_PROBES)``, and the products.
    """
    import faiss

    words = np.ascontiguousarray(_padded(words), np.float32)
    num_probes = min(NUM_PROBES, len(centroids))
    # of largest product, where FAISS's own search would take those of least distance
    products, lists = faiss.knn(words, centroids, num_probes, metric=faiss.METRIC_INNER_PRODUCT)
    before = np.cumsum(lengths[lists], axis=1) - lengths[lists]
    is_read = (before < TOKENS_PER_WORD) | (np.arange(num_probes) < MIN_PROBES)
    return np.where(is_read, lists, -1), products


def add_tokens(index: FaissIndex, number: int, ids: np.ndarray, codes: np.ndarray) -> None:
    """Put tokens into a list of an index: ids, int64, ``(n,)``, and product codes."""
    import faiss

    codes = np.ascontiguousarray(codes)
    index.invlists.add_entries(number, len(ids), faiss.swig_ptr(ids), faiss.swig_ptr(codes))


def search_lists(
    index: FaissIndex, words: np.ndarray, probes: tuple[np.ndarray, np.ndarray], num_matches: int
) -> tuple[np.ndarray, np.ndarray]:
    """Find the tokens nearest to each word in its lists.

    Parameters
    ----------
    index
        Of ``empty_index``, with the tokens of these lists.
    words
        Vectors of V words, float32, ``(V, d + 1)``.
    probes
        Of ``choose_lists``.
    num_matches
        Number of tokens k a word.

    Returns
    -------
    tuple of ndarray
        Approximate cosines, best first, and ids, both ``(V, k)``; of fewer than k tokens the last ids are -1.
    """
    lists, products = probes
    index.nprobe = lists.shape[1]
    words = np.ascontiguousarray(_padded(words), np.float32)
    cosines, ids = index.search_preassigned(words, num_matches, lists, products)
    return cosines, ids
