"""Fig. 2 of one item: what two methods keep of it, and how near that lies to the text, over many items."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from loguru import logger

from speechprune import storage
from speechprune.answering import answer_questions
from speechprune.asking import ask
from speechprune.audio import decode_audio
from speechprune.config import InputOptions, MethodName, PruningOptions
from speechprune.encoding import EncodedAudio
from speechprune.manifest import Manifest, read_manifest
from speechprune.models.loading import ModelOptions, check_model, load_model
from speechprune.pruning import PruningMethod
from speechprune.questions import Answer, AnsweringOptions, Item
from speechprune.reports.figures import render
from speechprune.reports.token_map import Panel, draw_token_map, nearest_query_distances, project
from speechprune.speech_lm import SpeechLM
from speechprune.sweep.grid import Point

Row = dict[str, Any]
MAX_ANSWER_CHARACTERS = 60  # an open question's may be long


@dataclass(frozen=True, kw_only=True)
class MapOptions:
    """What the picture shows.

    Parameters
    ----------
    item_id
        The item that is drawn; default: the manifest's first.
    beside
        The method that stands beside ``pruning.method``, with the same settings.
    perplexity
        Of t-SNE: about how many neighbours a token has.
    seed
        Of t-SNE.
    """

    item_id: str | None = None
    beside: MethodName = "random"
    perplexity: float = 30.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.perplexity > 0:
            raise ValueError(f"perplexity is {self.perplexity}: give more than 0, 30 as a rule")


@dataclass(frozen=True, kw_only=True)
class MapOutputOptions:
    """Where the picture goes.

    Parameters
    ----------
    path
        Folder, local or any fsspec URL, of ``token_map.png`` and ``token_map.svg``.
    """

    path: str


@dataclass(frozen=True, kw_only=True)
class TokenMapConfig:
    """Everything that ``jobs/token_map.py`` can be told; ``input.limit`` items are averaged over."""

    input: InputOptions
    model: ModelOptions
    output: MapOutputOptions
    pruning: PruningOptions = field(default_factory=PruningOptions)
    map: MapOptions = field(default_factory=MapOptions)
    answering: AnsweringOptions = field(default_factory=AnsweringOptions)

    @property
    def methods(self) -> dict[str, PruningMethod]:
        """The two, by their names with settings."""
        both = (self.pruning, replace(self.pruning, method=self.map.beside))
        query_text = self.answering.query_text
        points = [Point(method=options.build(), query_text=query_text) for options in both]
        return {point.group_name: point.method for point in points}


@dataclass(frozen=True)
class TokenChoice:
    """What each method keeps of one item.

    Parameters
    ----------
    audio_embeds, query_embeds
        S, shape ``(N, D)``, and T, shape ``(L, D)``, float32.
    answers
        By method.
    """

    row: Row
    audio_embeds: np.ndarray
    query_embeds: np.ndarray
    answers: dict[str, Answer]

    @property
    def distances(self) -> dict[str, float]:
        """By method, the mean of ``nearest_query_distances`` over its kept tokens; "" over all tokens."""
        of_all = nearest_query_distances(self.audio_embeds, self.query_embeds)
        kept = {name: answer.kept_indices for name, answer in self.answers.items()}
        return {"": float(of_all.mean())} | {name: float(of_all[i].mean()) for name, i in kept.items()}


def make_token_map(config: TokenMapConfig) -> list[str]:
    """Draw one item, with the numbers of it and of the manifest's first ``input.limit`` items.

    Returns
    -------
    list of str
        The lines that say what was found, and where it was written.

    Raises
    ------
    ValueError
        Config, manifest or model can't be used, or the item to be drawn can't be answered.
    """
    if len(config.methods) < 2:
        raise ValueError(f"map.beside is {config.map.beside}, which pruning.method is too: give another")
    check_model(config.model)
    manifest = read_manifest(replace(config.input, limit=None), storage.join(config.output.path, "audio"))
    rows = [row for row in manifest.items.to_pylist() if row["item_id"] not in manifest.malformed]
    drawn_id = _drawn(config.map.item_id, rows, manifest)
    averaged = {row["item_id"] for row in rows[: config.input.limit]}
    wanted = [row for row in rows if row["item_id"] in averaged | {drawn_id}]
    lm = SpeechLM(load_model(config.model))
    drawn: TokenChoice | None = None
    distances: list[dict[str, float]] = []
    for choice in token_choices(lm, wanted, config.methods, config.answering):
        if choice.row["item_id"] == drawn_id:
            drawn = choice
        if choice.row["item_id"] in averaged:
            distances.append(choice.distances)
    if drawn is None:
        raise ValueError(f"item {drawn_id} can't be drawn, for the reason given above")
    return _write(config, drawn, distances)


def _drawn(item_id: str | None, rows: list[Row], manifest: Manifest) -> str:
    if item_id in manifest.malformed:
        raise ValueError(f"map.item_id is {item_id}: {manifest.malformed[item_id]}")
    ids = [str(row["item_id"]) for row in rows]
    if not ids:
        raise ValueError(f"the manifest has no usable item: {next(iter(manifest.malformed.values()))}")
    if item_id is not None and item_id not in ids:
        raise ValueError(f"map.item_id is {item_id}, which the manifest has not; it begins with {ids[0]}")
    return item_id or ids[0]


def token_choices(
    lm: SpeechLM, rows: Iterable[Row], methods: dict[str, PruningMethod], options: AnsweringOptions
) -> Iterator[TokenChoice]:
    """Answer items by every method, recording by recording; those that fail are left out with a warning."""
    recordings: dict[Any, list[Row]] = {}
    for row in rows:
        recordings.setdefault((row["audio"], row["start"], row["end"]), []).append(row)
    for (audio, start, end), asked in recordings.items():
        try:
            encoded = lm.encode_many([decode_audio(audio, start=start, end=end)], [start or 0.0])[0]
        except (ValueError, OSError, torch.cuda.OutOfMemoryError) as error:
            logger.warning("left out: {}: {}", ", ".join(row["item_id"] for row in asked), error)
            continue
        yield from _of_recording(lm, encoded, asked, methods, options)


def _of_recording(
    lm: SpeechLM,
    audio: EncodedAudio,
    rows: list[Row],
    methods: dict[str, PruningMethod],
    options: AnsweringOptions,
) -> Iterator[TokenChoice]:
    items = [
        Item(
            item_id=row["item_id"],
            audio=audio,
            question=row["question"],
            choices=None if row["choices"] is None else tuple(row["choices"]),
        )
        for row in rows
    ]
    questions = ask(lm.model, items, list(methods.values()), options)
    outcomes = {name: answer_questions(lm.model, questions, m, options) for name, m in methods.items()}
    for number, (row, question) in enumerate(zip(rows, questions, strict=True)):
        answers = {}
        for name, of_method in outcomes.items():
            outcome = of_method[number]
            if isinstance(outcome, Exception):
                logger.warning("left out: {}: {}", row["item_id"], outcome)
                break
            answers[name] = outcome
        if isinstance(question, Exception) or len(answers) < len(methods):
            continue
        yield TokenChoice(
            row, audio.embeds.float().cpu().numpy(), question.query_embeds.float().cpu().numpy(), answers
        )


def _write(config: TokenMapConfig, drawn: TokenChoice, distances: list[dict[str, float]]) -> list[str]:
    mean = {name: float(np.mean([some[name] for some in distances])) for name in drawn.distances}
    panels, said = [], []
    for name, answer in drawn.answers.items():
        lines = [
            f"answers {_answered(drawn.row, answer)}",
            "cosine distance to the nearest text token:",
            f"kept {drawn.distances[name]:.3f}, all tokens {drawn.distances['']:.3f}",
            f"mean of {len(distances):,} items: kept {mean[name]:.3f}, all tokens {mean['']:.3f}",
        ]
        panels.append(Panel(name, answer.kept_indices, lines))
        said.append(f"{name} {lines[0]}; {lines[1]} {lines[2]}; {lines[3]}")
    places = project(drawn.audio_embeds, drawn.query_embeds, config.map.perplexity, config.map.seed)
    title = f"{drawn.row['question']} ({drawn.row['item_id']})"
    figure = draw_token_map(places, len(drawn.audio_embeds), panels, title)
    for kind, data in render(figure).items():
        address = storage.join(config.output.path, f"token_map.{kind}")
        storage.write_bytes(address, data)
        said.append(f"wrote {address}")
    return said


def _answered(row: Row, answer: Answer) -> str:
    text = textwrap.shorten(answer.prediction_text, MAX_ANSWER_CHARACTERS)
    if row["answer"] is None or row["choices"] is None:
        return text
    return f"{text} ({'right' if answer.prediction == row['answer'] else 'wrong'})"
