"""Build the demo: a small archive read aloud by espeak-ng, its manifest, and a model folder without weights.

Run ``python demo/make_demo.py`` after ``pip install -e ".[demo]"``. From ``dialogues.yaml`` it writes, beside
itself, ``archive/*.opus``, ``manifest.jsonl`` and ``model/``; running it again gives the same bytes.
"""

import ctypes
import json
from pathlib import Path
from typing import Any

import av
import espeakng_loader
import numpy as np
import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2AudioConfig,
    Qwen2AudioProcessor,
    WhisperFeatureExtractor,
)

DEMO = Path(__file__).parent
SAMPLE_RATE = 16_000
OPUS_BITS_PER_SECOND = 18_000
WORDS_PER_MINUTE = 170
TURN_PAUSE_SECONDS = 0.4
VOCAB_SIZE = 600
MAX_POSITIONS = 8192
SPECIAL_TOKENS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|AUDIO|>",
    "<|audio_bos|>",
    "<|audio_eos|>",
]

Recording = dict[str, Any]


class Espeak:
    """espeak-ng's shared library, called in process: text in, PCM out.

    Constants and signatures are those of ``speak_lib.h``.
    """

    AUDIO_OUTPUT_SYNCHRONOUS = 2
    CHARS_UTF8 = 1
    POS_CHARACTER = 1
    RATE_PARAMETER = 1

    def __init__(self) -> None:
        self.library = ctypes.cdll.LoadLibrary(espeakng_loader.get_library_path())
        data_path = espeakng_loader.get_data_path().encode()
        self.sample_rate = self.library.espeak_Initialize(self.AUDIO_OUTPUT_SYNCHRONOUS, 0, data_path, 0)
        if self.sample_rate <= 0:
            raise RuntimeError("espeak-ng did not start: reinstall it with `pip install espeakng-loader`")
        self.chunks: list[bytes] = []
        callback_type = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
        self.callback = callback_type(self._collect)  # kept: the library holds only a pointer to it
        self.library.espeak_SetSynthCallback(self.callback)

    def _collect(self, samples: int | None, num_samples: int, _events: int | None) -> int:
        if samples:
            self.chunks.append(ctypes.string_at(samples, 2 * num_samples))
        return 0

    def speak(self, text: str, voice: str) -> np.ndarray:
        """Return `text` spoken by `voice`: int16 samples at `sample_rate`, shape ``(num_samples,)``."""
        if self.library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice!r}")
        self.library.espeak_SetParameter(self.RATE_PARAMETER, WORDS_PER_MINUTE, 0)
        self.library.espeak_ng_SetRandSeed(1)  # some voices have random breath in them
        self.chunks.clear()
        data = ctypes.create_string_buffer(text.encode())
        size = ctypes.c_size_t(ctypes.sizeof(data))
        if self.library.espeak_Synth(data, size, 0, self.POS_CHARACTER, 0, self.CHARS_UTF8, None, None) != 0:
            raise RuntimeError(f"espeak-ng could not speak {text!r}")
        return np.frombuffer(b"".join(self.chunks), dtype=np.int16)


def render(recording: Recording, espeak: Espeak) -> np.ndarray:
    """Speak all turns, a pause after each: int16 samples, shape ``(num_samples,)``."""
    pause = np.zeros(round(TURN_PAUSE_SECONDS * espeak.sample_rate), dtype=np.int16)
    pieces = []
    for turn in recording["turns"]:
        [(speaker, text)] = turn.items()
        pieces += [espeak.speak(text, recording["speakers"][speaker]), pause]
    return np.concatenate(pieces)


def write_opus(path: Path, samples: np.ndarray, sample_rate: int) -> None:
    """Write mono int16 `samples` as 16 kHz Opus, without the random serial number that Ogg streams carry."""
    with av.open(path, "w", format="opus", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libopus", rate=SAMPLE_RATE, layout="mono")
        stream.bit_rate = OPUS_BITS_PER_SECOND
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = sample_rate  # the encoder resamples to its own
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def manifest_rows(recordings: list[Recording]) -> list[dict[str, Any]]:
    """Return one manifest row per question."""
    return [
        {
            "item_id": f"{recording['id']}-{number}",
            "audio": f"archive/{recording['id']}.opus",
            "question": item["question"],
            "choices": item.get("choices"),
            "answer": item["answer"],
            "scenario": recording["scenario"],
        }
        for recording in recordings
        for number, item in enumerate(recording["questions"], start=1)
    ]


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE on `texts`; its alphabet holds every byte, so each letter is one token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=SPECIAL_TOKENS,
        model_max_length=MAX_POSITIONS,
    )


def write_model_folder(folder: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """Write configuration, processor and tokenizer of the demo model: Qwen2-Audio with 4.7 M parameters."""
    feature_extractor = WhisperFeatureExtractor(
        feature_size=80, sampling_rate=SAMPLE_RATE, chunk_length=30, return_attention_mask=True
    )
    config = Qwen2AudioConfig(
        architectures=["Qwen2AudioForConditionalGeneration"],
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
        audio_config={
            "model_type": "qwen2_audio_encoder",
            "num_mel_bins": 80,
            "d_model": 192,
            "encoder_layers": 4,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": 768,
            "max_source_positions": 1500,
        },
        text_config={
            "model_type": "qwen2",
            "vocab_size": len(tokenizer),
            "hidden_size": 192,
            "intermediate_size": 512,
            "num_hidden_layers": 5,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "max_position_embeddings": MAX_POSITIONS,
            "tie_word_embeddings": False,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
    )
    config.save_pretrained(folder)
    GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=False
    ).save_pretrained(folder)
    feature_extractor.save_pretrained(folder)
    Qwen2AudioProcessor(feature_extractor, tokenizer).save_pretrained(folder)


def main() -> None:
    """Write the archive, the manifest and the model folder."""
    recordings = yaml.safe_load((DEMO / "dialogues.yaml").read_text())["recordings"]

    (DEMO / "archive").mkdir(exist_ok=True)
    espeak = Espeak()
    for recording in recordings:
        samples = render(recording, espeak)
        write_opus(DEMO / f"archive/{recording['id']}.opus", samples, espeak.sample_rate)
        print(f"{recording['id']:24}{len(samples) / espeak.sample_rate:6.1f} s")

    rows = manifest_rows(recordings)
    (DEMO / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    spoken = [text for recording in recordings for turn in recording["turns"] for text in turn.values()]
    asked = [text for row in rows for text in [row["question"], *(row["choices"] or [])]]
    write_model_folder(DEMO / "model", train_tokenizer(spoken + asked))
    print(f"{len(rows)} questions about {len(recordings)} recordings: {DEMO / 'manifest.jsonl'}")


if __name__ == "__main__":
    main()
