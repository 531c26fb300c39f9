"""Manifests of benchmarks that exist or are built first."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from loguru import logger

from speechprune import storage
from speechprune.config import config_from_arguments

if TYPE_CHECKING:
    from speechprune.benchmarks.builder.config import BuildConfig


def build_config(source: str) -> BuildConfig | None:
    """Return the config of a benchmark that is built; None where ``source`` is the address of a manifest.

    ``source``: see ``build_manifest``.
    """
    arguments = [source] if Path(source).is_file() else shlex.split(source)
    if not arguments or not arguments[0].endswith((".yaml", ".yml")):
        return None
    from speechprune.benchmarks.builder.config import BuildConfig  # needs the extra [build]

    return config_from_arguments(BuildConfig, arguments)


def manifest_in(folder: str) -> str:
    """Return the address of the manifest of a built benchmark."""
    return storage.join(storage.output_folder(folder), "manifest.jsonl")


def build_manifest(source: str) -> str:
    """Return the address of a manifest, after its benchmark is built if need be.

    Parameters
    ----------
    source
        That address itself; or the arguments of ``jobs/build_benchmark.py``, ``CONFIG.yaml
        [section.key=value ...]``, whose missing recordings are made.

    Raises
    ------
    ValueError
        The benchmark can't be built, see ``build_benchmark``.
    """
    config = build_config(source)
    if config is None:
        return source
    from speechprune.benchmarks.builder.job import build_benchmark

    result = build_benchmark(config)
    if result.failures:
        logger.warning("{}: {:,} recordings could not be made", result.path, len(result.failures))
    return manifest_in(result.path)
