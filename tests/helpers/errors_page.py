"""Error sentences of the source for docs/troubleshooting.md: ``python -m tests.helpers.errors_page``."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "speechprune"
PAGE = ROOT / "docs" / "troubleshooting.md"
BEGIN = "<!-- written by `python -m tests.helpers.errors_page`: all that follows -->\n"
# Heading of a table: folders of the package, each with those in it that have no table of their own.
GROUPS = {
    "Settings, commands, addresses": (".", "pruning"),
    "Manifests": ("data", "benchmarks"),
    "Recordings": ("audio",),
    "Models, prompts, answers": ("models", "inference", "cost"),
    "Jobs, Ray, run directories": ("pipeline", "reports"),
    "Index": ("index",),
    "Search": ("search",),
    "Sweeps": ("sweep",),
    "Building a benchmark": ("benchmarks/builder",),
    "Other scripts in jobs/": ("lab",),
}
USERS_ERRORS = (ValueError, OSError)  # of Python's exceptions: a command ends on them with one line (cli.py)
# Sentences that don't stand in the call of an exception: methods that take one, functions that return one.
TAKE_SENTENCES = {
    "logger.error": "line",
    "logger.warning": "warning",
    "parser.error": "line",
    "problems.append": "line",
}
RETURN_SENTENCES = ("_first_problem", "_malformed", "root_cause")


def with_sentences(page: str) -> str:
    """Return the page with the sentences of the source, each once, in place of those that it had."""
    modules = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}
    classes = error_classes(modules.values())
    tables: dict[str, dict[str, str]] = {group: {} for group in GROUPS}
    for path, module in modules.items():
        source = f"[{path.stem}](../{path.relative_to(ROOT).as_posix()})"
        for kind, sentence in sentences_of(module, classes):
            tables[group_of(path)].setdefault(sentence, f"| `{sentence}` | {kind} | {source} |")
    parts = [page.partition(BEGIN)[0] + BEGIN]
    for group, lines in tables.items():
        rows = ["| sentence | kind | from |", "|---|---|---|", *(lines[key] for key in sorted(lines))]
        parts.append(f"### {group}\n\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def group_of(path: Path) -> str:
    """Heading of a module: that of the deepest folder with a table."""
    folders = [folder.as_posix() for folder in path.relative_to(PACKAGE).parents]
    return next(group for folder in folders for group, rooms in GROUPS.items() if folder in rooms)


def error_classes(modules: Iterable[ast.Module]) -> set[str]:
    """Names of the project's exceptions, and of Python's that a user can mend."""
    known = {
        name
        for name, kind in vars(builtins).items()
        if isinstance(kind, type) and issubclass(kind, USERS_ERRORS)
    }
    classes = [node for module in modules for node in ast.walk(module) if isinstance(node, ast.ClassDef)]
    own = {node.name for node in classes if node.name.endswith("Error")}
    while found := {
        node.name
        for node in classes
        if node.name not in own
        and {ast.unparse(base) for base in node.bases} & (known | own | {"Exception", "RuntimeError"})
    }:
        own |= found
    return known | own


def sentences_of(module: ast.Module, classes: set[str]) -> Iterator[tuple[str, str]]:
    """Kind and sentence of every error that a module makes."""
    assigned: dict[str, list[ast.expr]] = {}
    for node in ast.walk(module):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            assigned.setdefault(node.targets[0].id, []).append(node.value)
    for node in ast.walk(module):
        for kind, value in _values_of(node, classes):
            meant = assigned.get(value.id, []) if isinstance(value, ast.Name) else [value]
            for one in meant:
                sentence = " ".join(text_of(one).split()).replace("`", "'").replace("|", "\\|")
                if len(re.findall(r"[a-z]", re.sub(r"\{\w*\}", "", sentence))) > 8:
                    yield kind, sentence


def _values_of(node: ast.AST, classes: set[str]) -> Iterator[tuple[str, ast.expr]]:
    """Kind and expression of what a node makes an error of."""
    match node:
        case ast.Call(func=func, args=args):
            name = ast.unparse(func)
            if name in classes or name in TAKE_SENTENCES:
                yield from ((TAKE_SENTENCES.get(name, f"`{name}`"), argument) for argument in args)
        case ast.FunctionDef(name=name) if name in RETURN_SENTENCES:
            returns = (part for part in ast.walk(node) if isinstance(part, ast.Return) and part.value)
            yield from (("line", part.value) for part in returns)
        case ast.Assign(targets=[ast.Subscript(value=ast.Name("malformed"))], value=value):
            yield "`MalformedRow`", value


def text_of(node: ast.expr) -> str:
    """Text of an expression; a value in it is the last of its names in braces, or dots."""
    match node:
        case ast.Constant(value=str(text)):
            return re.sub(r"\{[:\w.,%]*\}", "…", text)  # where loguru puts a value
        case ast.JoinedStr(values=values):
            return "".join(text_of(value) for value in values)
        case ast.FormattedValue(value=value) | ast.Call(func=ast.Name("shortened"), args=[value]):
            return text_of(value)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return text_of(left) + text_of(right)
        case ast.IfExp(body=body):
            return text_of(body)
        case ast.Name(id=name) | ast.Attribute(attr=name) if not name.startswith("__"):
            return f"{{{name.strip('_').lower()}}}"
    return "…"


if __name__ == "__main__":
    PAGE.write_text(with_sentences(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
