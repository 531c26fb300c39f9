"""The console command: its list, help from the configs themselves, exit codes whatever happens."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from speechprune import cli
from speechprune.cli import main
from speechprune.cli_commands import COMMANDS, EXTRAS, Job, Tool
from speechprune.cli_help import settings_help, type_text
from speechprune.config import load_config
from speechprune.entry import load
from speechprune.lab.commands import COMMANDS as LAB_COMMANDS
from speechprune.pipeline.config import BatchQAConfig
from speechprune.pipeline.failures import CodeError, StartError

ROOT = Path(__file__).parents[1]
JOBS = {name: command for name, command in COMMANDS.items() if isinstance(command, Job)}
ALL = COMMANDS | LAB_COMMANDS
# all but the benchmark of a GPU, which runs on machines that lack what commands need
SCRIPTS = sorted(script for script in (ROOT / "jobs").glob("*.py") if script.stem != "bench_gpu")


@pytest.fixture(autouse=True)
def no_screen(monkeypatch):
    """The screen is what standard error was when it was first asked for."""
    monkeypatch.setattr("speechprune.pipeline.terminal.log_to_screen", lambda: None)


@pytest.fixture
def lines(monkeypatch) -> list[str]:
    """What is logged."""
    from loguru import logger

    found: list[str] = []
    sink = logger.add(lambda message: found.append(message.record["message"]), level="INFO")
    yield found
    logger.remove(sink)


def run_python(program: str, *arguments: str, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", program, *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, **options)


def test_the_list_has_every_command_and_costs_no_heavy_import(tmp_path):
    program = "import sys; from speechprune.cli import main; print(main(sys.argv[1:])); print(*sys.modules)"
    result = run_python(program, "--help", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    *shown, code, modules = result.stdout.splitlines()
    assert code == "0"
    for name in (
        "answer",
        "index",
        "search",
        "sweep",
        "show",
        "report",
        "compare",
        "manifest",
        "cost",
        "benchmark",
    ):
        assert any(line.startswith(f"  {name} ") for line in shown)
    assert not {"torch", "transformers", "ray", "numpy", "pyarrow"} & set(modules.split())


def test_python_m_speechprune_is_the_same_command(tmp_path):
    command = [sys.executable, "-m", "speechprune", "--version"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert re.fullmatch(r"speechprune \d+\.\d+\.\d+\n", run.stdout)


def test_an_unknown_command_is_named_with_the_nearest(capsys):
    assert main(["answr"]) == 2
    assert capsys.readouterr().err == "speechprune: unknown command answr: did you mean answer?\n"
    assert main([]) == 2


@pytest.mark.parametrize("command", ALL.values(), ids=ALL)
def test_what_a_command_names_is_there(command):
    names = (
        [command.main] if isinstance(command, Tool) else [command.config_class, command.work, command.report]
    )
    names += [command.dry_run] if isinstance(command, Job) and command.dry_run else []
    for name in names:
        assert callable(load(name))
    if isinstance(command, Job) and command.default_config:
        assert load_config(load(command.config_class), command.default_config)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_scripts_are_commands(script):
    spec = importlib.util.spec_from_file_location(f"{script.stem}_script", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    lists = {"speechprune.cli:main": COMMANDS, "speechprune.lab.commands:main": LAB_COMMANDS}
    reference, name = module.main.args
    assert name in lists[reference]


@pytest.mark.parametrize("name", JOBS)
def test_help_lists_every_setting_with_type_default_and_meaning(name, capsys, monkeypatch):
    monkeypatch.setattr("speechprune.cli_help._wrap", lambda text, indent=0: " " * indent + text)
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: speechprune {name} ")
    settings = re.findall(r"^  (\w+)\.(\w+) \(.+, (?:required|default .+)\)\n      \S", shown, re.MULTILINE)
    config_class = load(JOBS[name].config_class)
    from speechprune.config import _sections

    assert settings == [(section, key) for section, keys in _sections(config_class).items() for key in keys]


def test_help_says_what_the_docstrings_say(monkeypatch):
    monkeypatch.setenv("COLUMNS", "110")
    shown = settings_help(load(JOBS["sweep"].config_class))
    assert "  model.path (text, required)\n      Hub id, local folder" in shown
    assert "  answering.permuted_check (true or false, default true)" in shown  # the sweep's own default
    assert "  input.limit (whole number or null, default null)" in shown
    assert '  answering.choice_separator (text, default "\\n")' in shown
    assert type_text(tuple[str, ...]) == "list of text"


@pytest.mark.parametrize("name", [name for name, job in JOBS.items() if job.default_config])
def test_the_config_that_is_printed_can_be_given_back(name, capsys, tmp_path):
    assert main([name, "model.dtype=float32", "--print-config"]) == 0
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed)["model"]["dtype"] == "float32"
    path = tmp_path / "again.yaml"
    path.write_text(printed)
    config_class = load(JOBS[name].config_class)
    assert load_config(config_class, str(path)) == load_config(
        config_class, JOBS[name].default_config, ["model.dtype=float32"]
    )
    assert main([name, "--print-config", str(path)]) == 0
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize("name", [name for name, job in JOBS.items() if not job.default_config])
def test_a_job_without_a_default_config_names_one_to_begin_with(name, lines):
    assert main([name]) == 2
    assert lines == [f"give a config file: package://configs/{name}.yaml [section.key=value ...]"]
    assert load_config(load(JOBS[name].config_class), f"package://configs/{name}.yaml")


def test_a_job_without_a_plan_refuses_to_make_one(monkeypatch, lines):
    monkeypatch.setattr(cli, "load", {JOB.config_class: BatchQAConfig}.__getitem__)
    assert cli.run_command(JOB, ["--dry-run"]) == 2
    assert lines[0].startswith("unknown option --dry-run: settings are written")


def test_a_misspelt_option_names_the_nearest(lines):
    assert main(["answer", "--dry-rn"]) == 2
    assert lines == ["unknown option --dry-rn: did you mean --dry-run?"]


def test_sections_that_a_config_does_without_are_not_printed(capsys):
    assert main(["benchmark", "package://configs/benchmark.yaml", "--print-config"]) == 0
    assert "chat:" not in capsys.readouterr().out


def test_a_question_and_its_choices_are_told_from_settings():
    words = ["Who?", "a=b", "Anna", "search.index=runs/i", "my.yaml", "--print-config"]
    question, settings = COMMANDS["search"].split_question(words)
    assert question == ("Who?", ["a=b", "Anna"])
    assert settings == ["search.index=runs/i", "my.yaml", "--print-config"]
    assert COMMANDS["search"].split_question(["search.index=i"]) == (None, ["search.index=i"])


def fail_with(error: BaseException):
    def work(arguments):
        raise error

    return work


TOOL = Tool(description="For tests.", main="tests.test_cli:main")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ValueError("config x is wrong"), 2, "config x is wrong"),
        (OSError("no space"), 2, "no space"),
        (KeyboardInterrupt(), 130, "stopped; nothing was changed"),
        (
            ModuleNotFoundError("No module named 'soundfile'", name="soundfile"),
            2,
            'soundfile is not installed: pip install "speechprune[build]"',
        ),
    ],
)
def test_what_a_user_can_mend_is_one_line(monkeypatch, lines, error, code, line):
    monkeypatch.setattr(cli, "load", lambda reference: fail_with(error))
    assert cli.run_command(TOOL, []) == code
    assert lines == [line]


@pytest.mark.parametrize("error", [TypeError("a bug"), ModuleNotFoundError("No module", name="nowhere")])
def test_a_bug_keeps_its_traceback(monkeypatch, error):
    monkeypatch.setattr(cli, "load", lambda reference: fail_with(error))
    with pytest.raises(type(error)):
        cli.run_command(TOOL, [])


JOB = Job(
    usage="speechprune test",
    description="For tests.",
    config_class="tests.test_cli:NoConfig",
    work="tests.test_cli:fail",
    report="tests.test_cli:fail",
    on_interrupt="nothing was changed",
)


def test_a_bug_in_a_worker_is_its_traceback_and_one_sentence(monkeypatch, lines):
    error = CodeError("Traceback (most recent call last):\nTypeError: a bug", "my_method.py has a bug")
    replaced = {JOB.config_class: BatchQAConfig, JOB.work: fail_with(error)}
    monkeypatch.setattr(cli, "load", replaced.__getitem__)
    assert cli.run_command(JOB, ["package://configs/demo.yaml"]) == 1
    assert lines == ["Traceback (most recent call last):\nTypeError: a bug\nmy_method.py has a bug"]


def test_workers_that_can_not_start_are_one_line(monkeypatch, lines):
    replaced = {JOB.config_class: BatchQAConfig, JOB.work: fail_with(StartError("no Ray answers"))}
    monkeypatch.setattr(cli, "load", replaced.__getitem__)
    assert cli.run_command(JOB, ["package://configs/demo.yaml"]) == 2
    assert lines[0].startswith("no Ray answers (Ray's own output: ")


def test_an_error_that_came_of_an_interrupt_counts_as_one(monkeypatch, lines):
    monkeypatch.setattr(cli, "load", lambda reference: fail_with(ValueError("half imported")))
    monkeypatch.setattr(cli, "was_interrupted", lambda: True)
    assert cli.run_command(TOOL, []) == 130
    assert lines == ["stopped; nothing was changed"]


def test_a_broken_pipe_of_a_store_is_an_error_as_any_other(monkeypatch, lines):
    monkeypatch.setattr(cli, "load", lambda reference: fail_with(BrokenPipeError(32, "Broken pipe")))
    assert cli.run_command(TOOL, []) == 2
    assert lines == ["[Errno 32] Broken pipe"]


def test_extras_are_those_of_the_project():
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for module, extra in EXTRAS.items():
        distribution = {"sklearn": "scikit-learn", "faiss": "faiss-cpu"}.get(module, module.replace("_", "-"))
        assert any(re.match(rf"{distribution}\b", requirement) for requirement in extras[extra]), module
