"""A tiny DiVA, in the layout of its hub repositories, and a plain reading of its recipe as oracle."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import gelu, layer_norm, linear
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperModel,
)

from speechprune.audio import SAMPLE_RATE
from tests.helpers.tiny_models import byte_level_tokenizer, spread_weights

WIDTH, HEADS, LAYERS, QUERIES, HIDDEN = 32, 2, 2, 48, 64
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


def save_tiny_diva(folder: Path) -> str:
    """Save DiVA's own weights, and both reference models in folders beside config.json."""
    folder.mkdir(exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        whisper = _save_whisper(folder / "whisper")
        _save_llama(folder / "llama")
        spread_weights(whisper.model.decoder)
        connector = {
            f"connector.{name}": weight for name, weight in whisper.model.decoder.state_dict().items()
        }
        own = {
            "query_tokens": torch.randn(QUERIES, WIDTH),
            "projection.weight": torch.randn(WIDTH, HIDDEN) * 0.1,  # transposed, as published
            "projection.bias": torch.randn(HIDDEN) * 0.1,
        }
    save_file(connector | own, folder / "model.safetensors", metadata={"format": "pt"})
    parts = {"reference_encoder": "whisper", "reference_decoder": "llama"}
    config = {"model_type": "diva", "architectures": ["DiVAModel"], "vocab_size": 606, **parts}
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def _save_whisper(folder: Path) -> WhisperForConditionalGeneration:
    ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "decoder_start_token_id": 0}
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=20,
            d_model=WIDTH,
            encoder_layers=LAYERS,
            decoder_layers=LAYERS,
            encoder_attention_heads=HEADS,
            decoder_attention_heads=HEADS,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            max_target_positions=QUERIES,
            **ends,
        )
    )
    spread_weights(model)
    model.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)
    return model


def _save_llama(folder: Path) -> None:
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
            num_hidden_layers=LAYERS,
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


class DivaOracle:
    """The recipe layer by layer, from the files: nothing of the family's own modules."""

    def __init__(self, model) -> None:
        folder = Path(model.name)
        self._weights = load_file(folder / "model.safetensors")
        self._encoder = WhisperModel.from_pretrained(folder / "whisper", dtype=torch.float32).encoder
        self._extractor = WhisperFeatureExtractor.from_pretrained(folder / "whisper")
        self._llama = AutoModelForCausalLM.from_pretrained(folder / "llama", dtype=torch.float32)
        self._tokenizer = AutoTokenizer.from_pretrained(folder / "llama")

    @torch.inference_mode()
    def _window(self, samples: np.ndarray) -> torch.Tensor:
        """Audio tokens of a window."""
        mel = self._extractor(samples / 32768, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        sound = self._encoder(mel["input_features"]).last_hidden_state[0]
        x = self._weights["query_tokens"] + self._weights["connector.embed_positions.weight"]
        for number in range(LAYERS):
            layer = f"connector.layers.{number}."
            normed = self._norm(layer + "self_attn_layer_norm", x)
            x = x + self._attend(layer + "self_attn.", normed, normed, is_causal=True)
            normed = self._norm(layer + "encoder_attn_layer_norm", x)
            x = x + self._attend(layer + "encoder_attn.", normed, sound, is_causal=False)
            normed = self._norm(layer + "final_layer_norm", x)
            x = x + self._linear(layer + "fc2", gelu(self._linear(layer + "fc1", normed)))
        x = self._norm("connector.layer_norm", x)
        return x @ self._weights["projection.weight"] + self._weights["projection.bias"]

    def _norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return layer_norm(x, (WIDTH,), self._weights[name + ".weight"], self._weights[name + ".bias"])

    def _linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return linear(x, self._weights[name + ".weight"], self._weights.get(name + ".bias"))

    def _attend(self, name: str, x: torch.Tensor, to: torch.Tensor, *, is_causal: bool) -> torch.Tensor:
        queries, keys, values = (
            self._linear(name + kind, of).unflatten(-1, (HEADS, -1)).transpose(0, 1)
            for kind, of in (("q_proj", x), ("k_proj", to), ("v_proj", to))
        )
        scores = queries @ keys.transpose(-1, -2) / (WIDTH // HEADS) ** 0.5
        if is_causal:
            scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -torch.inf)
        mixed = (scores.softmax(-1) @ values).transpose(0, 1).flatten(1)
        return self._linear(name + "out_proj", mixed)

    def _chat(self, user_text: str) -> tuple[list[int], list[int]]:
        header = "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n"
        before = f"{header}{user_text}\n{header}"
        after = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
        return tuple(self._tokenizer(part, add_special_tokens=False)["input_ids"] for part in (before, after))

    @torch.inference_mode()
    def _prompt(self, samples: np.ndarray, user_text: str) -> torch.Tensor:
        size = 30 * SAMPLE_RATE
        before, after = (
            self._llama.get_input_embeddings()(torch.tensor(ids)) for ids in self._chat(user_text)
        )
        audio = [self._window(samples[i : i + size]) for i in range(0, len(samples), size)]
        return torch.cat([before, *audio, after])

    def prompt_ids(self, samples: np.ndarray, user_text: str) -> list[int]:
        before, after = self._chat(user_text)
        num_tokens = -(-len(samples) // (30 * SAMPLE_RATE)) * QUERIES
        return [*before, *[len(self._tokenizer)] * num_tokens, *after]

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
