"""Classes of the user's own, by import path: ``package.module:ClassName``."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TypeVar

Base = TypeVar("Base")


def is_import_path(name: str) -> bool:
    """Whether a name has the form ``package.module:ClassName``."""
    module, colon, attribute = name.partition(":")
    return bool(colon) and attribute.isidentifier() and all(part.isidentifier() for part in module.split("."))


def import_class(path: str, base: type[Base], setting: str) -> type[Base]:
    """Import a class of the user's own.

    The current folder is searched too, as by ``python -m``.

    Parameters
    ----------
    path
        ``package.module:ClassName``.
    base
        What it must be a subclass of.
    setting
        The setting that names it, for the sentence of an error.

    Raises
    ------
    ValueError
        No such module or class, or no subclass of ``base``. An error inside the module itself is raised as it
        is, with its traceback.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    module_name, _, class_name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # an import inside the user's module
        raise ValueError(
            f"{setting} is {path!r}, but there is no module {error.name}: put its folder on PYTHONPATH, or "
            "start the job in it"
        ) from error
    found = getattr(module, class_name, None)
    if found is None:
        raise ValueError(f"{setting} is {path!r}, but {module_name} has no class {class_name}")
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ValueError(f"{setting} is {path!r}, which is not a subclass of {base.__name__}")
    return found
