"""Baseline of the speed benchmark: the loop that a user would write with Hugging Face alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from speechprune.audio import SAMPLE_RATE, split_windows
from speechprune.cost import ModelShape, encode_flops, prefill_flops
from speechprune.inference.prompts import PromptFormat
from speechprune.models.qwen2_audio import WINDOW_SAMPLES


def answer_with_hugging_face(
    model: Any, processor: Any, samples: np.ndarray, question: str, choices: list[str]
) -> torch.Tensor:
    """Return the next-token logits for one question about one recording, unpruned and encoded again.

    The windows are the same as ours, and so is the wording; the processor expands the placeholder
    to as many audio tokens as the windows give.

    Parameters
    ----------
    model, processor
        ``Qwen2AudioForConditionalGeneration`` and its processor.
    samples
        int16 at 16 kHz.

    Returns
    -------
    torch.Tensor
        Shape ``(V,)``.
    """
    features = processor.feature_extractor(
        [window.astype(np.float32) / 32768.0 for window in split_windows(samples, WINDOW_SAMPLES)],
        sampling_rate=SAMPLE_RATE,
        padding="max_length",
        return_attention_mask=True,
        return_tensors="pt",
    )
    num_frames = features["attention_mask"].sum(-1)
    _, num_tokens = model.model.audio_tower._get_feat_extract_output_lengths(num_frames)
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
    chat = chat.replace(processor.audio_token, processor.audio_token * int(num_tokens.sum()))
    with torch.inference_mode():
        output = model(
            input_ids=processor.tokenizer(chat, return_tensors="pt")["input_ids"].to(model.device),
            input_features=features["input_features"].to(model.device, model.dtype),
            feature_attention_mask=features["attention_mask"].to(model.device),
        )
    return output.logits[0, -1]


def hugging_face_flops(shape: ModelShape, num_windows: int, num_tokens: int) -> int:
    """FLOPs of that loop for one question: all windows, all tokens, logits of every position."""
    return encode_flops(shape, num_windows) + prefill_flops(
        shape.decoder, num_tokens, num_logit_positions=num_tokens
    )
