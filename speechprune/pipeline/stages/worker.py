"""What every actor with a model begins with: the model, and the rows that decoding made."""

from __future__ import annotations

import os
from typing import Any

import pyarrow as pa

from speechprune.models.base import SpeechModel
from speechprune.models.loading import load_model
from speechprune.models.options import ModelOptions
from speechprune.pipeline.tasks import unpack_items

BINARY_COLUMNS = ("pcm", "windows")


def load_in_worker(model: ModelOptions, num_threads: int) -> SpeechModel:
    """The model, without the chatter of its libraries; Ray would leave it one CPU thread."""
    import torch
    import transformers

    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(num_threads)
    return load_model(model)


def task_rows(decoded: pa.Table) -> list[dict[str, Any]]:
    """One dict a recording; samples and stored windows stay a view of Ray's shared memory."""
    return [_task_row(decoded, index) for index in range(len(decoded))]


def _task_row(decoded: pa.Table, index: int) -> dict[str, Any]:
    row: dict[str, Any] = {
        name: decoded.column(name)[index].as_py()
        for name in decoded.column_names
        if name not in (*BINARY_COLUMNS, "items")
    }
    for name in BINARY_COLUMNS:
        value = decoded.column(name)[index]
        row[name] = value.as_buffer() if value.is_valid else None
    row["items"] = unpack_items(decoded.column("items")[index].as_py())
    return row
