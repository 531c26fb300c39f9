"""Configuration of ``jobs/train_connector.py``."""

from __future__ import annotations

from dataclasses import dataclass, field

from speechprune.lab.training.config import ModelOutputOptions, RunOptions


@dataclass(frozen=True, kw_only=True)
class StartOptions:
    """What the training starts from.

    Parameters
    ----------
    whisper
        Folder of a Whisper; its encoder is taken.
    llm
        Folder of a causal language model, whose embeddings are what the connector aims at.
    """

    whisper: str
    llm: str


@dataclass(frozen=True, kw_only=True)
class SpeechOptions:
    """What is spoken, and how.

    Parameters
    ----------
    texts
        Files of SPIRAL's form, ``data.jsonl``. Every fifth item of each is held out.
    piper
        Piper's voices, each of which speaks women's and men's sentences; default: espeak-ng alone speaks.
    piper_share
        Share of the windows that they speak, at some hundred times espeak-ng's cost.
    min_words_per_minute, max_words_per_minute
        Pace of the voices.
    noisy_share, min_snr_db, max_snr_db
        Share of the windows with noise, and the range of its signal-to-noise ratio.
    room_share, telephone_share
        Share of the windows in a room, and on a telephone line.
    """

    texts: tuple[str, ...]
    piper: tuple[str, ...] = ()
    piper_share: float = 0.12
    min_words_per_minute: int = 130
    max_words_per_minute: int = 210
    noisy_share: float = 0.4
    min_snr_db: float = 8.0
    max_snr_db: float = 40.0
    room_share: float = 0.15
    telephone_share: float = 0.05


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the connector is trained.

    Parameters
    ----------
    num_steps, windows_per_step
        Steps, and windows of 30 s in each.
    learning_rate
        Of Muon and AdamW, with warm-up and a cosine decay.
    free_layers
        Layers of the encoder, the last ones, that are trained with the connector.
    hidden_size
        Of the connector.
    """

    num_steps: int = 4000
    windows_per_step: int = 4
    learning_rate: float = 4e-4
    free_layers: int = 4
    hidden_size: int = 1024


@dataclass(frozen=True, kw_only=True)
class QuestionOptions:
    """What ``jobs/measure_connector.py`` asks.

    Parameters
    ----------
    model
        A cascade: its language model answers, with its own Whisper for comparison.
    kokoro
        Folder of Kokoro, which speaks beside espeak-ng's held-out voices.
    num_items
        Number of questions in each engine's voices.
    """

    model: str
    kokoro: str
    num_items: int = 40


@dataclass(frozen=True, kw_only=True)
class ConnectorConfig:
    """Configuration of ``jobs/train_connector.py`` and ``jobs/measure_connector.py``."""

    start: StartOptions
    speech: SpeechOptions
    output: ModelOutputOptions
    questions: QuestionOptions | None = None
    recipe: Recipe = field(default_factory=Recipe)
    run: RunOptions = field(default_factory=RunOptions)
