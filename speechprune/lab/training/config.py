"""Configuration of ``jobs/train_demo_model.py`` and ``jobs/measure_demo_model.py``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from speechprune.models.options import ModelOptions


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """Sizes of the model, in Hugging Face's terms."""

    num_mel_bins: int = 80
    encoder_hidden_size: int = 192
    encoder_layers: int = 4
    encoder_heads: int = 4
    encoder_ffn_size: int = 768
    hidden_size: int = 192
    intermediate_size: int = 512
    layers: int = 5
    heads: int = 4


@dataclass(frozen=True, kw_only=True)
class CorpusOptions:
    """The speech to train on: the builder's, of training voices and training facts.

    Parameters
    ----------
    num_recordings
        Recordings of ``min_seconds`` to ``max_seconds``.
    noisy_share, min_snr_db, max_snr_db
        Share of them with noise, and the range of its signal-to-noise ratio.
    """

    num_recordings: int = 2000
    min_seconds: float = 60.0
    max_seconds: float = 95.0
    noisy_share: float = 0.3
    min_snr_db: float = 10.0
    max_snr_db: float = 40.0


@dataclass(frozen=True, kw_only=True)
class EncoderRecipe:
    """How the encoder is trained.

    Parameters
    ----------
    num_steps, learning_rate
        Of Muon and AdamW, with warm-up and a cosine decay.
    batch_seconds
        Seconds of audio in a step.
    crop_seconds
        Length of the pieces; attention over short ones is cheap.
    whole_window_share
        Share of the steps, the last ones, that see whole windows of 30 s.
    compile
        Let torch compile the forward pass: about twice as fast, but needs a C++ compiler.
    """

    num_steps: int = 8000
    learning_rate: float = 1.5e-3
    batch_seconds: int = 30
    crop_seconds: int = 5
    whole_window_share: float = 0.1
    compile: bool = True


@dataclass(frozen=True, kw_only=True)
class LanguageRecipe:
    """How the LLM is trained, on the frozen encoder's embeddings.

    Parameters
    ----------
    num_simulated_steps
        First steps, on scripts without sound, from short and dense ones to long ones.
    num_recorded_steps
        Then steps on the corpus, with some simulated contexts among them.
    learning_rate
        Of Muon and AdamW, with warm-up and a cosine decay over each of the two.
    simulated_batch_tokens, recorded_batch_tokens
        Tokens of a step, questions included; at least one context.
    """

    num_simulated_steps: int = 3000
    num_recorded_steps: int = 800
    learning_rate: float = 1.5e-3
    simulated_batch_tokens: int = 1500
    recorded_batch_tokens: int = 2200


@dataclass(frozen=True, kw_only=True)
class ModelOutputOptions:
    """Where the model goes.

    Parameters
    ----------
    path
        Folder of the finished checkpoint.
    work_path
        Folder of rendered speech and half-trained states: what a stopped training continues from.
    """

    path: str
    work_path: str


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What holds for the whole run.

    Parameters
    ----------
    seed
        Of scripts, voices, weights and order.
    device
        Where to train: ``cpu`` or ``cuda``.
    """

    seed: int = 0
    device: Literal["cpu", "cuda"] = "cpu"


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Configuration of ``jobs/train_demo_model.py``."""

    output: ModelOutputOptions
    run: RunOptions = field(default_factory=RunOptions)
    model: ModelSize = field(default_factory=ModelSize)
    corpus: CorpusOptions = field(default_factory=CorpusOptions)
    encoder: EncoderRecipe = field(default_factory=EncoderRecipe)
    language: LanguageRecipe = field(default_factory=LanguageRecipe)


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions:
    """What to measure on.

    Parameters
    ----------
    config
        Config file of ``jobs/build_benchmark.py``; the benchmark is built if it isn't there.
    """

    config: str


@dataclass(frozen=True, kw_only=True)
class MeasuredOutputOptions:
    """Where what is measured is kept.

    Parameters
    ----------
    work_path
        Folder of the rows; the tables go into the model's README.md.
    """

    work_path: str


@dataclass(frozen=True, kw_only=True)
class MeasureConfig:
    """Configuration of ``jobs/measure_demo_model.py``."""

    benchmark: BenchmarkOptions
    model: ModelOptions
    output: MeasuredOutputOptions
