"""Meanings of the fields of a dataclass, or of the parameters of a function, from its docstring."""

from __future__ import annotations

import inspect
from collections.abc import Callable


def parameter_docs(documented: type | Callable[..., object]) -> dict[str, str]:
    """Read the ``Parameters`` section of a function's numpy docstring, or of a class's and its base classes'.

    Each meaning is on one line; parameters that are documented together share it.
    """
    meanings: dict[str, str] = {}
    for owner in reversed(documented.__mro__) if isinstance(documented, type) else (documented,):
        doc = owner.__doc__
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
