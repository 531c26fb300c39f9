"""Speech of a script: a voice for each speaker, sentences joined with pauses, and their times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from speechprune.audio import SAMPLE_RATE
from speechprune.benchmarks.builder.script import Script, ScriptQuestion, Speaker
from speechprune.benchmarks.builder.speech import SpeechError, Synthesizer, Utterance, Voice, Word

# seconds, drawn evenly
PAUSE_IN_TURN = (0.15, 0.45)
PAUSE_BETWEEN_TURNS = (0.25, 0.8)
OVERLAP = (0.2, 0.8)
FITTED_PAUSE = (0.08, 1.2)  # how far pauses may shrink or grow to reach a length

SPEED_RANGE = (0.91, 1.12)  # of the voice's own words a minute: 150 to 185 of 165
PITCH_SPREAD = 10  # either side of the voice's own
LEVEL_SPREAD_DB = 2.0  # between speakers, either side of the same loudness
PEAK = 0.9 * 32767  # of the loudest sample of a recording

Span = tuple[float, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class SpokenScript:
    """A recording with the times of its sentences and words, in seconds from its start.

    Parameters
    ----------
    script
        Script that was spoken.
    samples
        int16, 16 kHz mono, shape ``(num_samples,)``.
    sentence_spans
        ``sentence_spans[turn][sentence]`` is (start, end).
    words, phonemes
        Words and phonemes in the order of the script; empty where the synthesizer gives none.
    voices
        By speaker's name, with the speed and the pitch that were used.
    """

    script: Script
    samples: np.ndarray
    sentence_spans: tuple[tuple[Span, ...], ...]
    words: tuple[Word, ...]
    phonemes: tuple[Word, ...]
    voices: dict[str, Voice]

    @property
    def audio_seconds(self) -> float:
        """Length of the recording."""
        return len(self.samples) / SAMPLE_RATE

    def evidence_span(self, question: ScriptQuestion) -> Span:
        """Return the time span of the critical fact of `question`."""
        return self.sentence_spans[question.turn][question.sentence]


def speak_script(
    script: Script,
    synthesizer: Synthesizer,
    *,
    seconds: float | None,
    voice_group: str | None,
    overlap_fraction: float,
    seed: int,
    pause_seconds: float = 0.0,
) -> SpokenScript:
    """Speak every sentence and join them into one recording.

    Parameters
    ----------
    script
        Script to speak.
    synthesizer
        Source of the speech.
    seconds
        Length aimed at: pauses are scaled so that the recording comes as close to it as pauses between
        0.08 and 1.2 s allow. None leaves them as drawn.
    voice_group
        Group of the synthesizer's voices to use; None for all.
    overlap_fraction
        Share of the changes of speaker, 0 to 1, at which the next begins before the last has ended. Key
        sentences are never spoken over, so a script of little else has fewer.
    seed
        Seed of voices, levels, pauses and overlaps.
    pause_seconds
        Mean of the pauses that are added at changes of turn; all else is the same whatever it is.

    Raises
    ------
    SpeechError
        A sentence can't be spoken, or there is no voice for a speaker.
    """
    rng = np.random.default_rng(seed)
    voices = choose_voices(script.speakers, synthesizer.voices, voice_group, rng)
    places = [
        (turn, number) for turn, spoken in enumerate(script.turns) for number in range(len(spoken.sentences))
    ]
    if not places:
        raise SpeechError(f"the script about {script.subtopic!r} has no sentence to speak")
    synthesizer.reset()
    utterances = [
        _speak(synthesizer, script.turns[turn].sentences[number], voices[script.turns[turn].speaker])
        for turn, number in places
    ]
    lengths = np.array([len(utterance.samples) for utterance in utterances])
    pauses = _draw_pauses(script, places, lengths / SAMPLE_RATE, overlap_fraction, rng)
    if seconds is not None:
        pauses = fit_pauses(pauses, seconds - lengths.sum() / SAMPLE_RATE)
    is_new_turn = np.diff([turn for turn, _ in places]) != 0
    pauses += is_new_turn * np.random.default_rng([seed, 1]).uniform(0, 2 * pause_seconds, len(pauses))
    starts = np.zeros(len(lengths), dtype=np.int64)
    starts[1:] = np.cumsum(lengths[:-1] + np.rint(pauses * SAMPLE_RATE).astype(np.int64))

    spans: list[list[Span]] = [[] for _ in script.turns]
    for (turn, _), start, length in zip(places, starts.tolist(), lengths.tolist(), strict=True):
        spans[turn].append((start / SAMPLE_RATE, (start + length) / SAMPLE_RATE))
    speakers = [script.turns[turn].speaker for turn, _ in places]
    return SpokenScript(
        script=script,
        samples=_mix(utterances, starts, _gains(speakers, utterances, rng)),
        sentence_spans=tuple(map(tuple, spans)),
        words=_shifted([utterance.words for utterance in utterances], starts),
        phonemes=_shifted([utterance.phonemes for utterance in utterances], starts),
        voices=voices,
    )


def choose_voices(
    speakers: Sequence[Speaker], voices: Sequence[Voice], group: str | None, rng: np.random.Generator
) -> dict[str, Voice]:
    """Give each speaker a voice of the same gender, another one while there are enough, at a pace of its own.

    Raises
    ------
    SpeechError
        There is no voice of a speaker's gender.
    """
    chosen: dict[str, Voice] = {}
    for gender in dict.fromkeys(speaker.gender for speaker in speakers):
        pool = [voice for voice in voices if voice.gender == gender and group in (None, voice.group)]
        if not pool:
            where = "" if group is None else f" in the group {group!r}"
            raise SpeechError(
                f"there is no {gender} voice{where}: add one, or choose another group of voices"
            )
        order = rng.permutation(len(pool))
        names = [speaker.name for speaker in speakers if speaker.gender == gender]
        for number, name in enumerate(names):
            voice = pool[order[number % len(pool)]]
            pitch = round(voice.pitch + rng.uniform(-PITCH_SPREAD, PITCH_SPREAD))
            chosen[name] = replace(
                voice,
                words_per_minute=round(voice.words_per_minute * rng.uniform(*SPEED_RANGE)),
                pitch=min(max(pitch, 0), 99),
            )
    return chosen


def _speak(synthesizer: Synthesizer, sentence: str, voice: Voice) -> Utterance:
    utterance = synthesizer.speak(sentence, voice)
    if not utterance.samples.any():
        raise SpeechError(
            f"the voice {voice.name!r} speaks {sentence!r} as silence: use another voice or text"
        )
    return utterance


def _draw_pauses(
    script: Script,
    places: list[tuple[int, int]],
    sentence_seconds: np.ndarray,
    overlap_fraction: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Seconds between each sentence and the next, shape ``(num_sentences - 1,)``; overlaps are negative."""
    speakers = np.array([script.turns[turn].speaker for turn, _ in places])
    turns = np.array([turn for turn, _ in places])
    key_places = {(question.turn, question.sentence) for question in script.questions}
    is_key = np.array([place in key_places for place in places])

    new_turn = turns[1:] != turns[:-1]
    low, high = np.where(new_turn[:, None], PAUSE_BETWEEN_TURNS, PAUSE_IN_TURN).T
    pauses = rng.uniform(low, high)

    new_speaker = new_turn & (speakers[1:] != speakers[:-1])
    # up to half of either sentence: never three voices at once, never further than its neighbour
    room = np.minimum(sentence_seconds[1:], sentence_seconds[:-1]) / 2
    possible = np.flatnonzero(new_speaker & ~is_key[1:] & ~is_key[:-1] & (room >= OVERLAP[0]))
    num_overlaps = min(round(overlap_fraction * int(new_speaker.sum())), len(possible))
    overlapped = rng.choice(possible, num_overlaps, replace=False)
    pauses[overlapped] = -rng.uniform(OVERLAP[0], np.minimum(OVERLAP[1], room[overlapped]))
    return pauses


def fit_pauses(pauses: np.ndarray, total_seconds: float) -> np.ndarray:
    """Scale pauses by one factor, each within `FITTED_PAUSE`, so that their sum comes closest to a total.

    Overlaps (negative) count, but stay as they are.
    """
    silent = pauses > 0
    if not silent.any():
        return pauses
    target = total_seconds - pauses[~silent].sum()
    low, high = FITTED_PAUSE[0] / pauses[silent].max(), FITTED_PAUSE[1] / pauses[silent].min()
    for _ in range(60):  # the sum never falls with the factor: halve the interval down to rounding
        factor = (low + high) / 2
        if np.clip(factor * pauses[silent], *FITTED_PAUSE).sum() < target:
            low = factor
        else:
            high = factor
    fitted = pauses.copy()
    fitted[silent] = np.clip(high * pauses[silent], *FITTED_PAUSE)
    return fitted


def _gains(speakers: list[str], utterances: list[Utterance], rng: np.random.Generator) -> list[float]:
    """Factor for each utterance that brings all speakers to the same loudness, but for a small difference."""
    gains = {}
    for speaker in dict.fromkeys(speakers):
        own = [
            utterance.samples for name, utterance in zip(speakers, utterances, strict=True) if name == speaker
        ]
        energy = sum(float(np.square(samples, dtype=np.float32).sum(dtype=np.float64)) for samples in own)
        level = 10 ** (rng.uniform(-LEVEL_SPREAD_DB, LEVEL_SPREAD_DB) / 20)
        gains[speaker] = level / (energy / sum(map(len, own))) ** 0.5
    return [gains[speaker] for speaker in speakers]


def _mix(utterances: list[Utterance], starts: np.ndarray, gains: list[float]) -> np.ndarray:
    """Sum of all utterances at their places, int16, its loudest sample at `PEAK`."""
    mixed = np.zeros(int(starts[-1]) + len(utterances[-1].samples), dtype=np.float32)
    for utterance, start, gain in zip(utterances, starts, gains, strict=True):
        mixed[start : start + len(utterance.samples)] += np.float32(gain) * utterance.samples
    mixed *= PEAK / max(mixed.max(), -mixed.min())
    return np.rint(mixed, out=mixed).astype(np.int16)


def _shifted(spoken: list[tuple[Word, ...]], starts: np.ndarray) -> tuple[Word, ...]:
    """Shift the words of all utterances to times from the start of the recording."""
    return tuple(
        Word(text=word.text, start=offset + word.start, end=offset + word.end)
        for words, offset in zip(spoken, (starts / SAMPLE_RATE).tolist(), strict=True)
        for word in words
    )
