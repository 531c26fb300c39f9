"""Pages of the documentation: links lead somewhere, commands are taken, error sentences are the source's."""

import argparse
import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml

from speechprune.cli import DRY_RUN, PRINT_CONFIG
from speechprune.cli_commands import COMMANDS, Command, Job
from speechprune.config import config_from_arguments
from speechprune.entry import load
from speechprune.lab.commands import COMMANDS as LAB_COMMANDS
from tests.helpers.errors_page import PAGE, ROOT, with_sentences

PAGES = [
    path
    for pattern in ("README.md", "CONTRIBUTING.md", "docs/*.md", "cluster/*.md")
    for path in sorted(ROOT.glob(pattern))
]
SCRIPT = re.compile(r"(?:/home/ray/speechprune/)?jobs/(\w+)\.py")
OPERATORS = {"&&", "||", ";", "&", "|", ">", "<"}
PLACEHOLDERS = {"...", "CONFIG.yaml"}
WITHOUT_COMMAND = {"bench_gpu"}  # a script that reads its arguments itself


def names(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def slug(heading: str) -> str:
    """The anchor of a heading on GitHub and on the site."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", text)).strip("-")


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_every_link_leads_to_a_file_and_a_heading(page: Path):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        is_there = file.is_relative_to(ROOT) and file.exists()
        if is_there and anchor:
            is_there = anchor in map(slug, re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE))
        if not is_there:
            broken.append(target)
    assert broken == []


def test_the_site_has_every_page():
    navigation = re.findall(r"[\w/]+\.md", (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2])
    assert sorted(navigation) == sorted(map(names, PAGES))


def test_the_error_sentences_are_those_of_the_source():
    text = PAGE.read_text()
    assert text == with_sentences(text), "run: python -m tests.helpers.errors_page"


def commands_in(text: str) -> list[tuple[str, list[str]]]:
    """Name and arguments of every command of the project in the code of a page."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    found = []
    for line in [*lines, *inline]:
        if "speechprune" not in line and "jobs/" not in line:
            continue
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;<>")
        lexer.wordchars += "{}[]()=:,/.*?~$@…+!%"
        try:
            words = list(lexer)
        except ValueError:  # an apostrophe: a sentence, no command
            continue
        while words:
            end = next((place for place, word in enumerate(words) if word in OPERATORS), len(words))
            command, words = words[:end], words[end + 1 :]
            for place, word in enumerate(command[:-1]):
                rest = [one for one in command[place + 2 :] if one not in PLACEHOLDERS]
                script = SCRIPT.fullmatch(command[place + 1])
                if word == "speechprune" and command[place + 1] in COMMANDS:
                    found.append((command[place + 1], rest))
                elif word == "python" and script and script[1] not in WITHOUT_COMMAND:
                    found.append((script[1], rest))
                elif [word, command[place + 1]] == ["-m", "speechprune.cost"]:
                    found.append(("cost", rest))
    return found


def command_named(name: str) -> Command:
    """A subcommand, or what the script in jobs/ of that name runs."""
    if name in COMMANDS:
        return COMMANDS[name]
    arguments = re.search(
        r'commands?:main", "(\w+)"|cli:main", "(\w+)"', (ROOT / f"jobs/{name}.py").read_text()
    )
    assert arguments is not None, name
    return LAB_COMMANDS[arguments[1]] if arguments[1] else COMMANDS[arguments[2]]


class Parsed(Exception):
    """Arguments that a command takes."""


@pytest.fixture
def nothing_runs(tmp_path, monkeypatch):
    """Tools stop after their arguments; the classes and models that the pages name are there."""
    parse = argparse.ArgumentParser.parse_args

    def parse_alone(parser, arguments=None, namespace=None):
        parse(parser, arguments, namespace)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_alone)
    monkeypatch.chdir(ROOT)
    for model in yaml.safe_load((ROOT / "speechprune/lab/fetch/models.yaml").read_text()):
        (tmp_path / "models" / model).mkdir(parents=True)
    monkeypatch.setenv("SPEECHPRUNE_MODELS", str(tmp_path / "models"))
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package/my_model.py").write_text("from speechprune import SpeechModel as MyModel\n")
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/own_method.md").read_text(), re.DOTALL)
    (tmp_path / "my_methods.py").write_text(example)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield
    for module in ("my_methods", "my_package", "my_package.my_model"):
        sys.modules.pop(module, None)


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_every_command_is_taken(page: Path, nothing_runs):
    for name, arguments in commands_in(page.read_text()):
        if not arguments or "--help" in arguments:  # a mention of its name alone, or no run
            continue
        command = command_named(name)
        if isinstance(command, Job):
            _, settings = command.split_question(arguments)
            settings = [setting for setting in settings if setting not in (PRINT_CONFIG, DRY_RUN)]
            config_from_arguments(load(command.config_class), settings, command.default_config)
        else:
            with pytest.raises(Parsed):
                load(command.main)(arguments)


def test_commands_are_found_in_blocks_lines_and_sentences():
    page = (
        "Give `speechprune show RUN --failed`.\n```bash\nX=1 ray job submit -- python jobs/sweep.py \\\n"
        "  a.b=1 && python -m speechprune.cost --json > f  # all\n```\n"
    )
    assert commands_in(page) == [("sweep", ["a.b=1"]), ("cost", ["--json"]), ("show", ["RUN", "--failed"])]
