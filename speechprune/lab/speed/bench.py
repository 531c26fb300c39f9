"""Measure speed as ratios, side by side in one run, on a 100 M parameter model with random weights.

    python jobs/bench.py [--output bench.json] [--recordings 96] [--repeats 3]

(1) our answers a second, at pruning rates 0.2 and 0.8, against two loops one would write with
Hugging Face alone, one that encodes the recording again for each question and one that encodes it
once, (2) the job on Ray against the same work called directly, (3) the share of pruning itself,
(4) time and memory against the length of the recording, (5) recordings of up to three hours through
the whole job, on the demo's small architecture. Prints tables, writes JSON; about 25 minutes on two
cores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from loguru import logger

from speechprune.inference.speech_lm import SpeechLM
from speechprune.lab.qwen2_audio import as_qwen2_audio
from speechprune.lab.speed.long_recordings import long_recordings
from speechprune.lab.speed.measurements import (
    CLIP_SECONDS,
    against_hugging_face,
    against_length,
    loop_speech,
    make_archive,
    make_bench_model,
    pruning_share,
    temporary_folder,
)
from speechprune.lab.speed.ray_overhead import ray_overhead
from speechprune.lab.speed.tables import show_speed

DEMO = Path(__file__).parents[2] / "demo"
LENGTHS_SECONDS = (30.0, 90.0, 300.0, 900.0, 3600.0)
JOB_LENGTHS_SECONDS = (600.0, 3600.0, 10_800.0)


def main(arguments: Sequence[str]) -> int:
    """Run all four measurements."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", default="bench.json", help="where the numbers go (default: bench.json)")
    parser.add_argument("--recordings", type=int, default=96, help="90 s recordings of the Ray job")
    parser.add_argument("--repeats", type=int, default=3, help="counted runs of each side of (1)")
    options = parser.parse_args(arguments)
    recordings = sorted((DEMO / "archive" / "audio").glob("*.opus"))
    speech = loop_speech(recordings, max(LENGTHS_SECONDS))
    clip = speech[: round(CLIP_SECONDS * 16_000)]
    results: dict[str, object] = {
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
        "versions": {name: version(name) for name in ("torch", "transformers", "ray")},
    }
    with temporary_folder() as temporary:
        folder = Path(temporary)
        model = make_bench_model(DEMO / "model", folder / "model")
        lm = SpeechLM.from_pretrained(str(model), random_weights=True)
        results["model"] = {
            "parameters": sum(p.numel() for p in as_qwen2_audio(lm).model.parameters()),
            "dtype": str(lm.model.dtype),
        }
        hugging_face, shares = [], []
        for num_questions in (1, 8):
            logger.info("(1) against the Hugging Face loops, {} questions a recording", num_questions)
            rows, answers = against_hugging_face(lm, clip, num_questions, options.repeats)
            hugging_face += rows
            shares += [{"pruning_rate": rate, **pruning_share(own)} for rate, own in answers.items()]
        logger.info("(4) against the length of the recording, up to an hour")
        results |= {
            "against_hugging_face": hugging_face,
            "pruning_share": shares,
            "against_length": against_length(lm, speech, LENGTHS_SECONDS),
        }
        del lm
        logger.info("(2) the job on Ray against the direct call, {} recordings", options.recordings)
        archive = folder / "archive"
        archive.mkdir()
        manifest = make_archive(archive, speech, options.recordings, num_questions=2)
        results["ray_overhead"] = ray_overhead(manifest, model, folder / "run")
        logger.info("(5) recordings of 10 minutes, an hour and three hours through the job")
        results["long_recordings"] = long_recordings(recordings, DEMO / "model", folder, JOB_LENGTHS_SECONDS)
    show_speed(results)
    Path(options.output).write_text(json.dumps(results, indent=2))
    print(f"wrote {options.output}")
    return 0
