"""Baselines of the speed benchmark: the loops that a user would write with Hugging Face alone, unpruned.

Windows and wording are the same as ours; the placeholder is expanded to as many audio tokens as the windows
give. ``model`` is a ``Qwen2AudioForConditionalGeneration`` on any device, ``processor`` its own; ``samples``
are int16 at 16 kHz. Features are computed on the host, by the processor.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from speechprune.audio import SAMPLE_RATE, split_windows
from speechprune.cost import ModelShape, encode_flops, prefill_flops
from speechprune.inference.prompts import PromptFormat
from speechprune.models.qwen2_audio import WINDOW_SAMPLES
from speechprune.models.whisper_family import encoder_mask


@torch.inference_mode()
def answer_with_hugging_face(
    model: Any, processor: Any, samples: np.ndarray, question: str, choices: list[str]
) -> torch.Tensor:
    """Return the next-token logits for one question, ``(V,)``; the recording is encoded for it alone."""
    features = _features(processor, samples)
    _, num_tokens = _lengths(model, features)
    output = model(
        input_ids=_input_ids(processor, question, choices, int(num_tokens.sum())).to(model.device),
        input_features=features["input_features"].to(model.device, model.dtype),
        feature_attention_mask=features["attention_mask"].to(model.device),
    )
    logits: torch.Tensor = output.logits[0, -1]
    return logits


@torch.inference_mode()
def encode_with_hugging_face(model: Any, processor: Any, samples: np.ndarray) -> torch.Tensor:
    """Encode a recording once for all its questions: audio embeddings, ``(tokens, D)``."""
    features = _features(processor, samples)
    num_positions, num_tokens = _lengths(model, features)
    tower = model.model.audio_tower
    input_features = features["input_features"].to(model.device, model.dtype)
    states = tower(input_features, attention_mask=encoder_mask(tower, num_positions.tolist()))
    embeds = model.model.multi_modal_projector(states.last_hidden_state)
    return torch.cat([window[:number] for window, number in zip(embeds, num_tokens.tolist(), strict=True)])


@torch.inference_mode()
def answer_encoded_with_hugging_face(
    model: Any, processor: Any, audio_embeds: torch.Tensor, question: str, choices: list[str]
) -> torch.Tensor:
    """Return the next-token logits for one question about an encoded recording, ``(V,)``.

    Decoder and head are called one after the other: the model's own forward forms the logits of every
    position, and has no ``logits_to_keep``.
    """
    input_ids = _input_ids(processor, question, choices, len(audio_embeds)).to(model.device)
    is_audio = (input_ids == model.config.audio_token_id)[..., None]
    embeds = model.get_input_embeddings()(input_ids).masked_scatter(is_audio, audio_embeds)
    states = model.model.language_model(inputs_embeds=embeds, use_cache=False).last_hidden_state
    logits: torch.Tensor = model.lm_head(states[:, -1])[0]
    return logits


def hugging_face_flops(shape: ModelShape, num_windows: int, num_tokens: int, num_questions: int = 1) -> int:
    """FLOPs of ``answer_with_hugging_face`` for each question: all windows, logits of every position."""
    prefill = prefill_flops(shape.decoder, num_tokens, num_logit_positions=num_tokens)
    return num_questions * (encode_flops(shape, num_windows) + prefill)


def encoded_once_flops(shape: ModelShape, num_windows: int, num_tokens: int, num_questions: int) -> int:
    """FLOPs of ``encode_with_hugging_face`` and, for each question, ``answer_encoded_with_hugging_face``."""
    return encode_flops(shape, num_windows) + num_questions * prefill_flops(shape.decoder, num_tokens)


def _features(processor: Any, samples: np.ndarray) -> Any:
    """Return log-mel features of all windows and their mask, on the host."""
    return processor.feature_extractor(
        [window.astype(np.float32) / 32768.0 for window in split_windows(samples, WINDOW_SAMPLES)],
        sampling_rate=SAMPLE_RATE,
        padding="max_length",
        return_attention_mask=True,
        return_tensors="pt",
    )


def _lengths(model: Any, features: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the number of the encoder's positions and of audio tokens of each window, on the host."""
    num_frames = features["attention_mask"].sum(-1)
    num_positions, num_tokens = model.model.audio_tower._get_feat_extract_output_lengths(num_frames)
    return num_positions, num_tokens


def _input_ids(processor: Any, question: str, choices: list[str], num_audio_tokens: int) -> torch.Tensor:
    """Return the whole prompt's token ids, ``(1, tokens)``, on the host."""
    wording = PromptFormat()
    lines = [
        wording.choice_format.format(letter=letter, text=text)
        for letter, text in zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", choices, strict=False)
    ]
    text = wording.prompt.format(question=question, choices=wording.choice_separator.join(lines))
    content = [{"type": "audio", "audio_url": "recording"}, {"type": "text", "text": text}]
    chat = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    chat = chat.replace(processor.audio_token, processor.audio_token * num_audio_tokens)
    input_ids: torch.Tensor = processor.tokenizer(chat, return_tensors="pt")["input_ids"]
    return input_ids
