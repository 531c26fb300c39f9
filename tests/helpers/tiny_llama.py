"""A tiny Llama, and what the oracles of families around it share: its prompts, scores and greedy tokens."""

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from speechprune.audio import SAMPLE_RATE
from tests.helpers.tiny_models import byte_level_tokenizer, spread_weights

HIDDEN = 64
CONTROL_TOKENS = [
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|reserved_special_token_0|>",
]
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' "
    "+ message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)


def save_llama(folder: Path) -> None:
    """Save model, tokenizer and chat template."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=byte_level_tokenizer(CONTROL_TOKENS),
        bos_token="<|begin_of_text|>",
        eos_token="<|eot_id|>",
        additional_special_tokens=CONTROL_TOKENS,
    )
    model = LlamaForCausalLM(
        LlamaConfig(
            hidden_size=HIDDEN,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=len(tokenizer),
            max_position_embeddings=4096,
        )
    )
    spread_weights(model)
    ends = tokenizer.convert_tokens_to_ids(["<|end_of_text|>", "<|eot_id|>"])
    model.generation_config = GenerationConfig(eos_token_id=ends)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)


class LlamaOracle(ABC):
    """Windows of 30 s as embeddings between two texts, by Hugging Face's Llama."""

    def __init__(self, folder: Path) -> None:
        self._encoded: dict[bytes, torch.Tensor] = {}
        self._llama = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self._tokenizer = AutoTokenizer.from_pretrained(folder)

    @abstractmethod
    def chat(self, user_text: str) -> tuple[str, str]:
        """What stands before and behind the audio."""

    @abstractmethod
    def window(self, samples: np.ndarray) -> torch.Tensor:
        """Audio embeddings of a window."""

    def _audio(self, samples: np.ndarray) -> torch.Tensor:
        size = 30 * SAMPLE_RATE
        windows = [samples[i : i + size] for i in range(0, len(samples), size)]
        for window in windows:
            if window.tobytes() not in self._encoded:
                self._encoded[window.tobytes()] = self.window(window)
        return torch.cat([self._encoded[window.tobytes()] for window in windows])

    def _chat_ids(self, user_text: str) -> list[list[int]]:
        return [self._tokenizer(part, add_special_tokens=False)["input_ids"] for part in self.chat(user_text)]

    @torch.inference_mode()
    def _prompt(self, samples: np.ndarray, user_text: str) -> torch.Tensor:
        before, after = (
            self._llama.get_input_embeddings()(torch.tensor(ids)) for ids in self._chat_ids(user_text)
        )
        return torch.cat([before, self._audio(samples), after])

    @torch.inference_mode()
    def prompt_ids(self, samples: np.ndarray, user_text: str) -> list[int]:
        before, after = self._chat_ids(user_text)
        return [*before, *[len(self._tokenizer)] * len(self._audio(samples)), *after]

    @torch.inference_mode()
    def logits(self, samples: np.ndarray, user_text: str) -> torch.Tensor:
        return self._llama(inputs_embeds=self._prompt(samples, user_text)[None]).logits[0, -1]

    @torch.inference_mode()
    def generate(self, samples: np.ndarray, user_text: str, max_new_tokens: int) -> list[int]:
        """The loop of its own code: the likeliest token, again and again."""
        embeds, made, cache = self._prompt(samples, user_text)[None], [], None
        ends = self._llama.generation_config.eos_token_id
        while len(made) < max_new_tokens and not {*made} & {*ends}:
            output = self._llama(inputs_embeds=embeds, past_key_values=cache, use_cache=True)
            cache, token = output.past_key_values, output.logits[0, -1].argmax()
            made.append(token.item())
            embeds = self._llama.get_input_embeddings()(token[None, None])
        return made

    @torch.inference_mode()
    def log_probabilities(self, samples: np.ndarray, user_text: str, answer_ids: list[int]) -> torch.Tensor:
        answer = torch.tensor(answer_ids)
        embeds = torch.cat([self._prompt(samples, user_text), self._llama.get_input_embeddings()(answer)])
        table = self._llama(inputs_embeds=embeds[None]).logits.log_softmax(dim=-1)[
            0, -len(answer_ids) - 1 : -1
        ]
        return table.gather(1, answer[:, None])[:, 0]
