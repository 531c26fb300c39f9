"""Plan of all recordings of a benchmark, balanced over the whole before any is written."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from speechprune.benchmarks.builder.script import RecordingPlan, Scenario
from speechprune.inference.prompts import LETTERS

NUM_CHOICES = 4
SEED_BITS = 48

Group = Literal["training", "held_out"]
Topic = tuple[Scenario, str, str]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ItemsOptions:
    """Number, length and contents of the recordings.

    Parameters
    ----------
    num_recordings
        Number of recordings; None for all of ``writer.texts``.
    questions_per_recording
        Each about a critical fact of its own.
    min_seconds, max_seconds
        Lengths aimed at are even between them, from 20 s to hours.
    seed
        Seed of everything random: the same settings and seed give the same bytes.
    fact_group
        Whether recordings state facts that a model was trained on, or facts held out from training.
    held_out_voices
        Share of the recordings that are spoken by voices held out from training, 0 to 1.
    """

    num_recordings: int | None = 100
    questions_per_recording: int = 3
    min_seconds: float = 85
    max_seconds: float = 95
    seed: int = 0
    fact_group: Group = "held_out"
    held_out_voices: float = 0.5

    def __post_init__(self) -> None:
        for name in ("num_recordings", "questions_per_recording"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}: give at least 1")
        if not 0 < self.min_seconds <= self.max_seconds < float("inf"):
            raise ValueError(
                f"min_seconds is {self.min_seconds:g} and max_seconds {self.max_seconds:g}: "
                "give two lengths, the shorter first"
            )
        if not 0 <= self.held_out_voices <= 1:
            raise ValueError(f"held_out_voices is {self.held_out_voices:g}: give a share from 0 to 1")


def plan_recordings(items: ItemsOptions, topics: Sequence[Topic]) -> list[RecordingPlan]:
    """Plan all recordings of a benchmark.

    Over its n questions each letter is right n/4 times (give or take one). The k-th n-th of a
    recording's length holds one critical fact, for every k, and a recording's own facts lie in
    different parts of it. Scenarios, the topics of one, the subtopics of one have equal shares
    (give or take one), and exactly ``held_out_voices`` of the recordings have such voices.

    Parameters
    ----------
    items
        ``num_recordings`` must be a number.
    topics
        The hierarchy: scenario, topic, subtopic.
    """
    if items.num_recordings is None:
        raise ValueError("num_recordings is null: give a number")
    rng = random.Random(items.seed)
    num_recordings, num_questions = items.num_recordings, items.questions_per_recording
    letters = _even_shares(list(LETTERS[:NUM_CHOICES]), num_recordings * num_questions, rng)
    positions = _even_positions(num_recordings, num_questions, rng)
    places = _even_topics(topics, num_recordings, rng)
    voice_groups = _shuffled_groups(num_recordings, items.held_out_voices, rng)
    return [
        RecordingPlan(
            recording_id=recording_id(number, num_recordings),
            seed=rng.getrandbits(SEED_BITS),
            scenario=scenario,
            topic=topic,
            subtopic=subtopic,
            seconds=rng.uniform(items.min_seconds, items.max_seconds),
            letters=tuple(letters[number * num_questions : (number + 1) * num_questions]),
            positions=positions[number],
            fact_group=items.fact_group,
            voice_group=voice_groups[number],
        )
        for number, (scenario, topic, subtopic) in enumerate(places)
    ]


def plan_voices(items: ItemsOptions, num_recordings: int) -> list[tuple[int, Group]]:
    """Plan seed and voice group of recordings whose texts already exist."""
    rng = random.Random(items.seed)
    voice_groups = _shuffled_groups(num_recordings, items.held_out_voices, rng)
    return [(rng.getrandbits(SEED_BITS), group) for group in voice_groups]


def recording_id(number: int, num_recordings: int) -> str:
    """``recording-0042``: as many digits as the benchmark needs, so that names sort by number."""
    return f"recording-{number:0{max(4, len(str(num_recordings - 1)))}}"


def _even_shares(values: list[T], total: int, rng: random.Random) -> list[T]:
    """``total`` values in random order, each as often as the others give or take one."""
    times, rest = divmod(total, len(values))
    dealt = values * times + rng.sample(values, rest)
    rng.shuffle(dealt)
    return dealt


def _even_positions(num_recordings: int, num_questions: int, rng: random.Random) -> list[tuple[float, ...]]:
    """Ascending positions of each recording's facts; one in every n-th of the length over all n of them.

    Fact j of a recording lies in the j-th part of it, at the (k + u)/m-th of that part with k its place
    in a random order of the m recordings and u uniform below 1.
    """
    columns = []
    for part in range(num_questions):
        places = rng.sample(range(num_recordings), num_recordings)
        columns.append([(part + (k + rng.random()) / num_recordings) / num_questions for k in places])
    return list(zip(*columns, strict=True))


def _even_topics(topics: Sequence[Topic], total: int, rng: random.Random) -> list[Topic]:
    """Deal recordings to scenarios, each scenario's to its topics, each topic's to its subtopics."""
    dealt = [topic for topic, times in _deal(topics, total, level=0, rng=rng) for _ in range(times)]
    rng.shuffle(dealt)
    return dealt


def _deal(topics: Sequence[Topic], total: int, level: int, rng: random.Random) -> list[tuple[Topic, int]]:
    if level == len(topics[0]):
        return [(topics[0], total)]
    below: dict[str, list[Topic]] = defaultdict(list)
    for topic in topics:
        below[topic[level]].append(topic)
    names = _even_shares(list(below), total, rng)
    return [pair for name in below for pair in _deal(below[name], names.count(name), level + 1, rng)]


def _shuffled_groups(num_recordings: int, held_out: float, rng: random.Random) -> list[Group]:
    num_held_out = round(num_recordings * held_out)
    groups: list[Group] = ["held_out" if n < num_held_out else "training" for n in range(num_recordings)]
    rng.shuffle(groups)
    return groups
