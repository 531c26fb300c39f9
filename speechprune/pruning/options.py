"""The section ``pruning`` of a config: a method and its settings, derived from ``METHODS``."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_type_hints

from speechprune.docstrings import parameter_docs
from speechprune.pruning.base import PruningMethod
from speechprune.pruning.methods import METHODS, method_class


def make_method(name: str, settings: Mapping[str, Any]) -> PruningMethod:
    """Make a method by name or import path.

    Raises
    ------
    ValueError
        Unknown method, a setting that it does not have (the nearest is named), or a value that it refuses.
    """
    from pydantic import TypeAdapter, ValidationError  # a notebook that passes methods does without

    kind = method_class(name)
    known = [f.name for f in dataclasses.fields(kind)]
    for setting in settings:
        if setting not in known:
            close = difflib.get_close_matches(setting, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"valid here: {', '.join(known)}"
            raise ValueError(f"{setting} is not a setting of {name}: {hint}")
    try:
        return TypeAdapter(kind).validate_python(dict(settings))
    except ValidationError as error:
        problem = error.errors()[0]
        if problem["type"] == "value_error":  # from a __post_init__, whose sentence begins with the setting
            raise ValueError(str(problem["ctx"]["error"])) from error
        wrong = f"{problem['loc'][0]} is {problem['input']!r}"
        raise ValueError(f"{wrong}: {problem['msg'][0].lower()}{problem['msg'][1:]}") from error


@dataclass(frozen=True, kw_only=True)
class _MethodChoice:
    """Which audio tokens are kept: a method, and the settings of all methods of ``METHODS``.

    Parameters
    ----------
    method
        A name in ``METHODS``, or a class of your own as ``package.module:Class``.
    settings
        Settings of a class of your own.
    """

    method: str = "speechprune"
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in METHODS:  # a bad value is refused, whichever method is chosen
            make_method(name, self._shared_settings(METHODS[name]))
        self.build()

    def build(self) -> PruningMethod:
        """Make the method, with those of the settings that it has."""
        own = self._shared_settings(method_class(self.method))
        try:
            return make_method(self.method, own | self.settings)
        except ValueError as error:
            if str(error).split(" ")[0] in self.settings:  # sentences begin with the setting's name
                raise ValueError(f"settings.{error}") from error
            raise

    def _shared_settings(self, kind: type[PruningMethod]) -> dict[str, Any]:
        names = {f.name for f in dataclasses.fields(kind)}
        return {name: value for name, value in vars(self).items() if name in names and name != "settings"}


def _settings_of(methods: Iterable[type[PruningMethod]]) -> dict[str, tuple[str, Any, Any]]:
    """Name, type and default of every setting that any of the methods has, by name."""
    settings: dict[str, tuple[str, Any, Any]] = {}
    for method in methods:
        hints = get_type_hints(method)
        for own in dataclasses.fields(method):
            settings.setdefault(own.name, (own.name, hints[own.name], field(default=own.default)))
    return settings


def _docstring(methods: Iterable[type[PruningMethod]]) -> str:
    """The docstring of the section, with what the methods say of their settings."""
    meanings: dict[str, str] = {}
    for method in methods:
        meanings = parameter_docs(method) | meanings
    lines = [f"{name}\n    {meanings[name]}" for name in _settings_of(METHODS.values())]
    return "\n".join([inspect.cleandoc(_MethodChoice.__doc__ or ""), *lines])


if TYPE_CHECKING:

    class PruningOptions(_MethodChoice):
        """What ``make_dataclass`` makes below."""

else:
    PruningOptions = dataclasses.make_dataclass(
        "PruningOptions",
        _settings_of(METHODS.values()).values(),
        bases=(_MethodChoice,),
        frozen=True,
        kw_only=True,
        namespace={"__doc__": _docstring(METHODS.values()), "__module__": __name__},
    )
