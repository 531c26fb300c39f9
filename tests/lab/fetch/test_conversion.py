"""What packages carry becomes the model that it was made from, to the bit."""

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaForCausalLM,
    WhisperForConditionalGeneration,
    WhisperProcessor,
)

from speechprune.lab.fetch.gguf_blocks import Q5_0, dequantize
from speechprune.lab.fetch.gguf_model import write_gguf_model
from speechprune.lab.fetch.whisper import write_whisper
from tests.helpers.packaged_models import (
    BYTES,
    LLAMA_TOKENS,
    WHISPER_TOKENS,
    as_ctranslate2,
    as_gguf,
    tiny_llama,
    tiny_qwen2,
    tiny_whisper,
    whisper_settings,
    whisper_tokenizer,
)


@pytest.fixture(scope="module")
def whisper_folder(tmp_path_factory):
    pieces, folder = tmp_path_factory.mktemp("pieces"), tmp_path_factory.mktemp("whisper")
    contents = {
        "model": as_ctranslate2(tiny_whisper()),
        "tokenizer": whisper_tokenizer(),
        "settings": whisper_settings(),
    }
    for name, content in contents.items():
        (pieces / name).write_bytes(content)
    write_whisper(folder, **{name: pieces / name for name in contents})
    return folder


@pytest.fixture(scope="module")
def llama_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    (folder.parent / "model.gguf").write_bytes(as_gguf(tiny_llama()))
    write_gguf_model(folder, folder.parent / "model.gguf")
    return folder


def test_whisper_has_the_same_weights_and_no_other(whisper_folder):
    model, info = WhisperForConditionalGeneration.from_pretrained(whisper_folder, output_loading_info=True)
    assert not any(info.values())
    original = tiny_whisper().state_dict()
    loaded = model.state_dict()
    assert loaded.keys() == original.keys()
    assert all(torch.equal(loaded[name], original[name]) for name in original)
    assert model.config.decoder_ffn_dim == 40
    assert model.config.num_mel_bins == 8


def test_whisper_writes_down_with_the_times_of_its_timestamps(whisper_folder):
    model = WhisperForConditionalGeneration.from_pretrained(whisper_folder, dtype=torch.float32).eval()
    processor = WhisperProcessor.from_pretrained(whisper_folder)
    features = processor(np.zeros(16_000, np.float32), sampling_rate=16_000, return_tensors="pt")
    tokens = model.generate(
        **features, language="de", task="transcribe", return_timestamps=True, max_new_tokens=5, num_beams=1
    )
    first = len(BYTES) + len(WHISPER_TOKENS)  # <|0.00|>
    assert first <= tokens[0, 0] <= first + model.generation_config.max_initial_timestamp_index
    text = processor.tokenizer.decode([first + 53, BYTES.index("a"), first + 106], output_offsets=True)
    assert text["offsets"] == [{"text": "a", "timestamp": (1.06, 2.12)}]
    assert model.generation_config.no_timestamps_token_id - 1 == len(BYTES) + WHISPER_TOKENS.index(
        "<|nospeech|>"
    )


def test_a_llama_gives_the_same_logits(llama_folder):
    model, info = LlamaForCausalLM.from_pretrained(
        llama_folder, dtype=torch.float32, output_loading_info=True
    )
    assert not any(info.values())
    tokens = torch.randint(0, model.config.vocab_size, (1, 20), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(model.eval()(tokens).logits, tiny_llama()(tokens).logits)


def test_a_qwen2_gives_the_same_logits_with_biases_and_an_output_layer_of_its_own(tmp_path):
    (tmp_path / "model.gguf").write_bytes(as_gguf(tiny_qwen2()))
    (tmp_path / "qwen2").mkdir()
    write_gguf_model(tmp_path / "qwen2", tmp_path / "model.gguf")
    model, info = AutoModelForCausalLM.from_pretrained(
        tmp_path / "qwen2", dtype=torch.float32, output_loading_info=True
    )
    assert not any(info.values())
    tokens = torch.randint(0, model.config.vocab_size, (1, 20), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(model.eval()(tokens).logits, tiny_qwen2()(tokens).logits)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "qwen2")
    assert tokenizer.decode(tokenizer.encode("Größe 12")) == "Größe 12"


def test_q5_0_is_read_as_ggml_reads_it():
    """dequantize_row_q5_0 of ggml-quants.c, value by value."""
    generator = np.random.default_rng(0)
    blocks = []
    for scale in (0.5, -0.125):
        fifth, nibbles = generator.integers(0, 256, 4), generator.integers(0, 256, 16)
        blocks.append(np.float16(scale).tobytes() + bytes(fifth.tolist()) + bytes(nibbles.tolist()))
    expected = []
    for block in blocks:
        (d,), qh = np.frombuffer(block[:2], np.float16), int.from_bytes(block[2:6], "little")
        halves = [[], []]
        for j in range(16):
            low = (block[6 + j] & 0x0F) | ((qh >> j) << 4) & 0x10
            high = (block[6 + j] >> 4) | (qh >> (j + 12)) & 0x10
            halves[0].append((low - 16) * float(d))
            halves[1].append((high - 16) * float(d))
        expected += halves[0] + halves[1]
    values = dequantize(torch.tensor(list(b"".join(blocks)), dtype=torch.uint8), Q5_0)
    assert values.tolist() == expected


def test_its_tokenizer_splits_numbers_into_digits_and_keeps_the_chat_template(llama_folder):
    tokenizer = AutoTokenizer.from_pretrained(llama_folder)
    first = len(LLAMA_TOKENS)
    one, two = (first + BYTES.index(digit) for digit in "12")
    assert tokenizer.encode("12") == [one, two]  # although "12" is a token
    assert tokenizer.decode(tokenizer.encode("Größe 12")) == "Größe 12"
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 2)
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "1"}], return_dict=False)
    assert chat == [1, one]
