"""The page of a run in Chromium, opened from disk: only its clips are loaded, and no text of a row runs.

Skipped without Playwright (``pip install "speechprune[browser]"``) or a Chromium of the system.
"""

import shutil
from pathlib import Path

import pytest

from speechprune.pipeline.run_store import RunStore
from speechprune.reports.run_report import write_report
from tests.helpers.answered_run import DAYS, EVIDENCE, RECORDING, TIMELINE, answered_run, write_answer

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
WIDTHS = {"desktop": (1366, 768), "phone": (390, 844)}
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \u202egnp.exe " + "long" * 25_000
# what a click asks for stays as it is, until a test lets it play
NO_PLAYBACK = "HTMLMediaElement.prototype.play = async function () { this.dataset.asked = 'play' }"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--autoplay-policy=no-user-gesture-required"]
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> str:
    """The address of a page with a right, a wrong, an open and a failed item."""
    folder = tmp_path_factory.mktemp("page")
    run = answered_run(str(folder / "run"))
    write_answer(
        run,
        "wrong-1",
        audio=str(RECORDING.with_name("recording-0001.opus")),
        question="Which day is it?",
        choices=DAYS,
        answer="A",
        prediction="B",
        prediction_text="Thursday",
        choice_probabilities=[0.45, 0.55],
        correct=False,
        evidence=EVIDENCE,
        timeline=TIMELINE,
    )
    return "file://" + write_report(run, str(folder), clips_mb=50, embed=False, num_items=100)


@pytest.fixture
def open_page(browser):
    """``open_page(address, width)``; at the end nothing may have gone wrong in any of them."""
    contexts, trouble = [], []

    def open_one(address: str, width: str = "desktop", script: str = NO_PLAYBACK):
        size = dict(zip(("width", "height"), WIDTHS[width], strict=True))
        contexts.append(browser.new_context(viewport=size))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("console", lambda line: trouble.append(line.text))
        page.on("dialog", lambda dialog: trouble.append(dialog.message))
        folder = address.rsplit("/", 1)[0]
        own = (address.partition("#")[0], folder + "/clips/", "data:")
        page.on("request", lambda one: None if one.url.startswith(own) else trouble.append(one.url))
        page.add_init_script(script)
        page.goto(address)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert trouble == []


def outcomes(page) -> list[str]:
    return [text.split(",")[0] for text in page.locator(".row .outcome:visible").all_inner_texts()]


def wait_for(page, condition: str) -> None:
    """Playwright's own function for this is refused by the page's policy."""
    look = f"const look = () => {condition} ? done() : setTimeout(look, 20); look()"
    page.evaluate(f"new Promise(done => {{ {look} }})")


def place(page) -> float:
    """Second of the recording that the player stands at."""
    wait_for(page, "audio.readyState > 0 && !audio.seeking")
    return page.evaluate("player.clip.start + audio.currentTime")


def test_filters_search_and_order_choose_the_items(report, open_page):
    page = open_page(report)
    assert page.locator("#count").inner_text() == "4 of 4 items"
    assert outcomes(page) == ["✗ wrong", "⚠ failed", "– not judged", "✓ right"]
    page.select_option("#outcome", "wrong")
    assert outcomes(page) == ["✗ wrong"]
    assert "outcome=wrong" in page.url
    page.select_option("#outcome", "")
    page.keyboard.press("/")
    page.keyboard.type("X.WAV")
    assert outcomes(page) == ["⚠ failed"]
    assert "x.wav does not exist" in page.locator("#detail").inner_text()
    page.fill("#search", "no such text")
    assert page.locator("#empty").inner_text() == "no item passes these filters"
    page.fill("#search", "")
    page.check("#unsure")
    assert outcomes(page) == ["✗ wrong"]
    again = open_page(page.url)  # a link leads to the same filters
    assert outcomes(again) == ["✗ wrong"]


def test_an_item_says_in_words_what_is_answer_and_what_is_gold(report, open_page):
    page = open_page(report)
    rows = page.locator(".choices tr").all_inner_texts()
    assert ["✓ gold" in row for row in rows] == [True, False]
    assert ["▶ answer" in row for row in rows] == [False, True]
    assert "600 of 2,250 audio tokens kept (26.7 %)" in page.locator("#detail").inner_text()


def test_keys_move_and_play(report, open_page):
    page = open_page(report)
    for key, expected in (
        ("j", "⚠ failed"),
        ("ArrowDown", "– not judged"),
        ("k", "⚠ failed"),
        ("k", "✗ wrong"),
    ):
        page.keyboard.press(key)
        assert page.locator("[aria-current=true] .outcome").inner_text() == expected
    page.keyboard.press("ArrowUp")
    page.keyboard.press(" ")
    assert page.evaluate("audio.dataset.asked") == "play"
    assert place(page) == pytest.approx(EVIDENCE[0]["start"] - 1, abs=0.01)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_player_goes_to_the_seconds_of_the_evidence_and_of_a_click(report, open_page, width):
    page = open_page(report, width)
    if width == "phone":
        page.locator(".row button").first.click()
    for number, span in enumerate(EVIDENCE):
        page.locator(".listen button").nth(number).click()
        assert place(page) == pytest.approx(span["start"] - 1, abs=0.01)
    seconds = page.evaluate("[chosen.from.start, chosen.from.end]")
    for kind, (first, last) in (("whole", seconds), ("close", (57.0, 66.5))):
        box = page.locator(f".{kind}.timeline").last
        box.scroll_into_view_if_needed()
        size = box.bounding_box()
        box.click(position={"x": size["width"] * (62 - first) / (last - first), "y": 20})
        assert place(page) == pytest.approx(62, abs=2 * (last - first) / size["width"])
    box = page.locator(".whole.timeline")
    box.click(position={"x": size["width"] * 0.4, "y": 20})
    assert "no clip at" in page.locator("#now").inner_text()


def test_a_clip_plays(report, open_page):
    page = open_page(report, script="")
    page.locator(".listen button").nth(1).click()
    wait_for(page, "player.clip.start + audio.currentTime > 60.1 && !audio.paused")
    page.keyboard.press(" ")
    wait_for(page, "audio.paused")
    assert page.locator("#now").inner_text().startswith("❚❚ 1:0")


@pytest.mark.parametrize("width", WIDTHS)
def test_hostile_texts_are_shown_and_keep_the_layout(tmp_path, open_page, width):
    run = RunStore(str(tmp_path / "run"))
    names = ("question", "answer", "prediction", "prediction_text", "method", "model")
    texts: dict[str, object] = dict.fromkeys(names, HOSTILE)
    texts |= {"evidence": EVIDENCE, "evidence_text": [HOSTILE, HOSTILE], "timeline": TIMELINE}
    write_answer(run, f"1{HOSTILE}", **texts)
    write_answer(run, "2", **texts, choices=[HOSTILE, HOSTILE], choice_probabilities=[0.5, 0.5])
    write_answer(run, "3", "failed", audio=HOSTILE, question=HOSTILE, error=HOSTILE, error_type=HOSTILE)
    folder = tmp_path / "a # folder%20"
    address = Path(write_report(run, str(folder), clips_mb=1, embed=True, num_items=10)).as_uri()
    page = open_page(address, width)
    assert page.evaluate("document.querySelector('header').offsetHeight") < 300
    for number in range(3):
        page.locator(".row > button").nth(number).click()
        assert "<img src=x onerror=alert(2)>" in page.locator("h2").inner_text()
        assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[width][0]
        assert page.evaluate("detail.scrollWidth - detail.clientWidth") <= 0
        assert page.evaluate("detail.scrollHeight") < 6000
