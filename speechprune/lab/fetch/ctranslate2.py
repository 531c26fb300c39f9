"""CTranslate2's Whisper checkpoints, read and converted to Hugging Face's names: a copy, value by value."""

from __future__ import annotations

import struct

import numpy as np
import torch

DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
Variables = dict[str, np.ndarray]


def read_variables(content: bytes) -> Variables:
    """Read the variables of a ``model.bin``: an array per name, without its aliases.

    The layout, little-endian: version, name and revision of the specification, number of variables; then per
    variable its name, rank, dimensions, type, number of bytes and values. A text is its length and its bytes.
    """
    offset = 0

    def number(kind: str) -> int:
        nonlocal offset
        (value,) = struct.unpack_from(f"<{kind}", content, offset)
        offset += struct.calcsize(f"<{kind}")
        return int(value)

    def text() -> str:
        nonlocal offset
        length = number("H")
        value = content[offset : offset + length]
        offset += length
        return value.rstrip(b"\0").decode()

    number("I"), text(), number("I")
    variables: Variables = {}
    for _ in range(number("I")):
        name = text()
        shape = [number("I") for _ in range(number("B"))]
        dtype = np.dtype(DTYPES[number("B")])
        num_bytes = number("I")
        values = np.frombuffer(content, dtype, count=num_bytes // dtype.itemsize, offset=offset)
        variables[name] = values.reshape(shape)
        offset += num_bytes
    return variables


def whisper_weights(variables: Variables) -> dict[str, torch.Tensor]:
    """Return Whisper's weights under the names of ``WhisperForConditionalGeneration``.

    CTranslate2 joins the projections that read the same input: query, key and value of self-attention, key
    and value of cross-attention. The key has no bias; the join holds zeros in its place.
    """
    weights: dict[str, torch.Tensor] = {}

    def put(name: str, values: np.ndarray) -> None:
        weights[name] = torch.from_numpy(values.copy())

    def put_layer(target: str, source: str, weight: str = "weight", bias: str = "bias") -> None:
        put(f"{target}.weight", variables[f"{source}/{weight}"])
        put(f"{target}.bias", variables[f"{source}/{bias}"])

    def put_joined(target: str, source: str, projections: str) -> None:
        parts = len(projections)
        joined = (np.split(variables[f"{source}/{kind}"], parts) for kind in ("weight", "bias"))
        for projection, weight, bias in zip(projections, *joined, strict=True):
            put(f"{target}.{projection}_proj.weight", weight)
            if projection != "k":
                put(f"{target}.{projection}_proj.bias", bias)

    for side in ("encoder", "decoder"):
        for number in range(num_layers(variables, side)):
            source, target = f"{side}/layer_{number}", f"model.{side}.layers.{number}"
            put_joined(f"{target}.self_attn", f"{source}/self_attention/linear_0", "qkv")
            put_layer(f"{target}.self_attn.out_proj", f"{source}/self_attention/linear_1")
            norms = {"self_attn_layer_norm": "self_attention", "final_layer_norm": "ffn"}
            if side == "decoder":
                put_layer(f"{target}.encoder_attn.q_proj", f"{source}/attention/linear_0")
                put_joined(f"{target}.encoder_attn", f"{source}/attention/linear_1", "kv")
                put_layer(f"{target}.encoder_attn.out_proj", f"{source}/attention/linear_2")
                norms["encoder_attn_layer_norm"] = "attention"
            for norm, block in norms.items():
                put_layer(f"{target}.{norm}", f"{source}/{block}/layer_norm", "gamma", "beta")
            put_layer(f"{target}.fc1", f"{source}/ffn/linear_0")
            put_layer(f"{target}.fc2", f"{source}/ffn/linear_1")
        put_layer(f"model.{side}.layer_norm", f"{side}/layer_norm", "gamma", "beta")
        put(f"model.{side}.embed_positions.weight", variables[f"{side}/position_encodings/encodings"])
    for convolution in ("conv1", "conv2"):
        put_layer(f"model.encoder.{convolution}", f"encoder/{convolution}")
    put("model.decoder.embed_tokens.weight", variables["decoder/embeddings/weight"])  # and the output layer
    return weights


def num_layers(variables: Variables, side: str) -> int:
    """Number of layers of the encoder or the decoder."""
    return len(
        {name.split("/")[1] for name in variables if name.startswith(f"{side}/layer_")} - {"layer_norm"}
    )
