"""The help of a job: every setting with type, default and meaning, from its config's dataclasses."""

from __future__ import annotations

import dataclasses
import inspect
import json
import shutil
import textwrap
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from speechprune.cli_commands import Job
from speechprune.config import section_class
from speechprune.docstrings import parameter_docs

MAX_WIDTH = 110
DRY_RUN_HELP = (
    "--dry-run prints what there is to do, what it takes, and what would refuse; it starts nothing."
)
_TYPE_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false", Any: "any value"}


def job_help(job: Job, config_class: type) -> str:
    """Return what ``--help`` prints for a job."""
    return "\n".join(
        [
            f"usage: {job.usage}",
            "",
            *map(_wrap, job.description.splitlines()),
            "",
            "--print-config prints the config with all settings as YAML, which can be given as CONFIG.yaml.",
            *([DRY_RUN_HELP] if job.dry_run else []),
            "Exit codes: 0 done, 1 too many failures, 2 it can't start (one line says why), 130 Ctrl-C.",
            "",
            settings_help(config_class),
        ]
    )


def settings_help(config_class: type) -> str:
    """List the settings of a config, section by section; meanings come from the sections' docstrings."""
    lines = []
    hints = get_type_hints(config_class)
    for section in dataclasses.fields(config_class):
        owner = section_class(hints[section.name])
        optional = " (may be left out)" if section.default is None else ""
        lines.append(f"{section.name}: {inspect.getdoc(owner).splitlines()[0]}{optional}")  # type: ignore[union-attr]
        types, meanings, defaults = get_type_hints(owner), parameter_docs(owner), _defaults(section, owner)
        for key in dataclasses.fields(owner):
            default = f"default {_as_text(defaults[key.name])}" if key.name in defaults else "required"
            lines.append(_wrap(f"{section.name}.{key.name} ({type_text(types[key.name])}, {default})", 2))
            lines += [_wrap(meanings[key.name].replace("``", ""), 6)] if key.name in meanings else []
        lines.append("")
    return "\n".join(lines).rstrip()


def type_text(hint: Any) -> str:
    """Return a type in words: ``a | b`` for literals, ``or null`` where None is allowed."""
    arguments = get_args(hint)
    if get_origin(hint) is Literal:
        return " | ".join(map(str, arguments))
    if get_origin(hint) in (Union, UnionType):
        some = [type_text(part) for part in arguments if part is not NoneType]
        return " or ".join(some + ["null"] * (NoneType in arguments))
    if get_origin(hint) in (tuple, list):
        return f"list of {type_text(arguments[0])}"
    if get_origin(hint) is dict:
        return f"mapping to {type_text(arguments[1])}"
    return _TYPE_NAMES.get(hint) or str(getattr(hint, "__name__", hint))


def _defaults(section: dataclasses.Field[Any], owner: Any) -> dict[str, Any]:
    """Return the settings' defaults: the section's own where it has one, else the class's."""
    if section.default_factory is not dataclasses.MISSING:
        return vars(section.default_factory())
    fields = dataclasses.fields(owner)
    plain = {f.name: f.default for f in fields if f.default is not dataclasses.MISSING}
    made = {f.name: f.default_factory() for f in fields if f.default_factory is not dataclasses.MISSING}
    return plain | made


def _as_text(value: Any) -> str:
    """Return a value as a config file would give it, on one line."""
    if isinstance(value, str):
        return value if value and value.isprintable() else json.dumps(value)
    value = list(value) if isinstance(value, tuple) else value
    text: str = yaml.safe_dump(value, default_flow_style=True, width=1 << 20, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _wrap(text: str, indent: int = 0) -> str:
    width = min(MAX_WIDTH, shutil.get_terminal_size().columns)
    return textwrap.fill(
        text, width, initial_indent=" " * indent, subsequent_indent=" " * (indent + 2 * (indent == 2))
    )
