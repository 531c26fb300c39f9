"""What a manifest holds can't forge a line on the screen or in a log, and no secret is repeated there."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger

from speechprune.audio import container
from speechprune.pipeline import terminal
from speechprune.pipeline.failures import UnexpectedError, failure_sentence
from speechprune.pipeline.terminal import log_to_screen, printable
from speechprune.reports.show import main as show_run
from tests.helpers.harness import Job, launch, write_sound

URL = "https://anna:S3CR3T@127.0.0.1:9/a.wav?X-Amz-Signature=S3CR3T"
FORGED = "a\n12:00:00 ERROR all is lost\r\x1b[2J\u202e\u2028\x9b"


@pytest.fixture
def lines(monkeypatch):
    """What the screen shows."""
    screen = io.StringIO()
    monkeypatch.setattr(terminal, "screen", lambda: screen)
    log_to_screen()
    yield lambda: screen.getvalue().splitlines()
    logger.remove()


@given(st.text())
def test_any_text_is_one_line_without_controls(text):
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e]", shown)
    shown.encode()  # half of a surrogate pair would end the program that prints it


def test_words_of_every_script_stay_as_they_are():
    text = "Käse, 会議　室, می‌خواهم, 👩‍💻"
    assert printable(text) == text


def test_a_message_is_one_line(lines):
    logger.warning("failed: {}", FORGED)
    (line,) = lines()
    assert r"a\n12:00:00 ERROR all is lost\r\x1b[2J\u202e\u2028\x9b" in line


def test_a_traceback_keeps_its_lines_and_nothing_else(lines):
    logger.bind(is_traceback=True).error("first\nsecond \x1b[2J{}", URL)
    assert lines()[1] == r"second \x1b[2Jhttps://***@127.0.0.1:9/a.wav?..."


def test_markup_in_a_message_is_text(lines):
    logger.info("{}", "<red>{x}[/]")
    assert lines()[0].endswith("<red>{x}[/]")


def test_no_secret_is_in_a_sentence_or_a_traceback():
    for error in (ValueError(URL), OSError(f"{URL}: refused"), KeyError(URL)):
        assert "S3CR3T" not in failure_sentence(error) + UnexpectedError.of(error).traceback
    assert failure_sentence(ValueError(FORGED)).startswith("a 12:00:00 ERROR all is lost")


def test_a_run_repeats_no_secret_and_opens_nothing_outside_of_its_roots(
    tmp_path, tiny_model_folder, speech, monkeypatch, capsys, lines
):
    """Its rows keep the address as the manifest has it, for whoever answers again."""
    folder = tmp_path / "in"
    folder.mkdir()
    write_sound(folder / "a.wav", speech(2.0))
    write_sound(tmp_path / "b.wav", speech(2.0))
    item = {"question": "Who?", "choices": ["Anna", "Bert"]}
    job = Job(tmp_path)
    job.write(
        [
            {"item_id": "in", "audio": "in/a.wav", **item},
            {"item_id": "out", "audio": "in/../b.wav", **item},
            {"item_id": "url", "audio": URL, **item},
            {"item_id": FORGED, "audio": "https://127.0.0.1:9/b.wav?sig=S3CR3T", **item},
        ],
        tiny_model_folder,
        input={"audio_roots": [str(folder), "https://127.0.0.1:9/a.wav"]},
    )
    opened = []
    real = container.open_binary
    monkeypatch.setattr(
        container, "open_binary", lambda uri, **options: opened.append(uri) or real(uri, **options)
    )
    assert launch(job.config).code == 1
    assert set(opened) == {str(tmp_path / "in/a.wav"), URL}
    failed = job.rows("failed")
    assert list(job.rows("ok")) == ["in"]
    assert failed["url"]["audio"] == URL
    assert "lies outside of input.audio_roots and is not opened" in failed["out"]["error"]
    assert failed[FORGED]["error_type"] == failed["out"]["error_type"] == "MalformedRow"
    errors = [row["error"] for row in failed.values()]
    show_run([str(job.run)])
    show_run([str(job.run), "url"])
    shown = capsys.readouterr().out
    assert "url" in shown
    for text in (*errors, shown, *lines(), (job.run / "run.json").read_text()):
        assert "S3CR3T" not in text
        assert "\x1b[2J" not in text
