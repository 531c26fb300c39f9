"""Small embeddings, and their cosines by definition."""

import numpy as np
import torch
from hypothesis import strategies as st

SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def embeddings(draw, max_queries=1):
    """Small S and T; whole numbers bring zero rows, equal rows and scores of zero."""
    generator = np.random.default_rng(draw(SEEDS))
    num_dimensions = draw(st.integers(1, 40))

    def rows(num_rows):
        shape = (num_rows, num_dimensions)
        values = generator.integers(-1, 2, shape) if whole else generator.normal(size=shape)
        return torch.from_numpy(values.astype(np.float32))

    whole = draw(st.booleans())
    audio_embeds = rows(draw(st.integers(1, 60)))
    return audio_embeds, [rows(draw(st.integers(1, 8))) for _ in range(draw(st.integers(1, max_queries)))]


def cosines(audio_embeds, query_embeds):
    """F (N x L) of Eq 4 as written, in float64."""
    S, T = audio_embeds.double().numpy(), query_embeds.double().numpy()
    F = np.zeros((len(S), len(T)))
    for i, j in np.ndindex(F.shape):
        norms = np.linalg.norm(S[i]) * np.linalg.norm(T[j])
        F[i, j] = S[i] @ T[j] / norms if norms > 0 else 0.0
    return F
