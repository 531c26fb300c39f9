"""Random inputs of a pruning method."""

import torch

from speechprune.pruning import (
    FirstLayerProjections,
    PruningInputs,
)
from speechprune.pruning.late_interaction import match_words
from speechprune.pruning.similarity import best_scores, token_scores
from tests.helpers.frames import equal_frames

FRAME_TOKENS = 5


def make_inputs(num_tokens, seed=0, item_id="meeting.wav#0", frame_starts=None):
    generator = torch.Generator().manual_seed(seed)
    audio_embeds, query_embeds = (torch.randn(rows, 16, generator=generator) for rows in (num_tokens, 6))
    token_ids = range(len(query_embeds))
    return PruningInputs(
        audio_embeds=audio_embeds,
        query_embeds=query_embeds,
        projections=FirstLayerProjections(
            query_weight=torch.randn(16, 16, generator=generator),
            key_weight=torch.randn(8, 16, generator=generator),
            num_heads=4,
            num_key_value_heads=2,
        ),
        frame_starts=torch.from_numpy(
            equal_frames(num_tokens, FRAME_TOKENS) if frame_starts is None else frame_starts
        ),
        item_id=item_id,
        features={
            "token_scores": token_scores(audio_embeds, [query_embeds])[0],
            "best_scores": best_scores(audio_embeds, [query_embeds], [token_ids])[0],
            "word_matches": match_words(audio_embeds, [query_embeds], [token_ids], FRAME_TOKENS)[0],
        },
    )
