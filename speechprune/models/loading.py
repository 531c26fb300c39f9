"""Where a model comes from: hub id, local folder, ``s3://`` folder, or a shipped configuration."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from transformers import PreTrainedConfig

from speechprune import storage
from speechprune.cost import DecoderShape, ModelShape, paper_weights_bytes
from speechprune.models.base import SpeechModel
from speechprune.models.compilation import compile_layers
from speechprune.models.config_files import is_shipped, read_config
from speechprune.models.hub import ModelError, as_model_error, fetch_folder, is_from
from speechprune.models.options import ModelOptions, resolve_device, resolve_dtype
from speechprune.models.registry import find_family
from speechprune.models.source import ModelSource

_LARGEST_DECODER = 10**13  # weights
_LARGEST_WINDOW = 10**18  # FLOPs
_FEWEST_BITS = 2  # that a stored weight has
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def parse_config(
    path: str, revision: str | None = None, family: str | None = None
) -> tuple[type[SpeechModel], PreTrainedConfig]:
    """Find a model's family and parse its configuration, without its weights.

    Raises
    ------
    ModelError
        In one line, see ``read_config``; or of a family that is not supported.
    """
    values = read_config(path, revision)
    kind = find_family(path, values.get("model_type"), family)
    with _model_errors(path, kind):
        return kind, kind.parse_config(values | {"_name_or_path": path})


def model_shape(path: str, revision: str | None = None, family: str | None = None) -> ModelShape:
    """Read the sizes that the cost account needs, from a configuration alone (see ``read_config``).

    Raises
    ------
    ModelError
        In one line: of the configuration, or of sizes that no model has.
    """
    return _shape_of(path, *parse_config(path, revision, family))


def _shape_of(path: str, kind: type[SpeechModel], config: PreTrainedConfig) -> ModelShape:
    try:
        shape = kind.shape_of(config)
        sizes = dataclasses.asdict(shape.decoder) | dataclasses.asdict(cast(Any, shape.encoder))
        odd = [f"{name} is {size!r}" for name, size in sizes.items() if not size > 0]
        if _num_weights(shape.decoder) > _LARGEST_DECODER or shape.encoder.flops(1) > _LARGEST_WINDOW:
            odd.append("no model is as large")
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        odd = [f"{type(error).__name__}: {error}"]
    if odd:
        raise ModelError(f"the sizes in config.json of model {path} can't be right ({odd[0]}): get it again")
    return shape


def check_model(options: ModelOptions) -> ModelShape:
    """Find out, without loading it, whether a model can be loaded.

    Raises
    ------
    ModelError
        In one line: missing, gated, of a family that is not supported, or a folder without weights.
    """
    kind, config = parse_config(options.path, options.revision, options.family)
    shape = _shape_of(options.path, kind, config)
    _check_weights(options, shape, holds_all=kind.holds_all_weights(config))
    return shape


def _check_weights(options: ModelOptions, shape: ModelShape, *, holds_all: bool) -> None:
    """Refuse a folder without weights, or with fewer than its config.json describes."""
    _refuse_shipped(options.path)
    is_folder = storage.is_remote(options.path) or Path(options.path).is_dir()
    if options.random_weights or not is_folder or not holds_all:
        return
    fs, root = storage.filesystem(options.path)
    files = fs.find(root, detail=True)
    stored = [info["size"] for file, info in files.items() if file.endswith(".safetensors")]
    if not stored and any(file.endswith(_PICKLES) for file in files):
        raise ModelError(
            f"model.path {options.path} holds weights as pickles alone, which can hold code and are never "
            "loaded: save them as safetensors (save_pretrained does)"
        )
    if not stored:
        raise ModelError(
            f"model.path {options.path} holds no weights (*.safetensors): give the folder of a saved model, "
            "or set model.random_weights=true for a load test"
        )
    num_weights, num_bytes = _num_weights(shape.decoder), sum(stored)
    if num_weights * _FEWEST_BITS > num_bytes * 8:
        raise ModelError(
            f"model.path {options.path} is incomplete: its files hold {num_bytes:,} bytes of weights, too "
            f"few for the {num_weights:,} weights of the decoder that its config.json describes"
        )


def load_transcript_tokenizer(options: ModelOptions) -> Any:
    """Load the tokenizer of a model that writes down what is spoken, without its weights.

    Raises
    ------
    ModelError
        In one line: missing, or of a family that writes nothing down.
    """
    kind, config = parse_config(options.path, options.revision, options.family)
    if not kind.states_are_ids:
        raise ModelError(f"model {options.path} writes no transcripts: a cascade does")
    with _model_errors(options.path, kind):
        return kind.load_tokenizer(_source(dataclasses.replace(options, device="cpu"), config))


def load_model(options: ModelOptions) -> SpeechModel:
    """Load weights and processor onto the device, ready to encode.

    Raises
    ------
    ModelError
        In one line: missing, gated, incomplete, or too large for the device.
    """
    kind, config = parse_config(options.path, options.revision, options.family)
    shape = _shape_of(options.path, kind, config)
    _check_weights(options, shape, holds_all=kind.holds_all_weights(config))
    with _model_errors(options.path, kind):
        source = _source(options, config)
        try:
            model = kind.load(source)
            chat = model.tokenizer(model.render_chat("a"), add_special_tokens=False)["input_ids"]
        except torch.cuda.OutOfMemoryError as error:
            raise ModelError(
                f"model {options.path} does not fit on the GPU in {source.dtype}: set model.device_map=auto "
                "to shard it"
            ) from error
    if (longest := model.language_model.max_prompt_tokens) < len(chat):
        raise ModelError(f"model {options.path} takes {longest} tokens by its config.json: get it again")
    if chat.count(placeholder := model.language_model.audio_token_id) != 1:
        raise ModelError(
            f"model {options.path} can't be asked about audio: its chat template does not hold token "
            f"{placeholder}, the placeholder of the audio by its config.json, once"
        )
    if options.compile:
        compile_layers(model)
    return model


def _source(options: ModelOptions, config: PreTrainedConfig) -> ModelSource:
    folder = fetch_folder(options.path) if storage.is_remote(options.path) else options.path
    device = resolve_device(options.device)
    dtype = resolve_dtype(options.dtype, device)
    return ModelSource(options=options, config=config, folder=folder, device=device, dtype=dtype)


@contextlib.contextmanager
def _model_errors(path: str, kind: type[SpeechModel]) -> Iterator[None]:
    """Convert what a folder's content makes the libraries raise; an error in a family's own code stays."""
    try:
        yield
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        raise as_model_error(path, error) from error
    except Exception as error:
        if is_from(error, {"speechprune", kind.__module__.split(".")[0]}):
            raise
        raise as_model_error(path, error) from error


def _num_weights(decoder: DecoderShape) -> int:
    """Layers and the embeddings, which may also be the output layer."""
    return paper_weights_bytes(decoder) // 2 + decoder.vocab_size * decoder.hidden_size


def _refuse_shipped(path: str) -> None:
    if is_shipped(path):
        raise ModelError(
            f"model.path {path} is a configuration alone, without tokenizer and weights: "
            "give a hub id, a local folder or an s3:// folder"
        )
