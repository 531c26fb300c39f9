"""``speechprune cost``, or ``python -m speechprune.cost``: the cost of an answer before any weight is loaded.

Without arguments it prints the cost columns of the paper's Table I (to the paper's two decimals) beside the
actual FLOPs.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from typing import NoReturn

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from speechprune.cost.families import FamilyRow, family_row, family_table
from speechprune.cost.formulas import (
    FLOPS_PER_TFLOP,
    answer_cost,
    decode_flops,
    encode_flops,
    phase1_flops,
    phase2_flops,
)
from speechprune.cost.shapes import DecoderShape, ModelShape

TABLE_I_MODEL = "qwen2-audio-7b"
TABLE_I_AUDIO_TOKENS = (750, 600, 450, 300, 150)
TABLE_I_TEXT_TOKENS = 107
SPIRAL_CLIP_SECONDS = 90.0
PHASE1_BUDGET = 750
BYTES_PER_GB = 10**9


@dataclass(frozen=True, kw_only=True)
class CostRow:
    """One printed row: the cost of an answer at one number of kept audio tokens, unrounded.

    After the number of tokens, three figures of the paper's account, then the actual FLOPs, whose total is
    the sum of the four before it. The fields are the keys of ``--json`` and the table's columns in order.
    """

    audio_tokens: int
    tflops_prefill: float
    memory_total_gb: float
    activation_gb: float
    tflops_encode: float
    tflops_prune: float
    tflops_prefill_with_attention: float
    tflops_generate: float
    tflops_total: float


def cost_row(
    shape: ModelShape,
    audio_tokens: int,
    *,
    text_tokens: int,
    audio_seconds: float,
    generated_tokens: int,
    questions_per_recording: int,
) -> CostRow:
    """Account for one answer about a recording of which ``audio_tokens`` are kept."""
    num_recording_tokens = recording_tokens(shape, audio_seconds)
    num_windows = math.ceil(audio_seconds / shape.encoder.window_seconds)
    encoding = encode_flops(shape, num_windows) / questions_per_recording
    cost = answer_cost(
        shape.decoder,
        num_audio_tokens_kept=audio_tokens,
        num_text_tokens=text_tokens,
        encode_flops=encoding,
        prune_flops=pruning_flops(shape.decoder, num_recording_tokens, audio_tokens),
        num_generated_tokens=generated_tokens,
    )
    generate = decode_flops(shape.decoder, audio_tokens + text_tokens, generated_tokens) / FLOPS_PER_TFLOP
    return CostRow(
        audio_tokens=audio_tokens,
        tflops_prefill=cost.tflops_prefill,
        memory_total_gb=(cost.weights_bytes + cost.kv_cache_bytes) / BYTES_PER_GB,
        activation_gb=cost.activation_bytes / BYTES_PER_GB,
        tflops_encode=cost.tflops_encode,
        tflops_prune=cost.tflops_prune,
        tflops_prefill_with_attention=cost.tflops_total - cost.tflops_encode - cost.tflops_prune - generate,
        tflops_generate=generate,
        tflops_total=cost.tflops_total,
    )


def recording_tokens(shape: ModelShape, audio_seconds: float) -> int:
    """Audio tokens of a recording before pruning (25 a second for Qwen2-Audio), at least one."""
    return max(1, round(audio_seconds * shape.token_rate))


def pruning_flops(shape: DecoderShape, num_recording_tokens: int, num_kept_tokens: int) -> int:
    """Both phases; zero where all tokens of the recording are kept, as there is nothing to prune.

    Phase 1 sees the whole recording, phase 2 the budget of 750 that phase 1 keeps (or more, where more are
    asked for).
    """
    if num_kept_tokens == num_recording_tokens:
        return 0
    num_phase1_tokens = max(min(PHASE1_BUDGET, num_recording_tokens), num_kept_tokens)
    return phase1_flops(shape, num_recording_tokens) + phase2_flops(shape, num_phase1_tokens)


def cost_table(rows: Sequence[CostRow], title: str) -> Table:
    """Table I's cost columns as the paper prints them, beside the actual FLOPs."""
    table = Table(
        title=Text(title),
        caption="Paper's columns: as in its Table I (encoder and attention products left out). "
        "The others: actual FLOPs, total = encode + prune + prefill + generate.",
        box=SIMPLE,
        padding=0,
        title_justify="left",
        caption_justify="left",
    )
    for heading in (
        "audio\ntokens",
        "paper's\n\n\nTFLOPs",
        "paper's\ntotal\nmemory\nGB",
        "paper's\nstoring\nactivation\nGB",
        "encode\n\n\nTFLOPs",
        "prune\n\n\nTFLOPs",
        "prefill\nwith\nattention\nTFLOPs",
        "generate\n\n\nTFLOPs",
        "total\n\n\nTFLOPs",
    ):
        table.add_column(heading, justify="right")
    for row in rows:
        audio_tokens, *figures = astuple(row)
        table.add_row(str(audio_tokens), *(f"{figure:.2f}" for figure in figures))
    return table


class OneLineErrorParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, without the usage before it, and exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Print the message and leave."""
        self.exit(2, f"{self.prog}: error: {message}\n")


def positive_int(text: str) -> int:
    """Parse a whole number above zero."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def non_negative_int(text: str) -> int:
    """Parse a whole number, zero allowed."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 up")
    return int(text)


def positive_seconds(text: str) -> float:
    """Parse a finite duration above zero."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds


def argument_parser() -> OneLineErrorParser:
    """Declare the command line."""
    parser = OneLineErrorParser(
        prog="speechprune cost",
        description="Cost of an answer in closed form, no weights needed: the paper's account (Table I) "
        "beside the actual FLOPs.",
    )
    parser.add_argument(
        "--model",
        default=TABLE_I_MODEL,
        help="a shipped configuration's name, a folder, a config.json or a hub id (default: %(default)s)",
    )
    parser.add_argument(
        "--audio-tokens",
        type=positive_int,
        nargs="+",
        default=list(TABLE_I_AUDIO_TOKENS),
        metavar="N",
        help="audio tokens kept, one row each (default: Table I's)",
    )
    parser.add_argument(
        "--text-tokens",
        type=non_negative_int,
        default=TABLE_I_TEXT_TOKENS,
        metavar="N",
        help="all other tokens of the prompt (default: %(default)s, which gives Table I)",
    )
    parser.add_argument(
        "--audio-seconds",
        type=positive_seconds,
        metavar="S",
        help="length of the recording: every started 30 s window is encoded, phase 1 sees 25 tokens a second "
        "(Qwen2-Audio's rate), phase 2 750 of them, or as many as are kept; all kept: no pruning (default: "
        f"{SPIRAL_CLIP_SECONDS:g}, a SPIRAL clip, or longer where more audio tokens are to be kept)",
    )
    parser.add_argument(
        "--generated-tokens",
        type=non_negative_int,
        default=0,
        metavar="N",
        help="tokens of an open-ended answer (default: 0, an answer scored by its choices' letters)",
    )
    parser.add_argument(
        "--questions-per-recording",
        type=positive_int,
        default=1,
        metavar="N",
        help="questions that share one encoding (default: 1)",
    )
    parser.add_argument(
        "--all-models", action="store_true", help="instead: an hour of audio by each shipped configuration"
    )
    parser.add_argument("--json", action="store_true", help="print a list of objects, unrounded")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Print the account that the command line asks for; returns the exit code."""
    from speechprune.models.config_files import shipped_models
    from speechprune.models.hub import ModelError
    from speechprune.models.loading import model_shape

    parser = argument_parser()
    options = parser.parse_args(arguments)
    if options.all_models:
        families = [family_row(name, model_shape(name), options.text_tokens) for name in shipped_models()]
        _show(families, family_table(families), as_json=options.json)
        return 0
    try:
        shape = model_shape(options.model)
    except ModelError as error:
        parser.error(str(error))

    most_kept = max(options.audio_tokens)
    audio_seconds = options.audio_seconds or max(SPIRAL_CLIP_SECONDS, most_kept / shape.token_rate)
    if most_kept > recording_tokens(shape, audio_seconds):
        parser.error(
            f"--audio-tokens {most_kept} is more than the {recording_tokens(shape, audio_seconds)} tokens of "
            f"{audio_seconds:g} s of audio: lower it or raise --audio-seconds"
        )

    rows = [
        cost_row(
            shape,
            audio_tokens,
            text_tokens=options.text_tokens,
            audio_seconds=audio_seconds,
            generated_tokens=options.generated_tokens,
            questions_per_recording=options.questions_per_recording,
        )
        for audio_tokens in options.audio_tokens
    ]
    title = (
        f"{options.model}: cost of one answer. Seconds of audio: {audio_seconds:g}, questions per "
        f"recording: {options.questions_per_recording}, other prompt tokens: {options.text_tokens}, "
        f"generated tokens: {options.generated_tokens}"
    )
    _show(rows, cost_table(rows, title), as_json=options.json)
    return 0


def _show(rows: Sequence[CostRow | FamilyRow], table: Table, *, as_json: bool) -> None:
    if as_json:
        json.dump([asdict(row) for row in rows], sys.stdout, indent=2)
        print()
    else:
        Console().print(table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
