"""How a command's process ends: with Ctrl-C at any moment, with output that nobody reads."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAIN = "import sys\nfrom signal import *\nfrom speechprune.entry import run\ndef main(_):\n        "


def run_python(program: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", program], stdout=stdout, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )


INTERRUPTED = {
    "in work": "raise_signal(SIGINT)",
    "turned into another error": """
        try:
            raise_signal(SIGINT)
        except KeyboardInterrupt:
            raise SystemError("returned a result with an exception set")""",
    "swallowed": """
        try:
            raise_signal(SIGINT)
        except KeyboardInterrupt:
            pass
        return 0""",
    "again while it is being left": """
        try:
            raise_signal(SIGINT)
        finally:
            raise_signal(SIGINT)""",
    "in an exit hook": """
        import atexit
        atexit.register(raise_signal, SIGINT)
        raise_signal(SIGINT)""",
    "while Ray shuts down": """
        import sys, types
        sys.modules["ray"] = types.SimpleNamespace(shutdown=lambda: raise_signal(SIGINT))
        return 0""",
    "while Ray shuts down after it": """
        import sys, types
        sys.modules["ray"] = types.SimpleNamespace(shutdown=lambda: 1 / 0)
        raise_signal(SIGINT)""",
}


@pytest.mark.parametrize("body", INTERRUPTED.values(), ids=INTERRUPTED)
def test_ctrl_c_is_130_without_a_traceback_wherever_it_comes(body):
    result = run_python(f"{MAIN}{body.strip()}\nrun(main)")
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "")


def test_a_command_that_is_done_is_not_undone_by_ctrl_c():
    program = (
        "import atexit; from signal import *; from speechprune.entry import run\n"
        "atexit.register(raise_signal, SIGINT)\nrun(lambda arguments: 0)"
    )
    result = run_python(program)
    assert (result.returncode, result.stderr) == (0, "")


def test_an_interrupt_that_a_shell_has_ignored_stays_ignored():
    program = (
        "from signal import *; signal(SIGINT, SIG_IGN); from speechprune.entry import run\n"
        "run(lambda arguments: raise_signal(SIGINT) or 0)"
    )
    assert run_python(program).returncode == 0


NOT_READ = {
    "when it is printed": "print('x' * 100_000)",
    "when it is flushed": "sys.stdout.reconfigure(write_through=False); print('a line')",
    "found by rich": "from rich.console import Console; Console().print('a line')",
    "no fault of the user's": "from speechprune.cli import main; return main(['answer', '--help'])",
}


@pytest.mark.parametrize("body", NOT_READ.values(), ids=NOT_READ)
def test_output_that_nobody_reads_ends_the_command_as_sigpipe_would_and_without_a_word(body):
    reader, writer = os.pipe()
    os.close(reader)
    result = run_python(f"{MAIN}{body}\nrun(main)", stdout=writer)
    os.close(writer)
    assert (result.returncode, result.stderr) == (141, "")


def test_signals_of_tests_are_pythons_own():
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
