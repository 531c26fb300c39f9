"""Closed forms of FLOPs and bytes: pure arithmetic on a model's shape.

Two accounts, never mixed in one figure:

- the paper's (``paper_*``), which reproduces the cost columns of its Table I: calflops, which does not see
  the attention products or the audio encoder, and LLM-Viewer in half precision;
- the actual FLOPs, which are what torch's ``FlopCounterMode`` counts: every matrix product and convolution,
  attention dense (causal masks save nothing), elementwise work free.

A product of (a x b) by (b x c) is ``2abc`` FLOPs. Symbols: h hidden size, I intermediate size, L layers,
H query heads and G key-value heads of d each, V vocabulary; n tokens of the prompt (audio and others).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from speechprune.cost.shapes import DecoderShape, ModelShape

HALF_PRECISION_BYTES = 2
FLOPS_PER_TFLOP = 10**12


# ------------------------------------------------------------------------------------------------------------
# The paper's account (Table I)


def paper_prefill_flops(shape: DecoderShape, num_tokens: int) -> int:
    """Prefill as calflops counts it: 2n [L (2h(Hd + Gd) + 3hI) + Vh] FLOPs.

    Column TF of Table I. With as many key-value heads as query heads and Hd = h it is the paper's
    2n [L (4h² + 3hI) + Vh]. Attention products and audio encoder are left out; logits are formed at every
    position.
    """
    output_layer = shape.vocab_size * shape.hidden_size
    return 2 * num_tokens * (shape.num_weights + output_layer)


def paper_weights_bytes(shape: DecoderShape) -> int:
    """Weights as LLM-Viewer counts them: the decoder layers' matrices, no embeddings, no output layer."""
    return HALF_PRECISION_BYTES * shape.num_weights_held


def paper_kv_cache_bytes(shape: DecoderShape, num_tokens: int) -> int:
    """Return keys and values of n tokens in half precision: 2 · 2nLGd bytes.

    Column TM of Table I is this plus ``paper_weights_bytes``, in GB of 10⁹ bytes.
    """
    return HALF_PRECISION_BYTES * 2 * num_tokens * shape.all_keys_size


def paper_activation_bytes(shape: DecoderShape, num_tokens: int) -> int:
    """One layer's prefill activations as LLM-Viewer counts them: 2 [n(7h + 2Hd + 2I) + 2Hn²] bytes.

    Column SA of Table I; with Hd = h it is the paper's 2 [n(9h + 2I) + 2Hn²]. Widths stored per token: h by
    the output and down projections, two norms, two residual sums and the MLP's activation (LLM-Viewer
    counts the last as h); Hd by the queries and by the attended values; I by the gate and up projections.
    Scores and softmax take Hn² each; keys and values are in the cache, not here.
    """
    per_token = 7 * shape.hidden_size + 2 * shape.queries_size + 2 * shape.intermediate_size
    attention = 2 * shape.num_attention_heads * num_tokens**2
    return HALF_PRECISION_BYTES * (num_tokens * per_token + attention)


# ------------------------------------------------------------------------------------------------------------
# Actual FLOPs


def encode_flops(shape: ModelShape, num_windows: int) -> int:
    """Encode windows: the encoder and the whole projector.

    A short recording's window is padded to a full one and costs as much.
    """
    return shape.encoder.flops(num_windows) + shape.encoder.project_flops(num_windows)


def phase1_flops(shape: DecoderShape, num_audio_tokens: int) -> int:
    """Phase 1 (Eqs 4-9) for one question: the product of Ŝ (N x h) with the mean text embedding, 2Nh."""
    return 2 * num_audio_tokens * shape.hidden_size


def phase2_flops(shape: DecoderShape, num_tokens: int) -> int:
    """Phase 2 (Eqs 10-13) over the n audio tokens that phase 1 kept: 2nh(Hd + Gd) + 2n²Hd + 2n²H FLOPs.

    Binarized queries and keys, their product over all query heads (keys repeated where they are grouped),
    and the mean over queries, formed as a (1 x n) by (n x n) product per head.
    """
    projections = 2 * num_tokens * shape.hidden_size * (shape.queries_size + shape.keys_size)
    logits = 2 * num_tokens**2 * shape.queries_size
    attention_received = 2 * num_tokens**2 * shape.num_attention_heads
    return projections + logits + attention_received


def late_interaction_flops(shape: DecoderShape, num_audio_tokens: int, num_query_tokens: int) -> int:
    """Late interaction for one question: the product of Ŝ (N x h) with its L tokens, 2NhL FLOPs.

    A token that the query repeats is counted again, though it is multiplied once.
    """
    return 2 * num_audio_tokens * shape.hidden_size * num_query_tokens


def prefill_flops(shape: DecoderShape, num_tokens: int, num_logit_positions: int = 1) -> int:
    """Prefill of n tokens with its attention: 2nL (2h(Hd + Gd) + 3hI) + 4n²LHd + 2Vh · logit positions.

    Parameters
    ----------
    num_logit_positions : int
        Positions whose logits are formed: the last alone here, all n in Hugging Face's own forward.
    """
    layers = 2 * num_tokens * shape.num_weights
    attention = num_tokens * _attention_flops(shape, num_tokens)
    return layers + attention + _logits_flops(shape, num_logit_positions)


def decode_flops(shape: DecoderShape, num_prompt_tokens: int, num_generated_tokens: int) -> int:
    """Decode behind a prefill: one step per token after the first, against the growing cache.

    The first token comes from the prefill's own logits, so g generated tokens take g - 1 steps; step i
    attends to the prompt and the i tokens generated so far.
    """
    num_steps = max(num_generated_tokens - 1, 0)
    layers = 2 * num_steps * shape.num_weights
    num_attended_keys = num_steps * num_prompt_tokens + num_steps * (num_steps + 1) // 2
    return layers + _attention_flops(shape, num_attended_keys) + _logits_flops(shape, num_steps)


def texts_flops(shape: DecoderShape, num_prompt_tokens: int, text_lengths: Sequence[int]) -> int:
    """Score texts behind a shared prefill of n tokens: each runs without its last token against its own copy.

    A text of c tokens takes s = c - 1: 2sL (2h(Hd + Gd) + 3hI) + 4s(n + s)LHd + 2sVh FLOPs; the logits of
    its first token are the prefill's own.
    """
    fed = [length - 1 for length in text_lengths]
    layers = 2 * sum(fed) * shape.num_weights
    attention = _attention_flops(shape, sum(s * (num_prompt_tokens + s) for s in fed))
    return layers + attention + _logits_flops(shape, sum(fed))


def _attention_flops(shape: DecoderShape, num_keys: int) -> int:
    """One query token's attention to a number of keys: scores and weighted values, 4LHd per key."""
    return 4 * shape.all_queries_size * num_keys


def _logits_flops(shape: DecoderShape, num_positions: int) -> int:
    """Logits at this number of positions, 2Vh each."""
    return 2 * num_positions * shape.vocab_size * shape.hidden_size


# ------------------------------------------------------------------------------------------------------------
# Both accounts of one answer


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one answer cost, in both accounts."""

    # the paper's account of the prefill (``paper_prefill_flops``), no part of ``tflops_total``
    tflops_prefill: float
    tflops_encode: float  # actual FLOPs: this answer's share of encoding its recording
    tflops_prune: float  # actual FLOPs: both pruning phases
    tflops_total: float  # actual FLOPs: encoding, pruning, prefill with attention, decoding, transcripts
    # weights_bytes, kv_cache_bytes, activation_bytes: LLM-Viewer's account of memory, in half precision
    # (``paper_*_bytes``)
    weights_bytes: int
    kv_cache_bytes: int
    activation_bytes: int


def answer_cost(
    shape: DecoderShape,
    *,
    num_audio_tokens_kept: int,
    num_text_tokens: int,
    encode_flops: float,
    prune_flops: float,
    num_generated_tokens: int = 0,
    num_prefills: int = 1,
    choice_lengths: Sequence[int] = (),
    is_calibrated: bool = False,
    transcription_flops: int = 0,
) -> Cost:
    """Cost of one answer, in both accounts.

    Parameters
    ----------
    num_text_tokens : int
        All other tokens of the prompt: system prompt, template, question, choices.
    prune_flops : float
        FLOPs of pruning for this question; zero where nothing is pruned.
    num_generated_tokens : int
        Zero for an answer that was chosen among choices.
    num_prefills : int
        Prompts over the same pruned audio, one per order of permuted choices. Each costs a prefill, in both
        accounts; memory is that of one, and so is decoding, as permuted choices are scored without it.
    choice_lengths : Sequence[int]
        Tokens of each choice, where choices are scored by their texts. In both accounts those that run behind
        the prompt count as tokens of its prefill; memory is the prompt's.
    is_calibrated : bool
        The choices' texts are scored once more behind the prompt without its audio.
    transcription_flops : int
        FLOPs of writing down the evidence.
    """
    num_tokens = num_audio_tokens_kept + num_text_tokens
    prompts = [num_tokens] * num_prefills + [num_text_tokens] * is_calibrated
    num_choice_tokens = sum(length - 1 for length in choice_lengths)
    total_flops = (
        encode_flops
        + prune_flops
        + sum(prefill_flops(shape, n) + texts_flops(shape, n, choice_lengths) for n in prompts)
        + decode_flops(shape, num_tokens, num_generated_tokens)
        + transcription_flops
    )
    return Cost(
        tflops_prefill=sum(paper_prefill_flops(shape, n + num_choice_tokens) for n in prompts)
        / FLOPS_PER_TFLOP,
        tflops_encode=encode_flops / FLOPS_PER_TFLOP,
        tflops_prune=prune_flops / FLOPS_PER_TFLOP,
        tflops_total=total_flops / FLOPS_PER_TFLOP,
        weights_bytes=paper_weights_bytes(shape),
        kv_cache_bytes=paper_kv_cache_bytes(shape, num_tokens),
        activation_bytes=paper_activation_bytes(shape, num_tokens),
    )
