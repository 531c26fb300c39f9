"""Reject manifests that reuse an answered item_id for a different question."""

from __future__ import annotations

import textwrap
from typing import Any

import pyarrow as pa

from speechprune.data import column_values
from speechprune.data.columns import RECORDING_COLUMNS
from speechprune.data.manifest import ManifestError

ASKED_COLUMNS = ("question", "choices", "answer", *RECORDING_COLUMNS)
MAX_SHOWN_CHARACTERS = 120  # of what was asked, and of what is


def refuse_changed_items(
    answered: pa.Table, items: pa.Table, key_columns: list[str], *, path: str, place: str
) -> None:
    """Refuse a manifest that asks something else under the id of an answered item.

    Ids that are made of the row change with it. Those that a manifest gives may stay on a question that was
    edited, or be the same in a manifest that has nothing to do with these answers. Recordings may have moved:
    of their addresses only the file's name must stay.

    - ``answered``: ``key_columns`` and ``ASKED_COLUMNS`` of the answers; in a sweep one row per point.
    - ``items``: items of the manifest, with the same columns.
    - ``key_columns``: columns that identify an item: its id, in a sweep with the benchmark's name.
    - ``path`` and ``place``: the run directory and the setting that leads to it, for the sentence.

    Raises
    ------
    ManifestError
        The first such item, what has changed, and how many more there are.
    """
    firsts: dict[tuple[str, ...], int] = {}
    for number, key in enumerate(column_values(answered, key_columns)):
        firsts.setdefault(key, number)
    rows = answered.take(pa.array(firsts.values(), pa.int64())).select(ASKED_COLUMNS).to_pylist()
    before = dict(zip(firsts, rows, strict=True))
    asked = items.select(ASKED_COLUMNS).to_pylist()
    others = [
        (key, name, before[key][name], item[name])
        for key, item in zip(column_values(items, key_columns), asked, strict=True)
        if key in before and (name := _changed(before[key], item))
    ]
    if not others:
        return
    key, name, was, now = others[0]
    more = f" (and {len(others) - 1:,} more)" if len(others) > 1 else ""
    raise ManifestError(
        f"item_id {key[-1]!r} is answered in {path} with another {name}, {_brief(was)}, where the "
        f"manifest now has {_brief(now)}{more}: give what has changed another item_id, or give another "
        f"{place}"
    )


def _brief(value: Any) -> str:
    """As written in Python, within a line: a question may fill a page."""
    return textwrap.shorten(repr(value), MAX_SHOWN_CHARACTERS, placeholder=" ...")


def _changed(before: dict[str, Any], item: dict[str, Any]) -> str | None:
    """The first column in which two rows ask different things."""
    for name in ASKED_COLUMNS:
        one, other = before[name], item[name]
        if (file_name(one) != file_name(other)) if name == "audio" else (one != other):
            return name
    return None


def file_name(uri: str) -> str:
    """The last part of an address, without what a signed address ends in, which is another every day."""
    path = uri.split("?", 1)[0] if "://" in uri else uri
    return path.rsplit("/", 1)[-1]
