"""Look at the answers of a run.

speechprune show RUN                        every item in a line
speechprune show RUN ITEM_ID                one item: choices, probabilities, evidence, cost
speechprune show RUN ITEM_ID --clips DIR    also its evidence as Opus files to listen to
speechprune show RUN ITEM_ID --srt          transcripts of its evidence, as subtitles
speechprune show INDEX --srt RECORDING      transcript of an indexed recording, as subtitles (of a cascade)
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from loguru import logger

from speechprune.pipeline.run_store import RunStore
from speechprune.reports.answers import AnswerNotFound, find_answer, list_answers, show_answer, write_clips
from speechprune.reports.subtitles import as_srt
from speechprune.reports.transcript import evidence_text, read_transcript


def main(arguments: Sequence[str]) -> int:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(
        prog="speechprune show", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="run directory, or with --srt an index; local or s3://")
    parser.add_argument("item_id", nargs="?", help="an item, or the beginning of its id")
    parser.add_argument("--clips", metavar="DIR", help="write the evidence spans there as Opus files")
    parser.add_argument("--failed", action="store_true", help="list only the failed items")
    parser.add_argument(
        "--srt",
        metavar="RECORDING",
        nargs="?",
        const="",
        help="of an index: address of a recording, or its end; of a run: behind ITEM_ID, by itself",
    )
    options = parser.parse_args(arguments)
    run = RunStore(options.run)
    try:
        if options.srt is not None and options.item_id is not None:
            print(as_srt(evidence_text(find_answer(run, options.item_id))), end="")
            return 0
        if options.srt is not None:
            print(as_srt(read_transcript(options.run, options.srt)), end="")
            return 0
        if options.item_id is None:
            list_answers(run, only_failed=options.failed)
            return 0
        answer = find_answer(run, options.item_id)
        show_answer(answer)
        if options.clips:
            for path in write_clips(answer, options.clips):
                print(f"wrote {path}")
    except (AnswerNotFound, ValueError, OSError) as error:
        logger.error("{}", error)
        return 2
    return 0
