"""Configs from YAML and ``section.key=value`` overrides, for any dataclass whose fields are sections.

A value ``package://demo/model`` is the path of that file in the installed package, from any folder;
``fetched://NAME`` is that of a model that jobs/fetch_models.py assembled.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from speechprune.typed_yaml import read_override, read_yaml

T = TypeVar("T")

PACKAGE_SCHEME = "package://"
FETCHED_SCHEME = "fetched://"
_PACKAGE = Path(__file__).absolute().parent


class ConfigError(ValueError):
    """A config that can't be used; one line names the key and what to give."""


def config_from_arguments(
    config_class: type[T],
    arguments: Sequence[str],
    default: str | None = None,
    example: str = "CONFIG.yaml",
    options: Collection[str] = (),
) -> T:
    """Read the config that a job's arguments name: ``[CONFIG.yaml] [section.key=value ...]``.

    Where they name no file it is ``default``; None if they must, then the error names ``example``.
    ``options`` were read from them before; the error of one that is misspelt names the nearest.

    Raises
    ------
    ConfigError
        No config file or more than one, an unknown option, or see ``load_config``.
    """
    if option := next((argument for argument in arguments if argument.startswith("-")), None):
        close = difflib.get_close_matches(option, options, n=1)
        hint = (
            f"did you mean {close[0]}?"
            if close
            else "settings are written section.key=value, --help lists them"
        )
        raise ConfigError(f"unknown option {option}: {hint}")
    configs = [argument for argument in arguments if "=" not in argument]
    overrides = [argument for argument in arguments if "=" in argument]
    if len(configs) > 1:
        raise ConfigError(
            f"give one config file, not {' and '.join(configs)}: overrides are written section.key=value"
        )
    path = configs[0] if configs else default
    if path is None:
        raise ConfigError(f"give a config file: {example} [section.key=value ...]")
    return load_config(config_class, path, overrides)


def load_config(config_class: type[T], path: str, overrides: Sequence[str] = ()) -> T:
    """Read a config file and apply ``section.key=value`` overrides.

    Parameters
    ----------
    config_class
        Dataclass whose fields are sections, each a dataclass of settings.
    path
        A YAML file; ``package://configs/NAME.yaml`` is one that the package ships.
    overrides
        Text as it stands where the setting takes text, else read as YAML (``read_override``); the last one
        of a key wins.

    Raises
    ------
    ConfigError
        The file, a key or a value is wrong; one line names it and, for a misspelt key, the nearest.
    """
    sections = _sections(config_class)
    try:
        values = read_yaml(Path(resolve_package_address(path)).read_text(encoding="utf-8"), sections)
    except (OSError, UnicodeDecodeError) as error:
        shipped = f"{PACKAGE_SCHEME}configs/{Path(path).name}"
        hint = f"; the package ships {shipped}" if _package_file(shipped).is_file() else ""
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"config {path} can't be read: {reason}{hint}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"config {path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        some = " and ".join(", ".join(list(sections)[:3]).rsplit(", ", 1))
        raise ConfigError(f"config {path} must hold sections such as {some}")
    for section, settings in list(values.items()):
        if settings is None:  # a section whose keys are all commented out
            values[section] = {}
    for override in overrides:
        _apply_override(sections, values, override)
    return parse_config(config_class, _resolve_package_addresses(values))


def parse_config(config_class: type[T], values: dict[str, Any]) -> T:
    """Turn nested dicts into a config, refusing unknown keys.

    Sections with a default may be absent; of one without, the keys without a default are asked for.

    Raises
    ------
    ConfigError
        See ``load_config``.
    """
    sections = _sections(config_class)
    _refuse_unknown_keys(sections, values)
    required: dict[str, Any] = {name: {} for name in sections if name in _required(config_class)}
    try:
        return TypeAdapter(config_class).validate_python(required | values)
    except ValidationError as error:
        raise ConfigError(_first_problem(error)) from error


def as_yaml(config: Any) -> str:
    """Return a config as YAML that ``load_config`` reads back; sections that are None are left out."""
    sections = {name: value for name, value in dataclasses.asdict(config).items() if value is not None}
    text: str = yaml.safe_dump(_plain(sections), sort_keys=False, allow_unicode=True, width=100)
    return text


def _plain(value: Any) -> Any:
    """Convert tuples, which YAML has no word for, to lists."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def resolve_package_address(address: str) -> str:
    """Return the path of a ``package://NAME`` or ``fetched://NAME`` address; all other text stays as it is.

    Of a file of the package it is relative where the current folder holds the package, as in a checkout:
    rows then name the model alike in every checkout, and a Ray worker finds it in its own copy of a job's
    working directory.

    Raises
    ------
    ConfigError
        The package has no such file, or the model was not fetched.
    """
    if address.startswith(FETCHED_SCHEME):
        folder = fetched_models_folder() / (name := address.removeprefix(FETCHED_SCHEME))
        if not folder.is_dir():
            raise ConfigError(f"{address} is not in {folder.parent}: python jobs/fetch_models.py {name}")
        return str(folder)
    if not address.startswith(PACKAGE_SCHEME):
        return address
    path = _package_file(address)
    if not path.exists():
        folder = next(parent for parent in path.parents if parent.is_dir())
        names = ", ".join(sorted(file.name for file in folder.iterdir() if file.name[0] not in "._"))
        raise ConfigError(f"{address} is not in the package: {folder.name}/ there holds {names}")
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def fetched_models_folder() -> Path:
    """Return where fetched models are kept: ``$SPEECHPRUNE_MODELS``, else a folder of the user's cache."""
    default = Path.home() / ".cache" / "speechprune" / "models"
    return Path(os.environ.get("SPEECHPRUNE_MODELS") or default).absolute()


def _package_file(address: str) -> Path:
    name = address.removeprefix(PACKAGE_SCHEME)
    if name.startswith("configs/") and not (_PACKAGE / "configs").is_dir():
        return _PACKAGE.parent / name  # beside the package in a checkout, inside it in a wheel
    return _PACKAGE / name


def _resolve_package_addresses(value: Any) -> Any:
    """Resolve every text that is such an address as a whole; the arguments of a build are resolved there."""
    if isinstance(value, dict):
        return {key: _resolve_package_addresses(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolve_package_addresses(item) for item in value]
    return resolve_package_address(value) if isinstance(value, str) and " " not in value else value


def _sections(config_class: Any) -> dict[str, dict[str, Any]]:
    """Section -> key -> type of the setting."""
    hints = get_type_hints(config_class)
    sections = {}
    for section in dataclasses.fields(config_class):
        owner = section_class(hints[section.name])
        types = get_type_hints(owner)
        sections[section.name] = {f.name: types[f.name] for f in dataclasses.fields(owner)}
    return sections


def section_class(hint: Any) -> Any:
    """Return the dataclass of a section; one that a config may do without is ``X | None``."""
    return next(part for part in get_args(hint) or (hint,) if part is not NoneType)


def _required(config_class: Any) -> set[str]:
    """Sections without a default."""
    missing = dataclasses.MISSING
    fields = dataclasses.fields(config_class)
    return {f.name for f in fields if f.default is missing and f.default_factory is missing}


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
    settings = values.setdefault(section, {})
    if isinstance(settings, dict):  # if not, parse_config refuses it
        settings[key] = read_override(text, sections.get(section, {}).get(key, Any))


def _first_problem(error: ValidationError) -> str:
    problem, *others = error.errors()
    name = ".".join(str(part) for part in problem["loc"][:2])
    if problem["type"] == "missing":
        return f"{name} is missing: set it in the config file or as {name}=..."
    if problem["type"] == "value_error":  # from a __post_init__, whose sentence begins with the key
        sentence = str(problem["ctx"]["error"])
        return f"{name}.{sentence}" if name else sentence
    if problem["type"] == "string_type":
        what = "empty" if problem["input"] is None else repr(problem["input"])
        return f'{name} is {what}: give a text, in quotes where YAML reads it otherwise ("" for an empty one)'
    # of a setting of several types: one problem a type
    messages = [problem["msg"], *(other["msg"] for other in others if other["loc"][:2] == problem["loc"][:2])]
    return f"{name} is {problem['input']!r}: " + ", or ".join(text[0].lower() + text[1:] for text in messages)
