"""What is imported is declared, and what is declared has a lower bound."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import speechprune

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
DISTRIBUTIONS = {
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
    "PIL": "pillow",
    "piper": "piper-tts",
    "faiss": "faiss-cpu",
}  # where the names differ
EXTRAS_OF_FOLDER = {"benchmarks/builder": ("voices", "quality"), "lab": ("lab",)}


def names(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-") for requirement in requirements}


def with_extras(*extras: str) -> set[str]:
    """Distributions of a bare install, and of extras with those that they take in."""
    allowed = names(PROJECT["dependencies"])
    for extra in extras:
        while extra:
            allowed |= names(EXTRAS[extra])
            taken = re.match(r"speechprune\[(\w+)\]", EXTRAS[extra][0])
            extra = taken and taken[1]
    return allowed


def imported(path: Path, functions: bool) -> set[str]:
    """Packages that a file imports, for types too; in its functions only if that is asked for."""
    tree = ast.parse(path.read_text())
    if not functions:
        tree.body = [node for node in tree.body if not isinstance(node, ast.FunctionDef)]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {"speechprune", "tests"}


def undeclared(files: list[Path], declared: set[str], functions: bool = True) -> dict[str, set[str]]:
    found = {
        str(path.relative_to(ROOT)): {
            module
            for module in imported(path, functions)
            if DISTRIBUTIONS.get(module, module).lower().replace("_", "-") not in declared
        }
        for path in files
    }
    return {path: modules for path, modules in found.items() if modules}


def test_a_bare_install_has_all_that_the_product_imports():
    package = ROOT / "speechprune"
    product = [
        path
        for path in package.rglob("*.py")
        if not any(path.is_relative_to(package / folder) for folder in EXTRAS_OF_FOLDER)
    ]
    product += (ROOT / "jobs").glob("*.py")
    assert undeclared(product, with_extras(), functions=False) == {}
    # a function may need an extra, which it then names
    assert undeclared(product, with_extras("lab", "search", "silence")) == {}


@pytest.mark.parametrize(("folder", "extras"), EXTRAS_OF_FOLDER.items())
def test_extras_have_all_that_their_folder_imports(folder, extras):
    assert undeclared(list((ROOT / "speechprune" / folder).rglob("*.py")), with_extras(*extras)) == {}


def test_the_extra_test_has_all_that_tests_import():
    assert undeclared(list((ROOT / "tests").rglob("*.py")), with_extras("test")) == {}


def test_a_product_without_extras_imports(tmp_path):
    """The commands of a bare install, each with its report."""
    from speechprune.cli_commands import COMMANDS, EXTRAS, Job

    modules = {
        reference.partition(":")[0]
        for name, command in COMMANDS.items()
        if name != "benchmark"
        for reference in (
            (command.config_class, command.work, command.report)
            if isinstance(command, Job)
            else (command.main,)
        )
    }
    program = f"import sys; sys.modules.update(dict.fromkeys({list(EXTRAS)})); import {', '.join(modules)}"
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("extra", [None, *EXTRAS])
def test_every_direct_dependency_has_a_lower_bound(extra):
    requirements = PROJECT["dependencies"] if extra is None else EXTRAS[extra]
    ours = [requirement for requirement in requirements if not requirement.startswith("speechprune[")]
    assert [requirement for requirement in ours if ">=" not in requirement] == []


def test_every_direct_dependency_is_pinned_to_what_is_tested():
    pinned = names([line for line in (ROOT / "constraints.txt").read_text().splitlines() if line[0] != "#"])
    declared = set().union(names(PROJECT["dependencies"]), *map(names, EXTRAS.values()))
    assert declared - pinned - {"speechprune"} == set()


def test_names_are_public_and_completed():
    assert re.fullmatch(r"\d+\.\d+\.\d+", speechprune.__version__)
    assert set(speechprune.__all__) <= set(dir(speechprune))
    for name in speechprune.__all__:
        assert getattr(speechprune, name) is not None
    assert (Path(importlib.import_module("speechprune").__file__).parent / "py.typed").is_file()
