"""A Whisper folder in Hugging Face's layout, made from a CTranslate2 checkpoint."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from speechprune.lab.fetch.ctranslate2 import Variables, num_layers, read_variables, whisper_weights
from speechprune.lab.fetch.folders import write_json

SAMPLE_RATE, HOP_LENGTH, WINDOW_SECONDS = 16_000, 160, 30  # Whisper's own, of every size


def write_whisper(folder: Path, model: Path, tokenizer: Path, settings: Path) -> None:
    """Write weights, configuration, tokenizer and feature extractor.

    Parameters
    ----------
    folder
        An empty folder.
    model, tokenizer, settings
        CTranslate2's ``model.bin``, ``tokenizer.json`` and ``config.json``.
    """
    variables = read_variables(model.read_bytes())
    save_file(whisper_weights(variables), folder / "model.safetensors", metadata={"format": "pt"})
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    special = {token["content"]: token["id"] for token in json.loads(tokenizer.read_bytes())["added_tokens"]}
    num_mel_bins = variables["encoder/conv1/weight"].shape[1]
    files = {
        "config": _model_config(variables, special),
        "generation_config": _generation_config(special, json.loads(settings.read_bytes())),
        "preprocessor_config": {
            "feature_extractor_type": "WhisperFeatureExtractor",
            "feature_size": num_mel_bins,
            "sampling_rate": SAMPLE_RATE,
            "hop_length": HOP_LENGTH,
            "chunk_length": WINDOW_SECONDS,
            "n_fft": 400,
        },
        "tokenizer_config": {
            "tokenizer_class": "WhisperTokenizer",
            **dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), "<|endoftext|>"),
            "additional_special_tokens": [  # all but the timestamps, which count from the last of these
                token for token, number in special.items() if number <= special["<|notimestamps|>"]
            ],
        },
    }
    for name, content in files.items():
        write_json(folder / f"{name}.json", content)


def _model_config(variables: Variables, special: dict[str, int]) -> dict[str, Any]:
    vocab_size, width = variables["decoder/embeddings/weight"].shape
    sides = {
        f"{side}_{key}": value
        for side in ("encoder", "decoder")
        for key, value in (
            ("layers", num_layers(variables, side)),
            ("attention_heads", int(variables[f"{side}/num_heads"])),
            ("ffn_dim", len(variables[f"{side}/layer_0/ffn/linear_0/bias"])),
        )
    }
    return {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "dtype": str(variables["decoder/embeddings/weight"].dtype),
        "d_model": width,
        "vocab_size": vocab_size,
        "num_mel_bins": variables["encoder/conv1/weight"].shape[1],
        "max_source_positions": len(variables["encoder/position_encodings/encodings"]),
        "max_target_positions": len(variables["decoder/position_encodings/encodings"]),
        **sides,
        **_special_ids(special),
    }


def _special_ids(special: dict[str, int]) -> dict[str, int]:
    end = special["<|endoftext|>"]
    return {
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "decoder_start_token_id": special["<|startoftranscript|>"],
    }


def _generation_config(special: dict[str, int], settings: dict[str, Any]) -> dict[str, Any]:
    """What ``generate`` needs to know of Whisper's tokens.

    The token for no speech is not among it: Transformers takes the one before ``<|notimestamps|>``.
    """
    languages = {token: number for token, number in special.items() if number in settings["lang_ids"]}
    return {
        **_special_ids(special),
        "alignment_heads": settings["alignment_heads"],
        "begin_suppress_tokens": settings["suppress_ids_begin"],
        "suppress_tokens": settings["suppress_ids"],
        "is_multilingual": True,
        "lang_to_id": languages,
        "task_to_id": {task: special[f"<|{task}|>"] for task in ("transcribe", "translate")},
        "no_timestamps_token_id": special["<|notimestamps|>"],
        "prev_sot_token_id": special["<|startofprev|>"],
        "max_initial_timestamp_index": 50,  # a second
        "max_length": 448,
        "return_timestamps": False,
    }
