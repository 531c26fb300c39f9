"""Manifest reader, answer table schema, and index files."""

from typing import Any

Row = dict[str, Any]  # one row of a manifest or table, by column name
