"""A plan of a launch before it: what there is to do, what that takes, and what would refuse it.

Nothing is started, loaded or written. Lengths come from the headers of a sample of the recordings, FLOPs from
the closed forms in ``cost``, of the model's own sizes.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa

from speechprune import storage
from speechprune.audio import SAMPLE_RATE
from speechprune.audio.container import READ_BLOCK_BYTES
from speechprune.cost import (
    DecoderShape,
    ModelShape,
    answer_cost,
    decode_flops,
    encode_flops,
    paper_activation_bytes,
    paper_kv_cache_bytes,
    paper_weights_bytes,
    prefill_flops,
)
from speechprune.data import column_values
from speechprune.data.disk_rows import DiskRows
from speechprune.inference.evidence import NUM_EVIDENCE_SECONDS
from speechprune.pipeline.answer_bytes import answers_bytes
from speechprune.pipeline.failures import StartError
from speechprune.pipeline.sampling import Sample, Sampled

if TYPE_CHECKING:
    from speechprune.inference.point import Point
    from speechprune.inference.prompt_lengths import PromptLengths
    from speechprune.inference.types import AnsweringOptions
    from speechprune.models.options import ModelOptions
    from speechprune.pipeline.options import RayOptions
    from speechprune.pipeline.settings import AnsweringConfig

EMBEDDED_AUDIO = "memory://speechprune"  # where a manifest's embedded recordings are kept meanwhile
NUM_PROMPTS = 200  # built at most, to measure their length
REQUESTS_PER_FILE = 2  # of answers or windows: it is written, and read at the end
SAMPLE_BYTES = 2  # of a decoded recording
SPAN_SECONDS = 5  # of audio from which a span of evidence is transcribed: one, and two on both sides

Value = TypeVar("Value")


class Refusals:
    """Sentences by which a launch would refuse to start, each once.

    ``executor``: of the job's config; where it is ``ray``, a cluster that RAY_ADDRESS names must answer.
    """

    def __init__(self, executor: str) -> None:
        self.sentences: list[str] = []
        if executor == "ray" and os.environ.get("RAY_ADDRESS"):
            from speechprune.pipeline.cluster import cluster_to_join

            self.attempt(cluster_to_join)

    def attempt(self, check: Callable[[], Value]) -> Value | None:
        """Return what a check returns; None where it refuses."""
        try:
            return check()
        except (ValueError, OSError, StartError) as error:
            if str(error) not in self.sentences:
                self.sentences.append(str(error))
            return None


def planned_shape(refusals: Refusals, model: ModelOptions) -> ModelShape | None:
    """Check a model and return its sizes: also of one that is refused, where its config.json is there."""
    from speechprune.models.loading import ModelError, check_model, model_shape  # import torch

    shape = refusals.attempt(lambda: check_model(model))
    with contextlib.suppress(ModelError):
        return shape or model_shape(model.path, model.revision, model.family)
    return None


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What one step of a launch takes: sums over all that is still to do."""

    step: str  # what is done
    item: str  # what is counted, such as ``answer``
    num_todo: int
    num_done: int
    sample: Sample  # of the recordings that are read
    bytes_read: float
    bytes_written: float
    num_requests: float  # to object stores
    tflops: Mapping[str, float]  # actual FLOPs by stage; empty where the model's sizes are not known
    # of an actor: the decoder's weights, KV cache and activations of one prompt by the paper's account, and
    # the samples of a block of recordings
    actor_bytes: int = 0
    samples_bytes: float = 0.0
    is_prompt_estimated: bool = False  # whether the prompts' lengths are from the number of characters


@dataclass(frozen=True)
class DryRun:
    """The plan of a launch."""

    refusals: Sequence[str]  # sentences; the launch starts only where there is none
    estimates: Sequence[Estimate]  # one per step, without those whose inputs are refused


@dataclass(frozen=True, kw_only=True)
class Answering:
    """How a step answers questions, and with what."""

    model: ModelOptions
    shape: ModelShape | None  # None where the model is refused
    points: Sequence[Point]
    options: AnsweringOptions
    ray: RayOptions
    output: str  # run directory

    @classmethod
    def of(cls, config: AnsweringConfig, shape: ModelShape | None, ray: RayOptions, output: str) -> Answering:
        """A job's one way of answering."""
        from speechprune.inference.point import Point  # imports torch

        point = Point(method=config.pruning.build(), query_text=config.answering.query_text)
        return cls(
            model=config.model, shape=shape, points=[point], options=config.answering, ray=ray, output=output
        )


def estimate_answers(
    how: Answering, items: pa.Table | DiskRows, sample: Sample, *, step: str, num_todo: int, num_done: int
) -> Estimate:
    """Estimate a step that answers questions.

    - ``items``: to be asked, with their carried columns; their prompts stand for all.
    - ``sample``: of the recordings, with the number of answers about each.
    - ``num_todo``, ``num_done``: answers to be made and already made.
    """
    num_files = math.ceil(sample.num_all / how.ray.recordings_per_block)
    bytes_written = answers_bytes(
        items, num_answers=num_todo, num_files=num_files, mean_seconds=sample.mean_seconds
    )
    tflops: dict[str, float] = {}
    actor_bytes, is_estimated = 0, False
    if how.shape is not None and num_todo:
        from speechprune.inference.prompt_lengths import prompt_lengths  # imports torch

        asked = column_values(items.slice(0, NUM_PROMPTS), ("question", "choices"))
        lengths = prompt_lengths(how.model, [(str(text), choices) for text, choices in asked], how.options)
        is_estimated = lengths.is_estimated
        native = how.shape.native_tokens
        points = {point.name: replace(point, method=point.method.for_model(native)) for point in how.points}
        tflops = _answer_tflops(how.options, how.shape, points, lengths, sample)
        longest = max((_num_tokens(how.shape, one) for one in sample.recordings), default=0)
        num_kept = max(point.method.num_kept(longest) for point in points.values())
        actor_bytes = prompt_bytes(how.shape.decoder, num_kept + lengths.num_text)
    return Estimate(
        step=step,
        item="answer",
        num_todo=num_todo,
        num_done=num_done,
        sample=sample,
        bytes_read=sample.total(lambda one: one.num_bytes),
        bytes_written=bytes_written,
        num_requests=read_requests(sample) + written_requests(how.output, num_files),
        tflops=tflops,
        actor_bytes=actor_bytes,
        samples_bytes=block_bytes(sample, how.ray.recordings_per_block),
        is_prompt_estimated=is_estimated,
    )


def read_requests(sample: Sample) -> float:
    """Number of requests to object stores: one for each recording's size, one for each MiB of it."""
    return sample.total(lambda one: one.is_remote * (1 + math.ceil(one.num_bytes / READ_BLOCK_BYTES)))


def written_requests(folder: str, num_files: int) -> int:
    """Number of requests to an object store that files written to a folder take."""
    return REQUESTS_PER_FILE * num_files * storage.is_remote(folder)


def block_bytes(sample: Sample, recordings_per_block: int) -> float:
    """Bytes of the samples of a block of recordings, each of the mean length."""
    return sample.mean_seconds * SAMPLE_RATE * SAMPLE_BYTES * min(recordings_per_block, sample.num_all)


def num_windows(shape: ModelShape, seconds: float) -> int:
    """Windows of a recording; what is left over and shorter than a token is none."""
    return max(1, math.ceil((seconds - 1 / shape.token_rate) / shape.encoder.window_seconds))


def encode_tflops(shape: ModelShape, one: Sampled) -> float:
    """Encoding of one recording: of one that an index holds, the projector's last layer.

    Windows that fill up the encoder's batches on a GPU are left out.
    """
    number = num_windows(shape, one.seconds or 0.0)
    flops = shape.encoder.project_flops(number) if one.is_stored else encode_flops(shape, number)
    return flops / 1e12


def _answer_tflops(
    options: AnsweringOptions,
    shape: ModelShape,
    points: Mapping[str, Point],
    lengths: PromptLengths,
    sample: Sample,
) -> dict[str, float]:
    """Sums over all answers by stage; an item is asked without audio once for all points."""
    totals = {"encode": sample.total(lambda one: encode_tflops(shape, one))}
    for one in sample.recordings:
        for name, number in one.num_answers.items():
            own = _tflops_of_answer(options, shape, points[name], lengths, one, share=1 / len(points))
            for stage, tflops in own.items():
                totals[stage] = totals.get(stage, 0.0) + sample.scale * number * tflops
    return totals


def _num_tokens(shape: ModelShape, one: Sampled) -> int:
    return max(1, round((one.seconds or 0.0) * shape.token_rate))


def _tflops_of_answer(
    options: AnsweringOptions,
    shape: ModelShape,
    point: Point,
    lengths: PromptLengths,
    one: Sampled,
    share: float,
) -> dict[str, float]:
    """Mean FLOPs of an answer about a recording by stage, in 10^12; decoding at its longest.

    ``share``: of the prompt without audio.
    """
    decoder, method, num_audio = shape.decoder, point.method, _num_tokens(shape, one)
    num_kept = method.num_kept(num_audio)
    num_survivors = min(num_audio, max(method.budget, num_kept))
    prune = method.flops(decoder, num_audio, lengths.num_query[point.query_text], num_survivors)
    num_prompt = num_kept + lengths.num_text
    scored = answer_cost(
        decoder,
        num_audio_tokens_kept=num_kept,
        num_text_tokens=lengths.num_text,
        encode_flops=0,
        prune_flops=0,
        num_prefills=options.permute_choices,
        choice_lengths=lengths.choice_lengths,
        is_calibrated=options.calibrate,
    )
    open_share = lengths.open_share
    prefill = prefill_flops(decoder, num_prompt)
    no_audio = options.no_audio_baseline * share * prefill_flops(decoder, lengths.num_text)
    checks = options.permuted_check * prefill + no_audio
    transcripts = 0
    is_text = shape.encoder.states_size == 1  # of a cascade, which writes it down anyway
    if options.transcribe_evidence and method.evidence_scores is not None and not is_text:
        # as if no span had a neighbour
        num_span = round(SPAN_SECONDS * shape.token_rate) + lengths.num_text
        one_span = prefill_flops(decoder, num_span) + decode_flops(decoder, num_span, options.max_new_tokens)
        transcripts = NUM_EVIDENCE_SECONDS * one_span
    return {
        "prune": prune / 1e12,
        "prefill": (1 - open_share) * scored.tflops_total + open_share * prefill / 1e12,
        "decode": open_share * decode_flops(decoder, num_prompt, options.max_new_tokens) / 1e12,
        "checks": (1 - open_share) * checks / 1e12,
        "transcripts": transcripts / 1e12,
    }


def prompt_bytes(decoder: DecoderShape, num_tokens: int) -> int:
    """Weights, KV cache and activations of one prompt, by the paper's account."""
    prompt = paper_kv_cache_bytes(decoder, num_tokens) + paper_activation_bytes(decoder, num_tokens)
    return paper_weights_bytes(decoder) + prompt
