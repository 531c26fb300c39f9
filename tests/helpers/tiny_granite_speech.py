"""A tiny Granite Speech in the layout of its hub repositories, and its own forward as oracle."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    GenerationConfig,
    GraniteSpeechConfig,
    GraniteSpeechFeatureExtractor,
    GraniteSpeechForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from speechprune.audio import SAMPLE_RATE
from tests.helpers.own_forward import OwnForwardOracle
from tests.helpers.tiny_models import byte_level_tokenizer, spread_weights

CONTROL_TOKENS = ["<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>"]
# of version 3.3, which has a system prompt of its own with the day's date, and of 4.0
CHAT_TEMPLATE = (
    "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}"
    "{% set rest = messages[1:] %}{% else %}{% set system = strftime_now('%B %d, %Y') %}"
    "{% set rest = messages %}{% endif %}"
    "<|start_of_role|>system<|end_of_role|>{{ system }}<|end_of_text|>\n"
    "{% for message in rest %}<|start_of_role|>{{ message['role'] }}<|end_of_role|>"
    "{{ message['content'] }}<|end_of_text|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start_of_role|>assistant<|end_of_role|>{% endif %}"
)
CHAT_TEMPLATE_4 = (
    "{% for message in messages %}{% if message['role'] == 'user' %}USER: {{ message['content'] }}\n"
    " ASSISTANT:{% elif message['role'] == 'assistant' %}{{ message['content'] }}{% endif %}{% endfor %}"
)
SYSTEM = (
    "Knowledge Cutoff Date: April 2024.\nToday's Date: April 9, 2025.\n"
    "You are Granite, developed by IBM. You are a helpful AI assistant"
)
MEL_BINS = 16
RANK, ALPHA = 4, 8
MEL_SETTINGS = {"sample_rate": 16_000, "n_fft": 512, "win_length": 400, "hop_length": 160, "n_mels": MEL_BINS}
EXTRACTOR = {
    "feature_extractor_type": "GraniteSpeechFeatureExtractor",
    "melspec_kwargs": MEL_SETTINGS,
    "processor_class": "GraniteSpeechProcessor",
    "projector_downsample_rate": 5,
    "projector_window_size": 15,
    "sampling_rate": 16_000,
}


def save_tiny_granite_speech(folder: Path) -> str:
    """As version 3.3: shards under the names of older transformers, and an adapter beside them."""
    tokenizer = _tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    model = _model(tokenizer, has_lora_adapter=True, tie_word_embeddings=True)
    _save(folder, tokenizer, model)
    layers = {
        f"base_model.model.language_model.model.layers.{i}.self_attn.{name}_proj": weight
        for i, layer in enumerate(model.model.language_model.layers)
        for name in "qv"
        for weight in [getattr(layer.self_attn, f"{name}_proj").weight]
    }
    adapter = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        for name, weight in layers.items():
            adapter[f"{name}.lora_A.weight"] = torch.randn(RANK, weight.shape[1]) / 4
            adapter[f"{name}.lora_B.weight"] = torch.randn(weight.shape[0], RANK) / 4
    save_file(adapter, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = {
        "peft_type": "LORA",
        "r": RANK,
        "lora_alpha": ALPHA,
        "target_modules": ["q_proj", "v_proj"],
        "base_model_name_or_path": "/train/granite-3.3-2b-instruct",
        "bias": "none",
        "use_rslora": False,
        "alpha_pattern": {},
        "rank_pattern": {},
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return str(folder)


def save_tiny_granite_speech_4(folder: Path) -> str:
    """As version 4: no adapter, an output layer of its own, its chat template in a file."""
    tokenizer = _tokenizer()
    _save(folder, tokenizer, _model(tokenizer, has_lora_adapter=False, tie_word_embeddings=False))
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE_4)
    return str(folder)


def _tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=byte_level_tokenizer(CONTROL_TOKENS),
        eos_token="<|end_of_text|>",
        pad_token="<|end_of_text|>",
        additional_special_tokens=CONTROL_TOKENS[1:],
    )
    tokenizer.add_special_tokens({"additional_special_tokens": [*CONTROL_TOKENS[1:], "<|audio|>"]})
    return tokenizer


def _model(tokenizer: PreTrainedTokenizerFast, **settings) -> GraniteSpeechForConditionalGeneration:
    audio_id = tokenizer.convert_tokens_to_ids("<|audio|>")
    encoder = {"input_dim": 2 * MEL_BINS, "num_layers": 2, "hidden_dim": 32, "num_heads": 2, "output_dim": 12}
    projector = {
        "model_type": "blip_2_qformer",
        "hidden_size": 48,
        "encoder_hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "cross_attention_frequency": 1,
    }
    text = {
        "model_type": "granite",
        "vocab_size": audio_id,  # the placeholder has no embedding
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "embedding_multiplier": 1.5,
        "residual_multiplier": 0.8,
        "attention_multiplier": 0.1,
        "logits_scaling": 2.0,
        "eos_token_id": 0,
        "bos_token_id": 0,
        "pad_token_id": 0,
        "tie_word_embeddings": settings["tie_word_embeddings"],
    }
    config = GraniteSpeechConfig(
        encoder_config=encoder,
        projector_config=projector,
        text_config=text,
        audio_token_index=audio_id,
        **settings,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = GraniteSpeechForConditionalGeneration(config).eval()
        spread_weights(model)
        spread_weights(model.model.language_model.layers, std=0.4)  # or each token would repeat itself
        for name, buffer in model.named_buffers():  # as training leaves them
            if name.endswith("running_mean"):
                torch.nn.init.normal_(buffer)
            elif name.endswith("running_var"):
                torch.nn.init.uniform_(buffer, 0.5, 2.0)
    model.generation_config = GenerationConfig(bos_token_id=0, eos_token_id=0, pad_token_id=0)
    return model


def _save(folder: Path, tokenizer: PreTrainedTokenizerFast, model: Any) -> None:
    model.save_pretrained(folder, max_shard_size="150KB")
    renamed = {"model.language_model.": "language_model.model.", "lm_head.": "language_model.lm_head."}
    index = {}
    for file in folder.glob("model*.safetensors"):
        weights = {}
        for name, weight in load_file(file).items():
            new = next((n + name.removeprefix(o) for o, n in renamed.items() if name.startswith(o)), name)
            weights[new.removeprefix("model.")] = weight
        save_file(weights, file, metadata={"format": "pt"})
        index |= dict.fromkeys(weights, file.name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    tokenizer.save_pretrained(folder, save_jinja_files=False)
    (folder / "preprocessor_config.json").write_text(json.dumps(EXTRACTOR))
    (folder / "processor_config.json").write_text(
        json.dumps({"processor_class": "GraniteSpeechProcessor", "audio_token": "<|audio|>"})
    )


class GraniteSpeechOracle(OwnForwardOracle):
    """The own forward of the windows' features, each window by itself; the adapter beside its layers."""

    def __init__(self, model) -> None:
        self._processor = SimpleNamespace(tokenizer=model.tokenizer)
        self._model = OwnGraniteSpeech(model.name)

    def inputs(self, samples: np.ndarray, user_text: str) -> dict[str, Any]:
        size = 36 * SAMPLE_RATE
        windows = [samples[i : i + size] for i in range(0, len(samples), size)]
        settings = SimpleNamespace(
            melspec_kwargs=MEL_SETTINGS, projector_window_size=15, projector_downsample_rate=5
        )
        num_tokens = GraniteSpeechFeatureExtractor._get_num_audio_features(settings, map(len, windows))
        roles = [("system", SYSTEM), ("user", "<|audio|>" * sum(num_tokens) + user_text)]
        turns = "".join(f"<|start_of_role|>{role}<|end_of_role|>{x}<|end_of_text|>\n" for role, x in roles)
        prompt = f"{turns}<|start_of_role|>assistant<|end_of_role|>"
        ids = self._processor.tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
        waveforms = [torch.from_numpy(window.astype(np.float32) / 32768)[None] for window in windows]
        return {**ids, "windows": [torchaudio_features(waveform) for waveform in waveforms]}


class OwnGraniteSpeech:
    """The class of transformers, loaded without peft, with an adapter as a second path around its layers.

    Its logits are divided by ``logits_scaling``, as ``GraniteForCausalLM`` divides them.
    """

    def __init__(self, folder: str) -> None:
        self.whole = GraniteSpeechForConditionalGeneration.from_pretrained(
            folder, adapter_kwargs={"subfolder": "none"}
        ).eval()
        adapter = load_file(Path(folder) / "adapter_model.safetensors")
        for i, layer in enumerate(self.whole.model.language_model.layers):
            for name in ("q_proj", "v_proj"):
                key = f"base_model.model.language_model.model.layers.{i}.self_attn.{name}"
                low, high = (adapter[f"{key}.lora_{part}.weight"] for part in "AB")
                getattr(layer.self_attn, name).register_forward_hook(_around(low, high))

    def _merge(self, input_ids: torch.Tensor, windows: list[torch.Tensor]) -> torch.Tensor:
        features = [self.whole.get_audio_features(window).pooler_output for window in windows]
        return self.whole.model.get_merged_audio_embeddings(input_ids, torch.cat(features, dim=1))

    def __call__(self, input_ids, windows, attention_mask) -> SimpleNamespace:
        embeds = self._merge(input_ids, windows)
        states = self.whole.model(inputs_embeds=embeds, attention_mask=attention_mask).last_hidden_state
        return SimpleNamespace(
            logits=self.whole.lm_head(states) / self.whole.config.text_config.logits_scaling
        )

    def generate(self, input_ids, windows, attention_mask, **options) -> torch.Tensor:
        embeds = self._merge(input_ids, windows)
        made = self.whole.generate(inputs_embeds=embeds, attention_mask=attention_mask, **options)
        return torch.cat([input_ids, made], dim=1)


def _around(low: torch.Tensor, high: torch.Tensor) -> Callable:
    return lambda layer, inputs, output: output + ALPHA / RANK * (inputs[0] @ low.T @ high.T)


def torchaudio_features(waveform: torch.Tensor) -> torch.Tensor:
    """A plain re-reading of the extractor, and of ``MelSpectrogram`` of torchaudio, which it calls."""
    hann, num_frequencies = torch.hann_window(400), 257
    spectrum = torch.stft(
        waveform,
        n_fft=512,
        hop_length=160,
        win_length=400,
        window=hann,
        center=True,
        pad_mode="reflect",
        normalized=False,
        onesided=True,
        return_complex=True,
    )
    power = spectrum.abs().pow(2.0)
    frequencies = torch.linspace(0, 16_000 // 2, num_frequencies)
    low, high = 0.0, 2595.0 * np.log10(1.0 + 8000 / 700.0)
    points = 700.0 * (10.0 ** (torch.linspace(low, high, MEL_BINS + 2) / 2595.0) - 1.0)
    slopes = points[None] - frequencies[:, None]
    widths = points[1:] - points[:-1]
    falling, rising = -slopes[:, :-2] / widths[:-1], slopes[:, 2:] / widths[1:]
    filters = torch.clamp(torch.minimum(falling, rising), min=0.0)
    log_mel = (power.transpose(-1, -2) @ filters).clip(min=1e-10).log10()
    log_mel = torch.maximum(log_mel, log_mel.amax(dim=(-2, -1), keepdim=True) - 8.0) / 4 + 1
    if log_mel.shape[1] % 2 == 1:
        log_mel = log_mel[:, :-1]
    return log_mel.reshape(1, -1, 2 * MEL_BINS)
