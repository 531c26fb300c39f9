"""A tiny Piper voice: every phoneme lasts equally long, and its level is the model's own noise."""

import json
import struct
from pathlib import Path

RATE, HOP_LENGTH, NUM_FRAMES = 22_050, 256, 4
SAMPLES_PER_ID = HOP_LENGTH * NUM_FRAMES
DURATIONS = "/Ceil_output_0"  # as Piper's exports name it
FLOAT, INT64 = 1, 7  # ONNX's types
SYMBOLS = "_^$ !'(),-.:;?abcdefhijklmnopqrstuvwxyzæçðøħŋœɐɑɒɔəɚɛɜɡɪɹɾʃʊʌʒʔʲˈˌːθᵻ"


def write_voice(path: Path, speakers: tuple[str, ...] = (), durations: str = DURATIONS) -> Path:
    """Write a voice file and its settings; ``durations`` is the name of the layer that gives them."""
    settings = {
        "audio": {"sample_rate": RATE},
        "espeak": {"voice": "en-us"},
        "num_symbols": len(SYMBOLS),
        "num_speakers": max(len(speakers), 1),
        "speaker_id_map": {name: number for number, name in enumerate(speakers)},
        "phoneme_id_map": {symbol: [number] for number, symbol in enumerate(SYMBOLS)},
        "hop_length": HOP_LENGTH,
    }
    Path(f"{path}.json").write_text(json.dumps(settings))
    path.write_bytes(_model(durations, many=bool(speakers)))
    return path


def _model(durations: str, many: bool) -> bytes:
    """Durations: NUM_FRAMES for every id. Sound: a random level per id, ``sid + 0.1`` times as loud."""
    nodes = [
        _node("Cast", ["input"], "ids", to=FLOAT),
        _node("Mul", ["ids", "zero"], "zeros"),
        _node("Add", ["zeros", "frames"], "lengths"),
        _node("Ceil", ["lengths"], durations),
        _node("RandomNormalLike", ["ids"], "noise"),
        _node("Tanh", ["noise"], "level"),
        _node("Unsqueeze", ["level", "last"], "column"),
        _node("Tile", ["column", "repeats"], "rows"),
        _node("Reshape", ["rows", "flat"], "sound"),
        _node("Cast", ["sid" if many else "one"], "speaker", to=FLOAT),
        _node("Add", ["speaker", "tenth"], "loudness"),
        _node("Mul", ["sound", "loudness"], "output"),
        _node("Identity", ["input_lengths"], "unused"),
        _node("Identity", ["scales"], "unused too"),
    ]
    constants = [
        _tensor("zero", FLOAT, struct.pack("<f", 0)),
        _tensor("frames", FLOAT, struct.pack("<f", NUM_FRAMES)),
        _tensor("tenth", FLOAT, struct.pack("<f", 0.1)),
        _tensor("one", INT64, struct.pack("<q", 1)),
        _tensor("last", INT64, struct.pack("<q", -1)),
        _tensor("repeats", INT64, struct.pack("<3q", 1, 1, SAMPLES_PER_ID)),
        _tensor("flat", INT64, struct.pack("<3q", 1, 1, -1)),
    ]
    inputs = [("input", INT64, 2), ("input_lengths", INT64, 1), ("scales", FLOAT, 1)]
    inputs += [("sid", INT64, 1)] * many
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
