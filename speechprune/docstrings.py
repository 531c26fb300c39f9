"""What the docstring of a dataclass says about each of its fields."""

from __future__ import annotations

import inspect


def parameter_docs(kind: type) -> dict[str, str]:
    """Read the ``Parameters`` section of a class's numpy docstring, and of the classes that it derives from.

    Returns
    -------
    dict of str
        The meaning of each field in one line, by name; fields that are documented together share it.
    """
    meanings: dict[str, str] = {}
    for owner in reversed(kind.__mro__):
        doc = owner.__dict__.get("__doc__")
        if doc is None or "Parameters\n" not in doc:
            continue
        _, _, section = inspect.cleandoc(doc).partition("Parameters\n----------\n")
        names: list[str] = []
        for line in section.split("\n\n")[0].splitlines():
            if line.startswith(" "):
                for name in names:
                    meanings[name] = f"{meanings[name]} {line.strip()}".strip()
            else:
                names = [name.strip() for name in line.partition(" : ")[0].split(",")]
                meanings |= dict.fromkeys(names, "")
    return meanings
