"""Configs from YAML and ``section.key=value`` overrides, for any dataclass whose fields are sections."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")


class ConfigError(ValueError):
    """A config that can't be used; one line names the key and what to give."""


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether a job's arguments ask what it does, with ``-h`` or ``--help``."""
    return bool({"-h", "--help"} & set(arguments))


def config_from_arguments(kind: type[T], arguments: Sequence[str], default: Path | None = None) -> T:
    """The config of a job, from its arguments: ``[CONFIG.yaml] [section.key=value ...]``.

    Parameters
    ----------
    kind
        Dataclass of the job's sections.
    arguments
        Of the command line, in any order.
    default
        The config file where none is named; None if one must be.

    Raises
    ------
    ConfigError
        No config file or more than one, or see ``load_config``.
    """
    configs = [argument for argument in arguments if "=" not in argument]
    overrides = [argument for argument in arguments if "=" in argument]
    if len(configs) > 1:
        raise ConfigError(
            f"give one config file, not {' and '.join(configs)}: overrides are written section.key=value"
        )
    path = configs[0] if configs else default
    if path is None:
        raise ConfigError("give a config file: CONFIG.yaml [section.key=value ...]")
    return load_config(kind, str(path), overrides)


def load_config(kind: type[T], path: str, overrides: Sequence[str] = ()) -> T:
    """Read a config file and apply ``section.key=value`` overrides.

    Parameters
    ----------
    kind
        Dataclass whose fields are sections, each a dataclass of settings.
    path
        A YAML file.
    overrides
        Read as YAML too; the last one of a key wins.

    Raises
    ------
    ConfigError
        The file, a key or a value is wrong; one line names it and, for a misspelt key, the nearest.
    """
    try:
        values = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise ConfigError(f"config {path} can't be read: {error.strerror or error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"config {path} is not valid YAML: {' '.join(str(error).split())}") from error
    sections = _sections(kind)
    if not isinstance(values, dict):
        some = " and ".join(", ".join(list(sections)[:3]).rsplit(", ", 1))
        raise ConfigError(f"config {path} must hold sections such as {some}")
    for section, settings in list(values.items()):
        if settings is None:  # a section whose keys are all commented out
            values[section] = {}
    for override in overrides:
        _apply_override(sections, values, override)
    return parse_config(kind, values)


def parse_config(kind: type[T], values: dict[str, Any]) -> T:
    """Turn nested dicts into a config, refusing unknown keys.

    Sections with a default may be absent; of one without, the keys without a default are asked for.

    Raises
    ------
    ConfigError
        See ``load_config``.
    """
    sections = _sections(kind)
    _refuse_unknown_keys(sections, values)
    required: dict[str, Any] = {name: {} for name in sections if name in _required(kind)}
    try:
        return TypeAdapter(kind).validate_python(required | values)
    except ValidationError as error:
        raise ConfigError(_first_problem(error)) from error


def _sections(kind: Any) -> dict[str, dict[str, Any]]:
    """Section -> key -> type of the setting."""
    kinds = get_type_hints(kind)
    sections = {}
    for section in dataclasses.fields(kind):
        owner = _section_class(kinds[section.name])
        types = get_type_hints(owner)
        sections[section.name] = {f.name: types[f.name] for f in dataclasses.fields(owner)}
    return sections


def _section_class(hint: Any) -> Any:
    """The dataclass of a section; one that a config may do without is ``X | None``."""
    return next(part for part in get_args(hint) or (hint,) if part is not NoneType)


def _required(kind: Any) -> set[str]:
    """Sections without a default."""
    missing = dataclasses.MISSING
    return {f.name for f in dataclasses.fields(kind) if f.default is missing and f.default_factory is missing}


def _refuse_unknown_keys(sections: dict[str, dict[str, Any]], values: dict[str, Any]) -> None:
    for section, settings in ((str(name), value) for name, value in values.items()):
        if section not in sections:
            owners = [owner for owner, keys in sections.items() if section in keys]
            nearest = f"did you mean {owners[0]}.{section}?" if owners else _nearest(section, list(sections))
            raise ConfigError(f"unknown section {section}: {nearest}")
        if not isinstance(settings, dict):
            raise ConfigError(f"section {section} must hold keys and values, not {settings!r}")
        for key in map(str, settings):
            if key not in sections[section]:
                owners = [owner for owner, keys in sections.items() if key in keys]
                nearest = (
                    f"did you mean {owners[0]}.{key}?"
                    if owners
                    else _nearest(key, list(sections[section]), f"{section}.")
                )
                raise ConfigError(f"unknown key {section}.{key}: {nearest}")


def _nearest(name: str, valid: Sequence[str], prefix: str = "") -> str:
    close = difflib.get_close_matches(name, valid, n=1) or [word for word in valid if name in word]
    return f"did you mean {prefix}{close[0]}?" if close else f"valid here: {', '.join(valid)}"


def _apply_override(sections: dict[str, dict[str, Any]], values: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    section, dot, key = name.partition(".")
    if not (equals and dot and section and key):
        known, keys = next(iter(sections.items()))
        raise ConfigError(
            f"{override!r} is not an override: write section.key=value, as in {known}.{next(iter(keys))}=..."
        )
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    kind = sections.get(section, {}).get(key)
    if isinstance(value, dict | list) and _takes(kind, text) and not _takes(kind, value):
        value = text  # with braces, such as a prompt
    settings = values.setdefault(section, {})
    if isinstance(settings, dict):  # if not, parse_config says so
        settings[key] = value


def _takes(kind: Any, value: Any) -> bool:
    """Whether a value is one of a setting's type."""
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return False
    return True


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    name = ".".join(str(part) for part in problem["loc"][:2])
    if problem["type"] == "missing":
        return f"{name} is missing: set it in the config file or as {name}=..."
    if problem["type"] == "value_error":  # from a __post_init__, whose sentence begins with the key
        sentence = str(problem["ctx"]["error"])
        return f"{name}.{sentence}" if name else sentence
    return f"{name} is {problem['input']!r}: {problem['msg'][0].lower()}{problem['msg'][1:]}"
