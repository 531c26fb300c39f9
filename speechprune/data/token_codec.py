"""Coding of audio tokens in a few bytes, and the search among them: an inverted file of FAISS.

The vector of token i is (x_i, 1) / ‖S_i‖, with x_i its state, and that of word v is (Pᵀt_v, b · t_v), so that
their product is cos(S_i, T_v), as in ``search.words``. A token is coded as the number of its nearest centroid
and a product code of the difference, https://doi.org/10.1109/TPAMI.2010.57.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from speechprune.inference.states import load_states

FaissIndex = Any  # an IndexIVFPQ: the package is an extra
CODE_BYTES = 64  # product code of a token: one byte for each of 64 parts of its vector
NUM_PROBES = 16  # centroids whose tokens a word is compared with
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

    @property
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


def encode_tokens(index: FaissIndex, windows: Iterable[dict[str, Any]]) -> bytes:
    """Code the tokens of some windows, one after the other, all with the same number of bytes.

    ``index``: of ``empty_index``.
    """
    vectors = [token_vectors(window) for window in windows if window["num_tokens"]]
    return b"".join(index.sa_encode(some).tobytes() for some in vectors)


def search_words(index: FaissIndex, words: np.ndarray, num_matches: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the tokens nearest to each word among those of its ``NUM_PROBES`` best centroids.

    Parameters
    ----------
    index
        Of ``empty_index``, with codes of tokens.
    words
        Vectors of V words, float32, ``(V, d + 1)``.
    num_matches
        Number of tokens k a word.

    Returns
    -------
    tuple of ndarray
        Approximate cosines, best first, and the ids that their tokens were added under, both ``(V, k)``.
        Where there are fewer than k tokens, the last ids are -1.
    """
    import faiss

    words = np.ascontiguousarray(_padded(words))
    centroids = index.quantizer.reconstruct_n(0, index.nlist)
    index.nprobe = min(NUM_PROBES, index.nlist)
    # the centroids of largest product, where index.search would take those of least distance
    products, probes = faiss.knn(words, centroids, index.nprobe, metric=faiss.METRIC_INNER_PRODUCT)
    cosines, ids = index.search_preassigned(words, num_matches, probes, products)
    return cosines, ids
