"""Training corpus of the demo model: speech rendered once, stored as features and labels.

Parts of some recordings each lie in a folder as ``part-00000.npz`` and are made only where missing.
"""

from __future__ import annotations

import json
import multiprocessing
import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from loguru import logger
from transformers import WhisperFeatureExtractor

from speechprune.audio import SAMPLE_RATE
from speechprune.benchmarks.builder.acoustics import AcousticOptions, Noise, degrade
from speechprune.benchmarks.builder.espeak import Espeak
from speechprune.benchmarks.builder.grammar_draft import NUM_CHOICES
from speechprune.benchmarks.builder.grammar_writer import FACT_SECONDS, GrammarWriter
from speechprune.benchmarks.builder.recording import speak_script
from speechprune.benchmarks.builder.script import RecordingPlan, Scenario
from speechprune.benchmarks.builder.speech import Word
from speechprune.inference.prompts import LETTERS
from speechprune.lab.training.blank_model import make_tokenizer
from speechprune.lab.training.config import CorpusOptions
from speechprune.lab.training.phones import phone_class
from speechprune.models.qwen2_audio import WINDOW_SAMPLES, WINDOW_SECONDS

RECORDINGS_PER_PART = 20
TOKEN_SECONDS = 0.04
PHONE_SECONDS = 0.02  # of the encoder's states before pooling
TOKENS_PER_WINDOW = round(WINDOW_SECONDS / TOKEN_SECONDS)
PHONES_PER_WINDOW = round(WINDOW_SECONDS / PHONE_SECONDS)
WORD_TOKENS = 2  # the last tokens of a word carry its label: by then the whole word is in the encoder's input
BLANK = -1


@dataclass(frozen=True)
class Corpus:
    """Features, labels and questions of windows of 30 s.

    Parameters
    ----------
    features
        Log-mel features, float16, shape ``(num_windows, num_mel_bins, 3000)``.
    word_labels
        Token id of the word that ends at each audio token, ``BLANK`` where none does, int16, shape
        ``(num_windows, 750)``.
    within_labels
        Token id of the word spoken at each encoder position, ``BLANK`` in a pause, int16, shape
        ``(num_windows, 1500)``.
    phone_labels
        Number of the phoneme, uint8, shape ``(num_windows, 1500)``; 0 is a pause.
    first_window
        Number of each recording's first window, and the number of windows at the end.
    num_tokens
        Audio tokens of each recording.
    questions
        Of each recording: question, choices, answer and the fact's seconds.
    """

    features: np.ndarray
    word_labels: np.ndarray
    within_labels: np.ndarray
    phone_labels: np.ndarray
    first_window: np.ndarray
    num_tokens: np.ndarray
    questions: list[list[dict]]


def training_plans(options: CorpusOptions, seed: int) -> list[RecordingPlan]:
    """Make plans of recordings, topics in turn."""
    rng = random.Random(f"training plans {seed}")
    topics = GrammarWriter().topics()
    return [
        plan_recording(
            rng,
            topics[number % len(topics)],
            rng.uniform(options.min_seconds, options.max_seconds),
            f"training-{number:06d}",
        )
        for number in range(options.num_recordings)
    ]


def plan_recording(
    rng: random.Random, place: tuple[Scenario, str, str], seconds: float, recording_id: str
) -> RecordingPlan:
    """Plan a recording of training facts and voices with a question about every fact."""
    scenario, topic, subtopic = place
    num_facts = NUM_CHOICES * max(1, min(3, round(seconds / FACT_SECONDS / NUM_CHOICES)))
    return RecordingPlan(
        recording_id=recording_id,
        seed=rng.randrange(1 << 40),
        scenario=scenario,
        topic=topic,
        subtopic=subtopic,
        seconds=seconds,
        letters=tuple(rng.choice(LETTERS[:NUM_CHOICES]) for _ in range(num_facts)),
        positions=tuple((i + 0.5) / num_facts for i in range(num_facts)),
        fact_group="training",
        voice_group="training",
    )


def render_corpus(folder: Path, options: CorpusOptions, num_mel_bins: int, seed: int) -> list[Path]:
    """Render the missing parts; returns all parts in order."""
    folder.mkdir(parents=True, exist_ok=True)
    plans = training_plans(options, seed)
    begins = range(0, len(plans), RECORDINGS_PER_PART)
    parts = [folder / f"part-{number:05d}.npz" for number in range(len(begins))]
    missing = [
        (part, plans[begin : begin + RECORDINGS_PER_PART])
        for part, begin in zip(parts, begins, strict=True)
        if not part.exists()
    ]
    if missing:
        # spawned: a forked worker would inherit torch's threads and locks
        with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
            jobs = [pool.submit(_render_part, part, some, options, num_mel_bins) for part, some in missing]
            for number, job in enumerate(jobs, start=1):
                job.result()
                if number % 10 == 0 or number == len(jobs):
                    logger.info("speech: {} of {} parts rendered", number, len(jobs))
    return parts


def _render_part(part: Path, plans: list[RecordingPlan], options: CorpusOptions, num_mel_bins: int) -> None:
    writer, espeak, tokenizer = GrammarWriter(), Espeak(), make_tokenizer()
    extractor = WhisperFeatureExtractor(feature_size=num_mel_bins, sampling_rate=SAMPLE_RATE)
    features, words, within, phones, windows, questions, tokens = [], [], [], [], [], [], []
    for plan in plans:
        rng = random.Random(f"acoustics {plan.seed}")
        script = writer.write(plan)
        spoken = speak_script(
            script,
            espeak,
            seconds=plan.seconds,
            voice_group=plan.voice_group,
            overlap_fraction=0.0,
            seed=plan.seed,
        )
        samples = spoken.samples
        if rng.random() < options.noisy_share:
            snr_db = rng.uniform(options.min_snr_db, options.max_snr_db)
            noise = rng.choice(get_args(Noise))
            samples = degrade(samples, AcousticOptions(snr_db=snr_db, noise=noise), plan.seed)
        num_windows = -(-len(samples) // WINDOW_SAMPLES)
        padded = np.zeros(num_windows * WINDOW_SAMPLES, np.float32)
        padded[: len(samples)] = samples / 32768.0
        mel = extractor(
            list(padded.reshape(num_windows, -1)), sampling_rate=SAMPLE_RATE, return_tensors="np"
        )["input_features"]
        features.append(mel.astype(np.float16))
        words.append(word_labels(spoken.words, num_windows, tokenizer))
        within.append(within_labels(spoken.words, num_windows, tokenizer))
        phones.append(phone_labels(spoken.phonemes, num_windows))
        windows.append(num_windows)
        tokens.append(int(len(samples) / SAMPLE_RATE / TOKEN_SECONDS))
        questions.append(
            [
                {
                    "question": question.question,
                    "choices": question.choices,
                    "answer": question.answer,
                    "span": spoken.evidence_span(question),
                }
                for question in script.questions
            ]
        )
    half_written = part.with_suffix(".tmp.npz")
    np.savez(
        half_written,
        features=np.concatenate(features),
        word_labels=np.concatenate(words),
        within_labels=np.concatenate(within),
        phone_labels=np.concatenate(phones),
        num_windows=np.array(windows),
        num_tokens=np.array(tokens),
        questions=np.array(json.dumps(questions)),
    )
    half_written.replace(part)


def word_labels(words: tuple[Word, ...], num_windows: int, tokenizer: Any) -> np.ndarray:
    """Label the last tokens of every word with its id; int16, shape ``(num_windows, 750)``."""
    labels = np.full(num_windows * TOKENS_PER_WINDOW, BLANK, np.int16)
    for word in words:
        last = min(int(np.ceil(word.end / TOKEN_SECONDS - 1e-6)) - 1, len(labels) - 1)
        first = max(last - WORD_TOKENS + 1, int(word.start / TOKEN_SECONDS))
        [token_id] = tokenizer.encode(word.text, add_special_tokens=False)
        span = labels[first : last + 1]
        span[span == BLANK] = token_id
    return labels.reshape(num_windows, -1)


def within_labels(words: tuple[Word, ...], num_windows: int, tokenizer: Any) -> np.ndarray:
    """Label every encoder position within a word with its id; int16, shape ``(num_windows, 1500)``."""
    labels = np.full(num_windows * PHONES_PER_WINDOW, BLANK, np.int16)
    for word in words:
        [token_id] = tokenizer.encode(word.text, add_special_tokens=False)
        labels[round(word.start / PHONE_SECONDS) : round(word.end / PHONE_SECONDS)] = token_id
    return labels.reshape(num_windows, -1)


def phone_labels(phonemes: tuple[Word, ...], num_windows: int) -> np.ndarray:
    """Number of the phoneme in the middle of every encoder position; uint8, ``(num_windows, 1500)``."""
    labels = np.zeros(num_windows * PHONES_PER_WINDOW, np.uint8)
    for phoneme in phonemes:
        begin, end = (round(t / PHONE_SECONDS) for t in (phoneme.start, phoneme.end))
        labels[begin:end] = phone_class(phoneme.text)
    return labels.reshape(num_windows, -1)


def load_corpus(parts: list[Path]) -> Corpus:
    """Load all parts into memory."""
    loaded = [np.load(part) for part in parts]
    num_windows = np.concatenate([part["num_windows"] for part in loaded])
    return Corpus(
        features=np.concatenate([part["features"] for part in loaded]),
        word_labels=np.concatenate([part["word_labels"] for part in loaded]),
        within_labels=np.concatenate([part["within_labels"] for part in loaded]),
        phone_labels=np.concatenate([part["phone_labels"] for part in loaded]),
        first_window=np.concatenate([[0], np.cumsum(num_windows)]),
        num_tokens=np.concatenate([part["num_tokens"] for part in loaded]),
        questions=[q for part in loaded for q in json.loads(str(part["questions"]))],
    )
