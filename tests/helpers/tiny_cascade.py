"""A tiny cascade: a random Whisper that writes bytes, and a random Llama that reads them."""

import json
import re
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
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from speechprune.audio import SAMPLE_RATE
from tests.helpers.tiny_models import VOCAB_SIZE, byte_level_processor, byte_level_tokenizer, spread_weights

CONTROL_TOKENS = [
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|de|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|nospeech|>",
    "<|notimestamps|>",
]
IDS = {token: VOCAB_SIZE + number for number, token in enumerate(CONTROL_TOKENS)}
FIRST_TIMESTAMP = VOCAB_SIZE + len(CONTROL_TOKENS)
NUM_TIMESTAMPS = 1501
TIMES_SHARE = 0.45
# random text is none that a check lets pass
NO_CHECKS = {
    "no_speech_threshold": 1.0,
    "logprob_threshold": -1e9,
    "compression_ratio_threshold": 1e9,
    "repeated_share_threshold": 1.0,
}
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

SEED = 1


def save_tiny_cascade(folder: Path) -> str:
    """Save both models, in folders beside config.json."""
    folder.mkdir(exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        _save_whisper(folder / "whisper")
        _save_language_model(folder / "llm")
    parts = {"whisper": "whisper", "llm": "llm"}
    config = {"model_type": "cascade", **parts, "checks": NO_CHECKS}
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def _save_whisper(folder: Path) -> None:
    end = IDS["<|endoftext|>"]
    ends = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end}
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=FIRST_TIMESTAMP + NUM_TIMESTAMPS,
            d_model=32,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            max_target_positions=64,
            decoder_start_token_id=IDS["<|startoftranscript|>"],
            **ends,
        )
    )
    spread_weights(model, std=0.4)
    with torch.no_grad():  # else so many times outweigh the text
        model.model.decoder.embed_tokens.weight[FIRST_TIMESTAMP:] *= TIMES_SHARE
    model.generation_config = GenerationConfig(
        is_multilingual=True,
        lang_to_id={token: IDS[token] for token in ("<|en|>", "<|de|>")},
        task_to_id={task: IDS[f"<|{task}|>"] for task in ("transcribe", "translate")},
        alignment_heads=[[0, 1], [1, 0]],
        no_timestamps_token_id=IDS["<|notimestamps|>"],
        max_initial_timestamp_index=50,
        decoder_start_token_id=IDS["<|startoftranscript|>"],
        max_length=32,
        suppress_tokens=[id_ for token, id_ in IDS.items() if token != "<|endoftext|>"],
        **ends,
    )
    model.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=byte_level_tokenizer([]))
    tokenizer.add_special_tokens({"additional_special_tokens": CONTROL_TOKENS})
    assert tokenizer.convert_tokens_to_ids("<|notimestamps|>") == FIRST_TIMESTAMP - 1
    tokenizer.save_pretrained(folder)


def _save_language_model(folder: Path) -> None:
    tokenizer = byte_level_processor().tokenizer
    model = LlamaForCausalLM(
        LlamaConfig(
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=len(tokenizer),
            max_position_embeddings=4096,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
        )
    )
    spread_weights(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)


class CascadeOracle:
    """Whisper's own ``generate`` on its own extractor's features, and the Llama's own forward."""

    def __init__(self, model) -> None:
        whisper, llm = f"{model.name}/whisper", f"{model.name}/llm"
        self._texts: dict[bytes, str] = {}
        self._whisper = WhisperForConditionalGeneration.from_pretrained(whisper, dtype=torch.float32)
        self._extractor = WhisperFeatureExtractor.from_pretrained(whisper)
        self._written = AutoTokenizer.from_pretrained(whisper)
        self._llm = AutoModelForCausalLM.from_pretrained(llm, dtype=torch.float32)
        self._tokenizer = AutoTokenizer.from_pretrained(llm)
        self._tokenizer.add_special_tokens({"additional_special_tokens": ["<|transcript|>"]})

    def _text(self, window: np.ndarray) -> str:
        key = window.tobytes()
        if key not in self._texts:  # most tests ask about the same recordings
            self._texts[key] = self._write(window)
        return self._texts[key]

    def _write(self, window: np.ndarray) -> str:
        features = self._extractor(window / 32768, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        mel, text = features["input_features"], ""
        start, end = 0, -(-len(window) // 160)
        while end - start >= 50:
            shifted = torch.nn.functional.pad(mel[..., start:], (0, start))
            tokens = self._whisper.generate(
                shifted, task="transcribe", return_timestamps=True, force_unique_generate_call=True
            )[0].tolist()
            marked = "".join(_mark(token) for token in tokens)
            pieces = re.findall(r"<(\d+)>((?: \d+)+)(?=<)", marked) or re.findall(r"<(\d+)>(.+)", marked)
            for begin, words in pieces:
                if start + 2 * int(begin) < end:
                    text += self._written.decode([int(word) for word in words.split()])
            rest = re.search(r"<\d+><(\d+)>(?: \d+)*$", marked)
            start = start + 2 * int(rest[1]) if rest else end
        return text

    def _ids(self, samples: np.ndarray) -> list[int]:
        size = 30 * SAMPLE_RATE
        texts = [self._text(samples[i : i + size]) for i in range(0, len(samples), size)]
        return [id_ for text in texts for id_ in self._tokenizer(text, add_special_tokens=False)["input_ids"]]

    def _chat(self, user_text: str) -> list[str]:
        words = f"Transcript of a recording:<|transcript|>\n\n{user_text}"
        return self._tokenizer.apply_chat_template(
            [{"role": "user", "content": words}], add_generation_prompt=True, tokenize=False
        ).split("<|transcript|>")

    def _input_ids(self, samples: np.ndarray, user_text: str) -> torch.Tensor:
        before, after = (
            self._tokenizer(part, add_special_tokens=False)["input_ids"] for part in self._chat(user_text)
        )
        return torch.tensor([[*before, *self._ids(samples), *after]])

    def prompt_ids(self, samples: np.ndarray, user_text: str) -> list[int]:
        places = "<|transcript|>" * len(self._ids(samples))
        return self._tokenizer(places.join(self._chat(user_text)), add_special_tokens=False)["input_ids"]

    @torch.inference_mode()
    def logits(self, samples: np.ndarray, user_text: str) -> torch.Tensor:
        return self._llm(input_ids=self._input_ids(samples, user_text)).logits[0, -1]

    @torch.inference_mode()
    def generate(self, samples: np.ndarray, user_text: str, max_new_tokens: int) -> list[int]:
        inputs = self._input_ids(samples, user_text)
        output = self._llm.generate(inputs, max_new_tokens=max_new_tokens, do_sample=False)
        return output[0, inputs.shape[1] :].tolist()

    @torch.inference_mode()
    def log_probabilities(self, samples: np.ndarray, user_text: str, answer_ids: list[int]) -> torch.Tensor:
        answer = torch.tensor([answer_ids])
        inputs = torch.cat([self._input_ids(samples, user_text), answer], dim=1)
        table = self._llm(input_ids=inputs).logits.log_softmax(dim=-1)[0, -len(answer_ids) - 1 : -1]
        return table.gather(1, answer.T)[:, 0]


def _mark(token: int) -> str:
    """A time as <20 ms steps>, a byte pair as its number, control tokens as nothing."""
    if token >= FIRST_TIMESTAMP:
        return f"<{token - FIRST_TIMESTAMP}>"
    return f" {token}" if token < VOCAB_SIZE else ""
