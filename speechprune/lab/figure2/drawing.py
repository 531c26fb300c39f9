"""Drawing of Fig. 2 by t-SNE, and the distance of kept tokens to the text as a number."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from speechprune.sweep.figures.style import SETTINGS, new_figure, set_title

PRUNED, KEPT, TEXT = "#c9ccd0", "#0072B2", "#CC3311"
MAX_HEADING_CHARACTERS = 45  # fit in half of the width
_SMALLEST_NORM = 1e-12


@dataclass(frozen=True)
class Panel:
    """Panel of one method.

    Parameters
    ----------
    heading
        Method and settings.
    kept_indices
        Indices of the kept audio tokens.
    lines
        Text below the panel.
    """

    heading: str
    kept_indices: np.ndarray
    lines: Sequence[str]


def nearest_query_distances(audio_embeds: np.ndarray, query_embeds: np.ndarray) -> np.ndarray:
    """Return the cosine distance of every audio token to the query token nearest to it.

    d_i = min_j (1 − cos(S_i, T_j)). The mean of d over the kept tokens, beside that over all tokens, shows
    how much closer to the text the kept tokens are.

    Parameters
    ----------
    audio_embeds
        S, shape ``(N, D)``.
    query_embeds
        T, shape ``(L, D)``, L at least 1.

    Returns
    -------
    numpy.ndarray
        float64, shape ``(N,)``, 0 to 2.
    """
    distances: np.ndarray = 1 - (_normalised(audio_embeds) @ _normalised(query_embeds).T).max(axis=1)
    return distances


def project(audio_embeds: np.ndarray, query_embeds: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    """Project audio and query tokens together by t-SNE, shape ``(N + L, 2)``.

    On normalised embeddings, whose Euclidean distances have the order of their cosine distances, with
    the principal components as start, so that the same tokens give the same figure.

    Parameters
    ----------
    perplexity
        About how many neighbours a token has; of few tokens at most a third.
    seed
        Seed of the optimiser.
    """
    from sklearn.manifold import TSNE  # takes a second to load
    from threadpoolctl import threadpool_limits

    tokens = _normalised(np.concatenate([audio_embeds, query_embeds]))
    perplexity = min(perplexity, (len(tokens) - 1) / 3)
    tsne = TSNE(init="pca", perplexity=perplexity, random_state=seed)
    with threadpool_limits(1):  # its threads synchronise thousands of times: slow on a busy machine
        projected: np.ndarray = tsne.fit_transform(tokens)
    return projected


def _normalised(embeds: np.ndarray) -> np.ndarray:
    embeds = embeds.astype(np.float64)
    return embeds / np.maximum(np.linalg.norm(embeds, axis=1, keepdims=True), _SMALLEST_NORM)


def draw_panels(places: np.ndarray, num_audio_tokens: int, panels: Sequence[Panel], title: str) -> Figure:
    """Draw panels side by side over the same projection: pruned audio gray, kept audio blue, text red.

    Parameters
    ----------
    places
        Result of ``project``: audio tokens first.
    """
    audio, text = places[:num_audio_tokens], places[num_audio_tokens:]
    with matplotlib.rc_context(SETTINGS):
        figure = new_figure(5.4)
        all_axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
        for axes, panel in zip(all_axes, panels, strict=True):
            is_kept = np.zeros(num_audio_tokens, bool)
            is_kept[panel.kept_indices] = True
            layers = (
                (audio[~is_kept], PRUNED, "o", 7, f"audio, pruned ({(~is_kept).sum():,})"),
                (audio[is_kept], KEPT, "o", 9, f"audio, kept ({is_kept.sum():,})"),
                (text, TEXT, "*", 60, f"text ({len(text):,})"),
            )
            for points, colour, marker, size, label in layers:
                axes.scatter(*points.T, s=size, c=colour, marker=marker, linewidths=0, label=label)
            axes.set_title(textwrap.fill(panel.heading, MAX_HEADING_CHARACTERS), loc="left", fontsize=10)
            axes.spines[:].set_visible(False)
            axes.set_xlabel("\n".join(panel.lines), loc="left", fontsize=8.5)
            axes.set(xticks=[], yticks=[])
            axes.legend(loc="upper left", bbox_to_anchor=(0, -0.16), ncols=3, fontsize=7.5, columnspacing=0.8)
        set_title(figure, title)
    return figure
