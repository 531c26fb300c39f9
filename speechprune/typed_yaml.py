"""YAML read with the types of settings: where a setting takes text, a scalar is the text as it is written."""

from __future__ import annotations

from collections.abc import Mapping
from types import UnionType
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import TypeAdapter, ValidationError

_TEXT = "tag:yaml.org,2002:str"
_NULL = "tag:yaml.org,2002:null"


def read_yaml(text: str, hint: Any) -> Any:
    """Read a YAML document whose values have the type ``hint``: a type, or a dict of them by key.

    ``on``, ``0123456`` and ``2026-11-27`` are texts where only a text will do.

    Raises
    ------
    yaml.YAMLError
        Not valid YAML, or nested too deeply.
    """
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _keep_texts(loader, node, hint)
        return loader.construct_document(node)
    except RecursionError as error:
        raise yaml.YAMLError("it is nested too deeply") from error
    finally:
        loader.dispose()


def read_override(text: str, hint: Any) -> Any:
    r"""Read the value of a ``section.key=value`` override of a setting of the type ``hint``.

    Where the setting takes text, that is the text as it stands, ``#`` and spaces included, except: one in
    quotes is what YAML reads there (``"\n"``); ``null`` and nothing are None; a list or a mapping in YAML is
    one where the setting takes that as well.
    """
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        value = read_yaml(text, hint)
    except yaml.YAMLError:
        return text
    if not text or not takes_text(hint, text):
        return value
    if isinstance(node, yaml.ScalarNode):
        is_whole = node.start_mark.index == 0 and node.end_mark.index == len(text)
        is_null = node.tag == _NULL and takes(hint, None)
        return value if is_whole and (node.style in ("'", '"') or is_null) else text
    return value if node is not None and takes(hint, value) else text


def takes(hint: Any, value: Any) -> bool:
    """Whether a value is one of a setting's type."""
    try:
        TypeAdapter(hint).validate_python(value)
    except ValidationError:
        return False
    return True


def takes_text(hint: Any, text: str) -> bool:
    """Whether a setting's type takes this text as a text, and not as a number that it spells."""
    try:
        return isinstance(TypeAdapter(hint).validate_python(text), str)
    except ValidationError:
        return False


def _keep_texts(loader: yaml.SafeLoader, node: yaml.Node, hint: Any) -> None:
    """Make texts of the scalars that YAML would read as something that their setting does not take."""
    if isinstance(node, yaml.MappingNode):
        loader.flatten_mapping(node)
        for key, value in node.value:
            inner = hint.get(str(key.value), Any) if isinstance(hint, Mapping) else _item_type(hint, dict)
            _keep_texts(loader, value, inner)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _keep_texts(loader, item, _item_type(hint, tuple))
    elif _is_plain_value(node) and not isinstance(hint, Mapping):
        try:
            value = yaml.safe_load(node.value)
        except ValueError:  # 2026-13-01 looks like a date
            node.tag = _TEXT
        else:
            if not takes(hint, value) and takes_text(hint, node.value):
                node.tag = _TEXT


def _is_plain_value(node: yaml.Node) -> bool:
    """Whether a node is a scalar without quotes that YAML does not read as text."""
    return isinstance(node, yaml.ScalarNode) and node.style is None and node.tag != _TEXT


def _item_type(hint: Any, collection: type) -> Any:
    """Return the type of the values in a tuple or dict of that type."""
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    found = [get_args(part) for part in parts if get_origin(part) is collection]
    return found[0][1 if collection is dict else 0] if found else Any
