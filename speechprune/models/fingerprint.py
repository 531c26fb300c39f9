"""A short hash of all that a model folder holds."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from speechprune import storage
from speechprune.models.config_files import read_config
from speechprune.models.hub import WEIGHT_SUFFIXES, model_files
from speechprune.models.options import ModelOptions

_NUM_WEIGHT_SAMPLES = 16  # places at which a weight file is read
_WEIGHT_SAMPLE_BYTES = 1 << 16


def fingerprint(options: ModelOptions) -> str:
    """Hash a model's content, the same for a copy of it elsewhere.

    Small files are hashed whole, weights by their size and samples of their content. A hub model is named by
    its commit.
    """
    digest = hashlib.sha256()
    if options.random_weights:
        digest.update(b"random weights")
    path = options.path
    if not storage.is_remote(path) and not Path(path).is_dir():
        commit = read_config(path, options.revision).get("_commit_hash")
        digest.update(f"{path}@{commit or options.revision}".encode())
        return digest.hexdigest()[:16]
    fs, root, files = model_files(path)
    for file, info in files.items():
        name, size = os.path.relpath(file, root), info["size"]
        if any(part.startswith(".") for part in Path(name).parts):
            continue
        digest.update(f"{name}:{size}\n".encode())
        if not name.endswith(WEIGHT_SUFFIXES):
            digest.update(fs.cat_file(file))
            continue
        for i in range(_NUM_WEIGHT_SAMPLES):
            start = size * i // _NUM_WEIGHT_SAMPLES
            digest.update(fs.cat_file(file, start=start, end=min(size, start + _WEIGHT_SAMPLE_BYTES)))
    return digest.hexdigest()[:16]
