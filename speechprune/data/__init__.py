"""Manifest reader, answer table schema, and index files."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]  # one row of a manifest or table, by column name


def column_values(table: pa.Table, names: Iterable[str]) -> list[tuple[Any, ...]]:
    """Values of some columns: one tuple per row."""
    return list(zip(*(table.column(name).to_pylist() for name in names), strict=True))


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Without Python's search for cycles, which takes a third of the time in which many values are made."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
