"""Encoding of query words in the space of the encoder's states: a search needs neither model nor projection.

With the projector S_i = P x_i + b, cos(S_i, T_v) = (x_i · Pᵀt_v + b · t_v) / ‖S_i‖, where t_v = T_v / ‖T_v‖
and ‖S_i‖ is in the index: one token and one word cost 2d FLOPs, not 2(d + 1)D.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from speechprune.inference.prompts import prompt_of
from speechprune.inference.types import AnsweringOptions
from speechprune.inference.word_vectors import word_vectors
from speechprune.models.base import SpeechModel

_SMALLEST = 1e-12


@dataclass(frozen=True)
class QueryWords:
    """The distinct words of some queries."""

    token_ids: np.ndarray  # ascending, int64, ``(V,)``
    directions: np.ndarray  # Pᵀt_v of every word, float32, ``(V, d)``
    offsets: np.ndarray  # b · t_v, float32, ``(V,)``
    of_query: list[np.ndarray]  # indices of each query's words, ascending and unique

    @property
    def vectors(self) -> np.ndarray:
        """(Pᵀt_v, b · t_v), float32, ``(V, d + 1)``: what a search index compares with tokens' vectors."""
        return np.column_stack([self.directions, self.offsets])

    def cosines(self, states: np.ndarray, norms: np.ndarray) -> np.ndarray:
        """cos(S_i, T_v) of tokens x_i, ``(tokens, d)``, with norms ‖S_i‖: float32, ``(tokens, V)``.

        Token ids, ``(tokens, 1)``, stand for vectors with a one at their place.
        """
        if np.issubdtype(states.dtype, np.integer):
            products: np.ndarray = self.directions.T[states[:, 0]] + self.offsets
        else:
            products = states @ self.directions.T + self.offsets
        products /= np.maximum(norms, _SMALLEST)[:, None]
        return products


def encode_query_words(
    model: SpeechModel, questions: Sequence[tuple[str, Sequence[str] | None]], options: AnsweringOptions
) -> QueryWords:
    """Encode the distinct words of questions, with their choices where ``options.query_text`` includes them.

    Raises
    ------
    PromptError
        A question that this model can't be asked.
    """
    queries = []
    for question, choices in questions:
        prompt = prompt_of(model, question, choices, options)
        queries.append(prompt.query_ids(options.query_text))
    token_ids, places = np.unique(np.concatenate(queries), return_inverse=True)
    directions, offsets = word_vectors(model, token_ids.tolist())
    ends = np.cumsum([len(query) for query in queries])[:-1]
    return QueryWords(
        token_ids=token_ids,
        directions=directions,
        offsets=offsets,
        of_query=[np.unique(part) for part in np.split(places, ends)],
    )
