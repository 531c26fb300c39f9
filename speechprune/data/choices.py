"""Choices and gold answers of a manifest: cells of every format to texts, and to the letter of one."""

from __future__ import annotations

import ast
import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from typing import Any

from speechprune.data.row_files import ManifestError
from speechprune.inference.prompts import LETTERS, MAX_CHOICES

_NUMBER = re.compile(r"[+-]?\d{1,300}(\.\d{1,300})?", re.ASCII)


def read_choices(cell: Any) -> list[Any] | None:
    """Return the choices that a cell holds, as it holds them: texts, numbers; None for an open question.

    A list, or text as CSV files have it: a JSON array, the text of a Python list (which pandas writes), or
    choices with ``|`` between them.

    Raises
    ------
    ManifestError
        No list of 2 to 26, or a choice without text.
    """
    if cell is None or cell == "":
        return None
    choices = _list_in(cell) if isinstance(cell, str) else cell
    if not isinstance(choices, list | tuple) or not 2 <= len(choices) <= MAX_CHOICES:
        raise ManifestError(
            f"choices is {cell!r}: give a list of 2 to {MAX_CHOICES}, or leave it out for an open question; "
            'in a CSV file ["one", "two"] (JSON, or a Python list as pandas writes it) or one | two'
        )
    if any(choice is None or not str(choice).strip() for choice in choices):
        raise ManifestError(f"choices is {cell!r}: a choice has no text")
    return list(choices)


def _list_in(cell: str) -> Any:
    readers: tuple[Callable[[str], Any], ...] = (json.loads, ast.literal_eval)
    for read in readers if cell.lstrip().startswith("[") else ():
        try:
            return read(cell.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return [text.strip() for text in cell.split("|")]


def gold_letter(answer: Any, choices: Sequence[Any]) -> str:
    """Return the letter that a gold answer means: a choice's text or number, its letter, or its index.

    The first of these that fits counts: the same text; the same but for case; the same number (3 and 3.0);
    the letter; the index from 0.

    Raises
    ------
    ManifestError
        It matches no choice, or more than one; or it is a number, the choices are texts, and it is the text
        of one of them and the index of another.
    """
    texts = [str(choice) for choice in choices]
    text = str(answer).strip()
    number = None if isinstance(answer, bool) else _number(text)
    index = int(number) if number is not None and number == int(number) else -1
    by_index = LETTERS[index] if 0 <= index < len(texts) else None
    for key in (comparable, partial(comparable, ignore_case=True), _number):
        wanted: object = key(text)
        same = [LETTERS[i] for i, choice in enumerate(texts) if wanted is not None and key(choice) == wanted]
        if len(same) > 1:
            raise ManifestError(f"answer {text!r} matches more than one of the choices {texts}")
        if same:
            is_text_list = all(isinstance(choice, str) for choice in choices)
            if is_text_list and not isinstance(answer, str) and by_index not in (None, same[0]):
                raise ManifestError(
                    f"answer {text} is the text of choice {same[0]} and the index of choice {by_index} (from "
                    "0): give the letter, or the text in quotes"
                )
            return same[0]
    letter = text.strip("().: ").upper()
    if len(letter) == 1 and letter in LETTERS[: len(texts)]:
        return letter
    if by_index is not None:
        return by_index
    if number is not None and not isinstance(answer, str):
        raise ManifestError(f"answer {text} is no index into {len(texts)} choices (from 0)")
    raise ManifestError(f"answer {text!r} matches none of the choices {texts}")


def comparable(text: str, ignore_case: bool = False) -> str:
    """Return a text in one of the forms that Unicode has for it: Macs write another than most systems do."""
    text = text.strip()
    if text.isascii():  # a manifest has millions of them
        return text.lower() if ignore_case else text
    text = unicodedata.normalize("NFC", text)
    return unicodedata.normalize("NFC", text.casefold()) if ignore_case else text


def _number(text: str) -> Decimal | None:
    """The number that a text spells, without exponents."""
    return Decimal(text.strip()) if _NUMBER.fullmatch(text.strip()) else None
