"""Configuration of benchmark synthesis: one dataclass per section."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from dataclasses import dataclass, field
from typing import Any, Literal

from speechprune import storage
from speechprune.benchmarks.builder.acoustics import AcousticOptions
from speechprune.benchmarks.builder.card import QualityOptions
from speechprune.benchmarks.builder.chat_writer import ChatOptions
from speechprune.benchmarks.builder.export import AudioFormat
from speechprune.benchmarks.builder.hugging_face_speech import HuggingFaceSpeechOptions
from speechprune.benchmarks.builder.kokoro_speech import KokoroOptions
from speechprune.benchmarks.builder.piper_speech import PiperOptions
from speechprune.benchmarks.builder.plan import ItemsOptions
from speechprune.benchmarks.builder.speech_endpoint import SpeechEndpointOptions

# of a section that asks a server or runs a model: these change when an answer comes, not what it is
FREE_SETTINGS = {
    "api_key_variable",
    "backoff_seconds",
    "base_url",
    "device",
    "max_attempts",
    "timeout_seconds",
}

# of the sections that a kind of writer or speech needs
REQUIRED_KEYS = {
    "chat": "model",
    "endpoint": "model",
    "hugging_face": "model",
    "kokoro": "model",
    "piper": "female",
}


@dataclass(frozen=True, kw_only=True)
class BenchmarkOutputOptions:
    """Location and audio format of the benchmark.

    Parameters
    ----------
    path
        Folder, local or any fsspec URL.
    audio_format
        ``flac`` keeps every sample (about 1 MB a minute), ``opus`` is a fifth of that.
    """

    path: str
    audio_format: AudioFormat = "flac"


@dataclass(frozen=True, kw_only=True)
class WriterOptions:
    """Source of the scripts.

    Parameters
    ----------
    kind
        ``grammar`` (built in, closed vocabulary), ``chat`` (a model behind an endpoint, see the section
        chat) or ``spiral`` (existing texts, with their own lengths, letters and places of facts).
    texts
        SPIRAL's ``data.jsonl`` or another file of its form, for ``spiral``.
    """

    kind: Literal["grammar", "chat", "spiral"] = "grammar"
    texts: str | None = None

    def __post_init__(self) -> None:
        if self.kind == "spiral" and self.texts is None:
            raise ValueError("texts is missing: give SPIRAL's data.jsonl, or a file of its form")


@dataclass(frozen=True, kw_only=True)
class SpeechOptions:
    """Source of the speech.

    Parameters
    ----------
    kind
        ``espeak`` (in process, many voices, word times), ``piper`` or ``kokoro`` (neural, in process, word
        times), ``endpoint`` or ``hugging_face`` (see the sections of those names; they know no groups of
        voices).
    words_per_minute
        Mean pace of espeak-ng's voices; each speaker differs a little from it.
    overlap_fraction
        Share of the changes of speaker at which the next begins before the last has ended.
    pause_seconds
        Mean of a pause that is added at each change of turn, even between 0 and twice that: recordings
        become longer than ``items`` says, by silence alone.
    """

    kind: Literal["espeak", "piper", "kokoro", "endpoint", "hugging_face"] = "espeak"
    words_per_minute: int = 165
    overlap_fraction: float = 0.0
    pause_seconds: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.overlap_fraction <= 1:
            raise ValueError(f"overlap_fraction is {self.overlap_fraction:g}: give a share from 0 to 1")
        if not 0 <= self.pause_seconds < math.inf:
            raise ValueError(f"pause_seconds is {self.pause_seconds:g}: give 0 or more")
        if not 80 <= self.words_per_minute <= 400:
            raise ValueError(f"words_per_minute is {self.words_per_minute}: give 80 to 400")


@dataclass(frozen=True, kw_only=True)
class BuildRayOptions:
    """Distribution of the work; nothing here changes a byte of the benchmark.

    Parameters
    ----------
    executor
        ``ray``: on the cluster of RAY_ADDRESS or of this machine, or on one started here. ``local``: in this
        process, one recording after the other, without Ray; of the settings below only
        ``recordings_per_block`` applies then.
    cpus_per_actor
        CPUs of an actor, which makes one recording at a time; a small share for work that waits for
        an endpoint.
    gpus_per_actor
        GPUs of an actor, for a Hugging Face speech model.
    max_actors
        Default: as many as fit into the cluster.
    recordings_per_block
        Recordings that are scheduled together and recorded in one file.
    max_attempts
        Number of times that a recording may kill its worker before it counts as failed.
    """

    executor: Literal["ray", "local"] = "ray"
    cpus_per_actor: float = 1.0
    gpus_per_actor: float = 0.0
    max_actors: int | None = None
    recordings_per_block: int = 4
    max_attempts: int = 3

    def __post_init__(self) -> None:
        for name in ("max_actors", "recordings_per_block", "max_attempts"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}: give at least 1")
        if not 0 < self.cpus_per_actor < math.inf:
            raise ValueError(f"cpus_per_actor is {self.cpus_per_actor}: give more than 0")
        if not 0 <= self.gpus_per_actor < math.inf:
            raise ValueError(f"gpus_per_actor is {self.gpus_per_actor}: give 0 or more")


@dataclass(frozen=True, kw_only=True)
class BuildConfig:
    """Configuration of ``jobs/build_benchmark.py``."""

    output: BenchmarkOutputOptions
    items: ItemsOptions = field(default_factory=ItemsOptions)
    writer: WriterOptions = field(default_factory=WriterOptions)
    chat: ChatOptions | None = None
    speech: SpeechOptions = field(default_factory=SpeechOptions)
    endpoint: SpeechEndpointOptions | None = None
    hugging_face: HuggingFaceSpeechOptions | None = None
    piper: PiperOptions | None = None
    kokoro: KokoroOptions | None = None
    acoustics: AcousticOptions = field(default_factory=AcousticOptions)
    quality: QualityOptions = field(default_factory=QualityOptions)
    ray: BuildRayOptions = field(default_factory=BuildRayOptions)

    def __post_init__(self) -> None:
        for choice, kind in (("writer", self.writer.kind), ("speech", self.speech.kind)):
            if kind in REQUIRED_KEYS and getattr(self, kind) is None:
                raise ValueError(
                    f"{kind}.{REQUIRED_KEYS[kind]} is missing: {choice}.kind={kind} needs the section {kind}"
                )
        if self.items.num_recordings is None and self.writer.kind != "spiral":
            raise ValueError("items.num_recordings is null: only texts that exist have an end of their own")

    @property
    def voices_have_groups(self) -> bool:
        """Whether some voices are held out from training."""
        return self.speech.kind == "espeak"

    def settings(self) -> dict[str, Any]:
        """Settings that determine the benchmark's bytes, by dotted name.

        Raises
        ------
        ConfigError
            ``writer.texts`` can't be read.
        """
        settings: dict[str, Any] = {}
        sections = ["items", "writer", "speech", "acoustics"]
        sections += [kind for kind in (self.writer.kind, self.speech.kind) if hasattr(self, kind)]
        for section in sections:
            for name, value in dataclasses.asdict(getattr(self, section)).items():
                if section in ("chat", "endpoint", "hugging_face") and name in FREE_SETTINGS:
                    continue
                settings[f"{section}.{name}"] = list(value) if isinstance(value, tuple) else value
        if settings.pop("writer.texts") is not None:
            settings["writer.texts (fingerprint of its content)"] = _fingerprint(str(self.writer.texts))
        return settings | {"output.audio_format": self.output.audio_format}

    def script_settings(self) -> dict[str, Any]:
        """Those of ``settings`` that determine the scripts."""
        return {n: v for n, v in self.settings().items() if n.startswith(("items.", "writer.", "chat."))}


def _fingerprint(path: str) -> str:
    return hashlib.sha256(storage.read_bytes(path)).hexdigest()[:16]
