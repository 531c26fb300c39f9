"""Training objective of the LLM: find the fact that a question asks for, and name the choice that states it.

Every question is asked with choices (the letter must follow) or without (the words of the answer must).
Trained on these targets alone, the model guesses among the decoded values for a long time. So two attention
heads are supervised: one attends to the words that state the fact, one to the right option; and probes of
each, discarded afterwards, read from its queries and keys what is to be matched (the subject, the value), and
the letter from the values of the second. The first layer, whose projections phase 2 of SpeechPrune uses, is
not supervised.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers.models.qwen2.modeling_qwen2 import apply_rotary_pos_emb

from speechprune.lab.training.contexts import DrawContext
from speechprune.lab.training.packing import IGNORED, Pack, Packer
from speechprune.lab.training.progress import StageProgress
from speechprune.lab.training.schedule import MasterWeights, learning_rate

FACT_LAYER, OPTION_LAYER = 2, 3  # from 0
GUIDED_HEAD = 0
PROBE_SCALE = 16.0
SUBJECT_WORDS = 2  # a modifier and a head
GUIDANCE_WEIGHT, WORDS_WEIGHT = 1.0, 0.5
CHOICES_SHOWN_SHARE = 0.75  # of the questions; the others are answered in words
QUESTION_TOKENS = 42  # about, for filling batches


@dataclass
class _Seen:
    """Inputs of an attention layer."""

    hidden_states: torch.Tensor | None = None
    position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None


class LanguageObjective(nn.Module):
    """The model's decoder and head, and the guidance of two of its heads.

    Parameters
    ----------
    language_model, lm_head
        Hugging Face's modules; trained in place. The embedding table stays as it is.
    """

    def __init__(self, language_model: Any, lm_head: Any) -> None:
        super().__init__()
        self.language_model = language_model
        self.lm_head = lm_head
        self.language_model.embed_tokens.requires_grad_(False)
        config = self.language_model.config
        head_size = config.hidden_size // config.num_attention_heads
        self.subject_probe = nn.Linear(head_size, SUBJECT_WORDS * config.hidden_size)
        self.value_probe = nn.Linear(head_size, config.hidden_size)
        self.letter_probe = nn.Linear(head_size, config.hidden_size)
        self._seen = {layer: _Seen() for layer in (FACT_LAYER, OPTION_LAYER)}
        for layer, seen in self._seen.items():
            attention = self.language_model.layers[layer].self_attn
            attention.register_forward_pre_hook(_recorder(seen), with_kwargs=True)

    def loss(self, pack: Pack) -> dict[str, torch.Tensor]:
        """Cross-entropies of letters and words, and of where the guided heads look."""
        states = self.language_model(
            inputs_embeds=pack.embeds.to(self.lm_head.weight.dtype),
            position_ids=pack.positions,
            attention_mask={"full_attention": pack.mask},
            use_cache=False,
        ).last_hidden_state
        asked = pack.labels != IGNORED
        logits = self.lm_head(states[asked]).float()
        labels, is_letter = pack.labels[asked], pack.is_letter[asked]
        losses = functional.cross_entropy(logits, labels, reduction="none")
        hits = logits.argmax(-1) == labels
        rows, tokens, fact_begin, fact_end, option_begin, option_end = pack.answering.T
        chosen = option_end > 0
        fact, option = self._guided(FACT_LAYER), self._guided(OPTION_LAYER)
        return {
            "letters": losses[is_letter].mean() if is_letter.any() else losses.sum() * 0,
            "words": losses[~is_letter].mean(),
            "subjects": self._subjects(fact, pack, rows, tokens, fact_begin, fact_end),
            "facts": fact.looking(pack.mask, rows, tokens, fact_begin, fact_end),
            "values": self._values(option, pack, rows, tokens, chosen, option_end),
            "marks": self._marks(option, pack, rows[chosen], tokens[chosen], option_end[chosen]),
            "options": option.looking(
                pack.mask, rows[chosen], tokens[chosen], option_begin[chosen], option_end[chosen]
            ),
            "accuracy": hits[is_letter].float().mean(),
        }

    def _guided(self, layer: int) -> _GuidedHead:
        """Queries and keys of the guided head of a layer, from what just went into it."""
        seen = self._seen[layer]
        assert seen.hidden_states is not None
        assert seen.position_embeddings is not None
        attention = self.language_model.layers[layer].self_attn
        part = slice(GUIDED_HEAD * attention.head_dim, (GUIDED_HEAD + 1) * attention.head_dim)
        query, key, value = (
            functional.linear(seen.hidden_states, projection.weight[part], projection.bias[part])
            for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        return _GuidedHead(
            query=query,
            key=key,
            value=value,
            position_embeddings=seen.position_embeddings,
            scaling=attention.scaling,
        )

    def _subjects(
        self,
        head: _GuidedHead,
        pack: Pack,
        rows: torch.Tensor,
        tokens: torch.Tensor,
        begin: torch.Tensor,
        end: torch.Tensor,
    ) -> torch.Tensor:
        """Cross-entropy of the subject's words, read off the head that looks for the fact.

        One linear map reads them off the query of the answering token, which has the subject from the
        question, and off the keys of the first and the last telling token, which have it from the audio: so
        that the two match.
        """
        read = torch.cat([head.query[rows, tokens], head.key[rows, begin], head.key[rows, end - 1]])
        logits = self._word_logits(self.subject_probe(read).unflatten(-1, (SUBJECT_WORDS, -1)))
        return functional.cross_entropy(logits.flatten(0, 1), pack.subjects.repeat(3, 1).flatten())

    def _values(
        self,
        head: _GuidedHead,
        pack: Pack,
        rows: torch.Tensor,
        tokens: torch.Tensor,
        chosen: torch.Tensor,
        end: torch.Tensor,
    ) -> torch.Tensor:
        """Cross-entropy of the answer's word, read off the head that looks for the option.

        Again one map for both: the answering token has the word from the fact, the right option's is its own.
        """
        read = torch.cat([head.query[rows, tokens], head.key[rows[chosen], end[chosen] - 1]])
        wanted = torch.cat([pack.values, pack.values[chosen]])
        return functional.cross_entropy(self._word_logits(self.value_probe(read)), wanted)

    def _marks(
        self,
        head: _GuidedHead,
        pack: Pack,
        rows: torch.Tensor,
        tokens: torch.Tensor,
        end: torch.Tensor,
    ) -> torch.Tensor:
        """Cross-entropy of the letter, read off what that head would take from the right option's word."""
        read = self.letter_probe(head.value[rows, end - 1])
        return functional.cross_entropy(self._word_logits(read), pack.labels[rows, tokens])

    def _word_logits(self, read: torch.Tensor) -> torch.Tensor:
        # cosines: queries and keys need not grow for the probe's sake
        table = functional.normalize(self.language_model.embed_tokens.weight.float(), dim=1)
        return PROBE_SCALE * functional.normalize(read.float(), dim=-1) @ table.T


@dataclass
class _GuidedHead:
    """One attention head at work: queries and keys before rotation, values; ``(batch, tokens, head_dim)``."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    position_embeddings: tuple[torch.Tensor, torch.Tensor]
    scaling: float

    def looking(
        self,
        mask: torch.Tensor,
        rows: torch.Tensor,
        tokens: torch.Tensor,
        begin: torch.Tensor,
        end: torch.Tensor,
    ) -> torch.Tensor:
        """-log of the share of attention that some tokens give to spans of their rows; the mean."""
        query, key = apply_rotary_pos_emb(self.query[:, None], self.key[:, None], *self.position_embeddings)
        logits = (key[rows, 0] @ query[rows, 0, tokens][:, :, None]).squeeze(-1).float() * self.scaling
        logits = logits.masked_fill(~mask[rows, 0, tokens], -torch.inf)
        places = torch.arange(logits.shape[1], device=logits.device)
        inside = (places >= begin[:, None]) & (places < end[:, None])
        looked = torch.logsumexp(logits.masked_fill(~inside, -torch.inf), -1)
        return (torch.logsumexp(logits, -1) - looked).mean()


def _recorder(seen: _Seen) -> Any:
    def record(_module: nn.Module, _arguments: tuple, keywords: dict) -> None:
        seen.hidden_states = keywords["hidden_states"]
        seen.position_embeddings = keywords["position_embeddings"]

    return record


def train_language(
    objective: LanguageObjective,
    packer: Packer,
    choose: Callable[[float, random.Random], DrawContext],
    progress: StageProgress,
    *,
    peak_rate: float,
    batch_tokens: int,
    seed: int,
) -> None:
    """Train from where `progress` stands to its end; the objective's modules become bfloat16.

    Parameters
    ----------
    choose
        How the contexts of the next batch are drawn, by the finished share of the stage and a seeded
        generator.
    """
    weights = MasterWeights(objective)
    progress.restore(objective, weights)
    while not progress.done:
        share = progress.step / progress.num_steps
        key = f"{progress.name} {seed} {progress.step}"
        draw = choose(share, random.Random(f"kind {key}"))
        pack = draw_pack(draw, packer, batch_tokens, key).to(objective.lm_head.weight.device)
        parts = objective.loss(pack)
        guidance = sum(parts[name] for name in ("subjects", "facts", "values", "options", "marks"))
        loss = parts["letters"] + WORDS_WEIGHT * parts["words"] + GUIDANCE_WEIGHT * guidance
        weights.step(loss, learning_rate(progress.step, progress.num_steps, peak_rate))
        progress.advance(objective, weights, parts)


def draw_pack(draw: DrawContext, packer: Packer, batch_tokens: int, key: str) -> Pack:
    """Contexts of about `batch_tokens` tokens in all, with their questions in a new order of choices."""
    rng = random.Random(key)
    generator = np.random.default_rng(rng.randrange(1 << 60))
    items = []
    num_tokens = 0
    while num_tokens < batch_tokens:
        context = draw(rng, generator)
        questions = [(asked.shuffled(rng), rng.random() < CHOICES_SHOWN_SHARE) for asked in context.asked]
        if any(with_choices for _, with_choices in questions):
            items.append((context, questions))
            num_tokens += len(context.embeds) + QUESTION_TOKENS * len(questions)
    return packer.pack(items)
