"""Manifests of benchmarks that exist or are built first."""

from __future__ import annotations

import shlex
from pathlib import Path

from loguru import logger

from speechprune import storage
from speechprune.config import config_from_arguments


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
    arguments = [source] if Path(source).is_file() else shlex.split(source)
    if not arguments or not arguments[0].endswith((".yaml", ".yml")):
        return source
    from speechprune.benchmarks.builder.config import BuildConfig
    from speechprune.benchmarks.builder.job import build_benchmark  # needs the extra [build]

    result = build_benchmark(config_from_arguments(BuildConfig, arguments))
    if result.failures:
        logger.warning("{}: {:,} recordings could not be made", result.path, len(result.failures))
    return storage.join(result.path, "manifest.jsonl")
