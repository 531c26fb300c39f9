"""Tiny neural voices as Piper and Kokoro have them: every phoneme lasts equally long and has a level."""

import json
import struct
from pathlib import Path

import numpy as np

PIPER_RATE, KOKORO_RATE = 22_050, 24_000
HOP_LENGTHS = {PIPER_RATE: 256, KOKORO_RATE: 600}
NUM_FRAMES = 4
PIPER_DURATIONS, KOKORO_DURATIONS = "/Ceil_output_0", "/encoder/Clip_output_0"  # as their exports name it
FLOAT, INT64 = 1, 7  # ONNX's types
SYMBOLS = "_^$ !'(),-.:;?abcdefhijklmnopqrstuvwxyzæçðøħŋœɐɑɒɔəɚɛɜɡɪɹɾʃʊʌʒʔʲˈˌːθᵻ"


def write_piper(path: Path, speakers: tuple[str, ...] = (), durations: str = PIPER_DURATIONS) -> Path:
    """Write a voice file, whose levels are the model's own noise, and its settings.

    ``durations`` is the name of the layer that gives them; speaker n is ``n + 0.1`` times as loud.
    """
    settings = {
        "audio": {"sample_rate": PIPER_RATE},
        "espeak": {"voice": "en-us"},
        "num_symbols": len(SYMBOLS),
        "num_speakers": max(len(speakers), 1),
        "speaker_id_map": {name: number for number, name in enumerate(speakers)},
        "phoneme_id_map": {symbol: [number] for number, symbol in enumerate(SYMBOLS)},
        "hop_length": HOP_LENGTHS[PIPER_RATE],
    }
    Path(f"{path}.json").write_text(json.dumps(settings))
    nodes = [
        _node("Cast", ["input"], "ids", to=FLOAT),
        _node("RandomNormalLike", ["ids"], "levels"),
        _node("Cast", ["sid" if speakers else "one"], "speaker", to=FLOAT),
        _node("Add", ["speaker", "tenth"], "loudness"),
        _node("Identity", ["input_lengths"], "unused"),
        _node("Identity", ["scales"], "unused too"),
    ]
    constants = [_tensor("tenth", FLOAT, struct.pack("<f", 0.1))]
    constants += [_tensor("one", INT64, struct.pack("<q", 1))] * (not speakers)
    inputs = [("input", INT64, 2), ("input_lengths", INT64, 1), ("scales", FLOAT, 1)]
    inputs += [("sid", INT64, 1)] * bool(speakers)
    path.write_bytes(_voice(nodes, constants, inputs, durations, PIPER_RATE))
    return path


def write_kokoro(folder: Path, voices: dict[str, float], durations: str = KOKORO_DURATIONS) -> Path:
    """Write a folder of Kokoro's voices, by name how loud they are; levels are sines of the tokens."""
    nodes = [
        _node("Cast", ["tokens"], "ids", to=FLOAT),
        _node("Sin", ["ids"], "levels"),
        _node("Identity", ["style"], "loudness"),
        _node("Identity", ["speed"], "unused"),
    ]
    inputs = [("tokens", INT64, 2), ("style", FLOAT, 2), ("speed", FLOAT, 1)]
    (folder / "tiny.onnx").write_bytes(_voice(nodes, [], inputs, durations, KOKORO_RATE))
    vocab = {symbol: number for number, symbol in enumerate(SYMBOLS)}
    (folder / "vocab.json").write_text(json.dumps({"vocab": vocab}))
    styles = {name: np.full((60, 1, 1), loudness, np.float32) for name, loudness in voices.items()}
    np.savez(folder / "voices.npz", **styles)
    return folder


def _voice(
    nodes: list[bytes], constants: list[bytes], inputs: list[tuple[str, int, int]], durations: str, rate: int
) -> bytes:
    """A model: NUM_FRAMES for every id, each frame at the hyperbolic tangent of its level, times loudness."""
    nodes = [
        *nodes,
        _node("Mul", ["ids", "zero"], "zeros"),
        _node("Add", ["zeros", "frames"], "lengths"),
        _node("Ceil", ["lengths"], durations),
        _node("Tanh", ["levels"], "level"),
        _node("Unsqueeze", ["level", "last"], "column"),
        _node("Tile", ["column", "repeats"], "rows"),
        _node("Reshape", ["rows", "flat"], "sound"),
        _node("Mul", ["sound", "loudness"], "output"),
    ]
    constants = [
        *constants,
        _tensor("zero", FLOAT, struct.pack("<f", 0)),
        _tensor("frames", FLOAT, struct.pack("<f", NUM_FRAMES)),
        _tensor("last", INT64, struct.pack("<q", -1)),
        _tensor("repeats", INT64, struct.pack("<3q", 1, 1, NUM_FRAMES * HOP_LENGTHS[rate])),
        _tensor("flat", INT64, struct.pack("<3q", 1, 1, -1)),
    ]
    graph = [(1, node) for node in nodes] + [(2, b"voice")] + [(5, constant) for constant in constants]
    graph += [(11, _value(*value)) for value in inputs] + [(12, _value("output", FLOAT, 3))]
    return _message((1, 8), (8, _message((2, 17))), (7, _message(*graph)))


def _node(operator: str, inputs: list[str], output: str, **attributes: int) -> bytes:
    fields = [(1, name.encode()) for name in inputs] + [(2, output.encode()), (4, operator.encode())]
    fields += [(5, _message((1, name.encode()), (3, value), (20, 2))) for name, value in attributes.items()]
    return _message(*fields)


def _tensor(name: str, kind: int, values: bytes) -> bytes:
    size = len(values) // (4 if kind == FLOAT else 8)
    return _message((1, size), (2, kind), (8, name.encode()), (9, values))


def _value(name: str, kind: int, num_axes: int) -> bytes:
    shape = _message(*((1, _message((2, f"{name}-{axis}".encode()))) for axis in range(num_axes)))
    return _message((1, name.encode()), (2, _message((1, _message((1, kind), (2, shape))))))


def _message(*fields: tuple[int, int | bytes]) -> bytes:
    """Protobuf: numbers, and bytes with their length."""
    content = b""
    for number, value in fields:
        if isinstance(value, int):
            content += _varint(number << 3) + _varint(value)
        else:
            content += _varint(number << 3 | 2) + _varint(len(value)) + value
    return content


def _varint(value: int) -> bytes:
    content = b""
    while value > 127:
        content += bytes([value & 127 | 128])
        value >>= 7
    return content + bytes([value])
