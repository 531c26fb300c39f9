"""config.json of Ultravox, which names the language model, and the encoder where it holds none itself."""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from speechprune.models.hub import ModelError
from speechprune.models.parts import Part, find_parts, whole_of

# what published files name without a commit
PINNED = {
    "meta-llama/Llama-3.1-8B-Instruct": "0e9e39f249a16976918f6564b8830bc894c89659",
    "meta-llama/Llama-3.2-1B-Instruct": "9213176726f574b556790deb65791e0c5aa438b6",
    "openai/whisper-large-v3-turbo": "41f01f3fe87f28c78e2fbf8b568835947dd65ed9",
}
TEXT, AUDIO = "text_model_id", "audio_model_id"
# what a variant has that is not supported: its entry, the only value that is, and what it is
VARIANTS = (
    ("projector_ln_mid", True, "of version 0.4.1 or older: give 0.5 or later"),
    ("projector_act", "swiglu", "with another projector: give one with swiglu"),
    ("num_projector_layers", 0, "with another projector: give one without layers of attention"),
    ("audio_latency_block_size", None, "for streams: give one whose encoder attends to whole windows"),
)


class UltravoxConfig(PreTrainedConfig):
    """A parsed config.json.

    ``text_part`` is a Llama that was tuned to chat; ``audio_part`` a Whisper, None where the encoder is among
    Ultravox's own weights alone. Each is a repository in ``PINNED``, a folder beside config.json, or a
    repository of the hub at a commit, as ``{"repository": "team/name", "revision": "<commit, 40 digits>"}``.
    """

    model_type = "ultravox"

    def __init__(
        self,
        text_part: Part,
        audio_part: Part | None,
        audio_config: Any,
        stack_factor: int,
        projector_size: int,
        **kwargs: Any,
    ) -> None:
        self.text_part = text_part
        self.audio_part = audio_part
        self.text_config: Any = text_part.config
        self.audio_config = audio_config
        self.stack_factor = stack_factor  # positions of a token
        self.projector_size = projector_size  # behind the first layer, gate included
        self.has_encoder = audio_part is None  # whether Ultravox's own weights are to have one
        self.audio_token_id: int | None = None  # of the tokenizer, once that is loaded
        super().__init__(**kwargs)


def parse_ultravox(values: dict[str, Any]) -> UltravoxConfig:
    """Parse the content of config.json, and read those of the models that it names.

    Raises
    ------
    ModelError
        In one line: of config.json, or of a model that it names.
    """
    whole = whole_of(values)
    for name, supported, variant in VARIANTS:
        default = False if name == "projector_ln_mid" else supported
        if values.get(name, default) != supported:
            raise ModelError(f"{whole} is an Ultravox {variant} ({name} in its config.json)")
    kinds = {TEXT: "llama"} | ({} if values.get(AUDIO) is None else {AUDIO: "whisper"})
    parts = find_parts(kinds, PINNED, values)
    audio = parts.get(AUDIO)
    return UltravoxConfig(
        text_part=parts[TEXT],
        audio_part=audio,
        audio_config=audio.config if audio else _own_encoder(values),
        stack_factor=values.get("stack_factor", 8),
        projector_size=values.get("hidden_size", 4096),
    )


def _own_encoder(values: dict[str, Any]) -> PreTrainedConfig:
    own = values.get("audio_config")
    if not isinstance(own, dict) or own.get("model_type") != "whisper":
        raise ModelError(
            f"config.json of {whole_of(values)} names no encoder: give a Whisper as {AUDIO}, or its own "
            "config as audio_config"
        )
    return AutoConfig.for_model(**own)
