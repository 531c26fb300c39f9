"""Choices and gold answers as benchmarks print them, turned into bare texts and a letter."""

import re
from string import ascii_uppercase

from speechprune.data.choices import comparable

# "(A)", "A)", and "A." or "A:". Letters before a full stop must be capitals: "a." also ends sentences.
LABEL_STYLES = (r"\(([A-Za-z])\)", r"([A-Za-z])\)", r"([A-Z])[.:]")


def split_label(text: str) -> tuple[str | None, str]:
    """Split ``"B. Drone technology"`` into letter (None where there is none) and text."""
    for style in (*LABEL_STYLES, r"([A-Z])$"):
        if match := re.match(rf"{style}\s*(.*)", text.strip(), re.DOTALL):
            return match[1].upper(), match[2]
    return None, text.strip()


def strip_labels(labelled_choices: list[str]) -> list[str]:
    """Return the texts of choices that are labelled A, B, C, ... in order."""
    letters, choices = zip(*map(split_label, labelled_choices), strict=True)
    if "".join(map(str, letters)) != ascii_uppercase[: len(choices)]:
        raise ValueError(f"the choices are not labelled A, B, C, ... in order: {labelled_choices}")
    return list(choices)


def parse_choices(text: str) -> list[str]:
    """Take apart the choices that a benchmark prints as one string.

    Understood are labels (`LABEL_STYLES`) in the order of the alphabet, each at the start of a line or all in
    running text, and lines without labels.
    """
    readings = [
        _split_at_labels(text.strip(), before_label + style)
        for before_label in (r"^\s*", r"(?:^|(?<=\s))")
        for style in LABEL_STYLES
    ]
    readings.append([line.strip() for line in text.splitlines() if line.strip()])
    choices = next((reading for reading in readings if len(reading) >= 2), [])
    if not choices or not all(choices):
        raise ValueError(f"no choices recognised in {text!r}: expected '(A) ... (B) ...', 'A. ...', or lines")
    return choices


def _split_at_labels(text: str, label: str) -> list[str]:
    """Return what stands between the labels A, B, C, ...; nothing unless the text begins with A."""
    spans: list[tuple[int, int]] = []
    for match in re.finditer(label, text, re.MULTILINE):
        if match[1].upper() == ascii_uppercase[len(spans) : len(spans) + 1]:
            spans.append(match.span())
    if not spans or spans[0][0] != 0:
        return []
    ends = [start for start, _ in spans[1:]] + [len(text)]
    return [text[start:end].strip(" \t\r\n;,") for (_, start), end in zip(spans, ends, strict=True)]


def parse_gold_answer(answer: str, choices: list[str]) -> str:
    """Return the letter of the gold answer, printed as a letter, as a choice's text, or as both."""
    for ignore_case in (False, True):  # choices may differ in nothing but case
        same_text = [
            letter
            for letter, choice in zip(ascii_uppercase, choices, strict=False)
            if _comparable(choice, ignore_case) == _comparable(answer, ignore_case)
        ]
        if len(same_text) == 1:
            return same_text[0]
    label, text = split_label(answer)
    if label is not None:
        labelled = dict(zip(ascii_uppercase, choices, strict=False)).get(label)
        if labelled is not None and (not text or _comparable(text) == _comparable(labelled)):
            return label
    raise ValueError(f"the answer {answer!r} is not exactly one of the choices {choices}")


def _comparable(text: str, ignore_case: bool = True) -> str:
    return comparable(" ".join(text.split()).rstrip(" .,;"), ignore_case)
