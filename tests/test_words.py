"""README, docs, docstrings and comments use the field's terms, not the project's first words for them."""

import ast
import io
import re
import tokenize
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("cluster/*.md"))]
MODULES = sorted(ROOT.glob("speechprune/**/*.py"))

# each old word with what to write instead
OLD_WORDS = {
    r"\bhangs? on\b": "depends on",
    r"\bso many\b": "the first N, this number of",
    r"\bcan be told\b|\b(is|are|was|were) told\b|\btold\b": "configuration of, reported, given",
    r"\bsaid\b": "transcript, stated, reported",
    r"\b(un)?heard\b|\bhears\b": "decoded, no_audio",
    r"\bborne?\b(?! in)|\bbears?\b": "limits, carries",
    r"\bbegun\b": "start, started",
    r"(?<!colour-)\bblind\b": "no_audio",
    r"\b(a|the|each|next|last|first|two|of) nights?\b": "incremental run",
    r"\brehears\w*": "faults, fault injection",
    r"\bmisbehav\w*|\bbefall\w*|\bstrikes?\b": "fault, inject",
    r"\blessons?\b": "stage, objective",
    r"\blong haul\b": "soak run",
    r"\bwhole truth\b": "actual FLOPs",
    r"\b[Rr]ows (in|out)[,:\"]": "manifest reader, answer table schema",
    r"\bStopwatch\b": "Timer",
    r"\b(AttemptLedger|WorkerKilled|AskedQuestion)\b": "AttemptTracker, PoisonedRecording, PreparedQuery",
    r"\blacked\b": "missing",
    r"\banew\b": "again",
    r"\b(a|one|two|three) (row|line|window|file|folder|token|actor|class|job|process) an? \w+": "one X per Y",
}
ANY_OLD_WORD = re.compile("|".join(f"(?:{old})" for old in OLD_WORDS))
OLD_NAMES = re.compile(
    r"told|(?<![a-z])said(?![a-z])|heard|borne|begun|blind|night|rehears|misbehav|strike|lesson|lacked|stopwatch",
    re.IGNORECASE,
)


def texts(path: Path) -> list[tuple[int, str]]:
    """Lines of a page without its code, or of a module's docstrings and comments."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return list(enumerate(re.sub(r"`[^`\n]*`", "", source).splitlines(), start=1))
    lines: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            docstring = node.body[0]
            first = docstring.lineno
            body = source.splitlines()[first - 1 : docstring.end_lineno]
            lines += [(first + i, re.sub(r"`[^`\n]*`", "", line)) for i, line in enumerate(body)]
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            lines.append((token.start[0], token.string))
    return lines


def old_words(path: Path) -> list[str]:
    """Places where a file uses an old word."""
    return [
        f"{path.relative_to(ROOT)}:{number}: {match[0]!r} (write: {better})"
        for number, line in texts(path)
        if ANY_OLD_WORD.search(line)
        for old, better in OLD_WORDS.items()
        for match in re.finditer(old, line)
    ]


def old_names(path: Path) -> list[str]:
    """Names of a module, or in it, that are made of old words."""
    names = {(1, path.stem)}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add((node.lineno, node.name))
        elif isinstance(node, ast.arg):
            names.add((node.lineno, node.arg))
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add((node.lineno, node.id))
    return [
        f"{path.relative_to(ROOT)}:{line}: {name}" for line, name in sorted(names) if OLD_NAMES.search(name)
    ]


def test_no_sentence_uses_an_old_word():
    assert [place for path in [*PAGES, *MODULES] for place in old_words(path)] == []


def test_no_name_uses_an_old_word():
    assert [place for path in MODULES for place in old_names(path)] == []


def test_an_old_word_is_found_in_comments_docstrings_and_names(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    module = tmp_path / "module.py"
    module.write_text('"""What it can be told."""\n\ntold = 1  # it hangs on it\ntext = "is told"\n')
    assert [place.split(":")[1] for place in old_words(module)] == ["1", "3"]
    assert old_names(module) == ["module.py:3: told"]
