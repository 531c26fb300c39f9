"""Write a page of a run's answers that one can search and listen to, without any network.

speechprune report RUN                      RUN/report/report.html, with clips of the evidence beside it
speechprune report RUN --embed              the clips inside the page: one file to send or to put online
speechprune report RUN --output FOLDER      local or s3://
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import posixpath
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from loguru import logger

from speechprune import storage
from speechprune.data import Row
from speechprune.pipeline.failures import failure_sentence, is_about_data
from speechprune.pipeline.run_store import RunStore
from speechprune.pipeline.summary import AnswersSource
from speechprune.reports.answers import AnswerNotFound
from speechprune.reports.clips import Recording, Seconds, Sound, plan_clips, read_sound
from speechprune.reports.page_data import page_data, read_rows, recording_of, spans_of

CLIPS_FOLDER = "clips"
NUM_DECODERS = 8  # recordings decoded at a time, at most: each takes 115 MB an hour
NUM_WRITERS = 16  # clips written at a time: object stores answer slowly, but many at once
MB = 1_000_000


def main(arguments: Sequence[str]) -> int:
    """Write the report of a run."""
    parser = argparse.ArgumentParser(
        prog="speechprune report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "run", help="run directory, of an index's questions or of a sweep too; local or s3://"
    )
    parser.add_argument("--output", metavar="FOLDER", help="default: RUN/report")
    parser.add_argument(
        "--clips-mb", type=float, default=50, metavar="MB", help="size of all clips; 0: none (default: 50)"
    )
    parser.add_argument("--embed", action="store_true", help="put the clips inside the page")
    parser.add_argument(
        "--items", type=int, default=2000, metavar="N", help="show at most N items (default: 2000)"
    )
    options = parser.parse_args(arguments)
    if options.items < 1:
        parser.error(f"--items is {options.items}: give at least 1")
    try:
        run = RunStore(options.run)
        output = storage.output_folder(options.output or storage.join(run.path, "report"))
        path = write_report(
            run, output, clips_mb=options.clips_mb, embed=options.embed, num_items=options.items
        )
    except (ValueError, OSError) as error:
        logger.error("{}", error)
        return 2
    print(f"report: {path}")
    return 0


def write_report(run: AnswersSource, output: str, *, clips_mb: float, embed: bool, num_items: int) -> str:
    """Write ``report.html``, and unless they are embedded ``clips/``; returns the page's address.

    Raises
    ------
    AnswerNotFound
        The run has no rows.
    """
    rows, facts = read_rows(run, num_items)
    if not rows:
        raise AnswerNotFound(f"{run.path} holds no answers: is it the output.path of a run?")
    sounds = _read_sounds(rows, clips_mb)
    sources: dict[tuple[Recording, float], str] = {}
    files: dict[str, bytes] = {}
    for recording, sound in sounds.items():
        for clip in sound.clips if isinstance(sound, Sound) else []:
            if embed:
                source = f"data:audio/ogg;base64,{base64.b64encode(clip.opus).decode()}"
            else:
                name = hashlib.sha256(repr((recording, clip.start, clip.end)).encode()).hexdigest()[:24]
                source = f"{CLIPS_FOLDER}/clip-{name}.opus"
                files[source] = clip.opus
            sources[recording, clip.start] = source
    addresses = [storage.join(output, name) for name in files]
    with ThreadPoolExecutor(NUM_WRITERS) as pool:
        list(pool.map(storage.write_bytes, addresses, files.values()))  # raises what a thread raised
    path = storage.join(output, "report.html")
    data = page_data(rows, sounds, sources, facts)
    storage.write_bytes(path, render_page(posixpath.basename(run.path), data).encode())
    for file in storage.files_in(storage.join(output, CLIPS_FOLDER), ".opus"):  # of an earlier report
        name = f"{CLIPS_FOLDER}/{posixpath.basename(file)}"
        if name.startswith(f"{CLIPS_FOLDER}/clip-") and name not in files:
            storage.remove(file)
    return path


def _read_sounds(rows: Sequence[Row], clips_mb: float) -> dict[Recording, Sound | str]:
    """The sound of every recording that has clips in the budget; of the others why there is none."""
    wanted = [(recording_of(row), spans_of(row)) for row in rows]
    planned = plan_clips(wanted, clips_mb * MB)
    if planned:
        logger.info("reading {:,} recordings for clips of their evidence", len(planned))
    with ThreadPoolExecutor(min(NUM_DECODERS, os.cpu_count() or 1)) as pool:
        read = dict(zip(planned, pool.map(_read_or_explain, planned.items()), strict=True))
    has_spans = {recording for recording, spans in wanted if spans}
    beyond = f"no clips: they would exceed --clips-mb {clips_mb:g}"
    nothing = "no clips: none of its answers names evidence"
    return read | {
        recording: beyond if recording in has_spans else nothing
        for recording, _ in wanted
        if recording not in read
    }


def _read_or_explain(planned: tuple[Recording, list[Seconds]]) -> Sound | str:
    try:
        return read_sound(*planned)
    except Exception as error:
        if not is_about_data(error):
            raise
        return f"no clips: {failure_sentence(error)}"


def render_page(title: str, data: Mapping[str, Any]) -> str:
    """The page as HTML that needs no other file but its clips.

    Nothing that stands in a recording's name, a question or an answer is run: it is JSON without any ``<``,
    which the script shows as text, and the page's policy lets a browser run this one script alone.
    """
    environment = Environment(
        loader=PackageLoader("speechprune", "reports"), autoescape=True, undefined=StrictUndefined
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}  # in the order given
    folder = resources.files("speechprune.reports")
    base, listen, style = (
        (folder / name).read_text(encoding="utf-8") for name in ("page.js", "listen.js", "page.css")
    )
    script = f"{base}\n{listen}"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    template = environment.get_template("page.html.jinja")
    return template.render(title=title, data=data, script=script, style=style, script_digest=digest)
