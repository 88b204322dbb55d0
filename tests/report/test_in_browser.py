"""The report in a real browser: filters, links, texts hidden until asked for, the keyboard, nothing from outside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from safety_eval.show.notebook import Run

ALL = "120 of 120 answers"
SECRET = "long walk"
"""Words of nearly every answer."""


class Reader:
    """A page with all that it told its console, asked the network for, or failed on."""

    def __init__(self, page: Any, run: Path) -> None:
        self.page, self.faults, self.requests = page, [], []
        page.on("console", lambda message: self.faults.append(message.text))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        self.address = (run / "report.html").as_uri()

    def open(self, fragment: str = "") -> Any:
        self.page.goto("about:blank")
        self.page.goto(self.address + fragment)
        self.page.wait_for_selector("html.scripted", state="attached")
        return self.page

    def count(self, words: str) -> None:
        from playwright.sync_api import expect

        expect(self.page.locator("#answers-count")).to_have_text(words)

    def shown(self) -> str:
        return str(self.page.locator("body").inner_text())


@pytest.fixture
def reader(browser: Any, explored: Run) -> Iterator[Reader]:
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.set_default_timeout(20_000)
    reading = Reader(page, explored.folder)
    yield reading
    title = page.title()
    page.close()
    assert not reading.faults, reading.faults
    assert {url.partition("#")[0] for url in reading.requests} <= {reading.address, "about:blank"}
    assert title == "Safety evaluation of .../now.json", "a text of the run was executed"


def test_from_a_number_to_the_answers_that_it_counted_and_from_there_to_one(reader: Reader, explored: Run) -> None:
    page = reader.open()
    [number] = [
        e for e in explored.estimate_records() if (e.metric, e.axis, e.group) == ("toxic_rate", "target", "team & two")
    ]
    row = page.locator("#task-explored-task tr", has_text="team & two").first
    row.locator("a").first.click()
    assert number.events
    reader.count(f"{number.events} of 120 answers")
    assert SECRET not in reader.shown() and "idiots" not in reader.shown()
    page.locator("#answers-size .row").first.click()
    page.wait_for_selector("dialog[open]")
    assert "idiots" in page.locator("dialog pre").nth(1).inner_text()
    assert "toxic rate by profanity check" in page.locator("dialog").inner_text()


def test_each_filter_leaves_what_fits_and_clearing_brings_all_back(reader: Reader) -> None:
    page = reader.open()
    reader.count(ALL)
    page.select_option("#answers-group", label="label: safe")
    reader.count("60 of 120 answers")
    page.select_option("#answers-status", "refuse")
    reader.count("12 of 120 answers")
    assert "status=refuse" in page.url and "group=label" in page.url
    page.click("#answers-clear")
    reader.count(ALL)
    page.select_option("#answers-score", label="profanity check.toxicity")
    page.fill("#answers-from", "0.5")
    page.select_option("#answers-against", label="toxic rate by profanity check")
    over = page.locator("#answers-count").inner_text()
    page.select_option("#answers-against", "")
    reader.count(over)
    page.click("#answers-clear")
    page.select_option("#answers-measured", "missing")
    reader.count("4 of 120 answers")
    page.click("#answers-clear")
    page.fill("#answers-search", "question 03")
    reader.count("2 of 120 answers")
    page.fill("#answers-search", "twins 3")
    reader.count("4 of 120 answers")
    page.fill("#answers-search", "no such words")
    reader.count("None of the 120 answers fits.")
    page.click("#answers-clear")
    page.select_option("#answers-change", "new")
    assert int(page.locator("#answers-count").inner_text().split()[0]) > 0
    page.locator("#answers-size .row").first.click()
    dialog = page.locator("dialog")
    assert "Answered by this model" in dialog.inner_text() and "Answered by .../before.json" in dialog.inner_text()
    assert "Twin: p" in dialog.inner_text()


def test_texts_stay_hidden_until_asked_for_one_by_one_or_all_at_once(reader: Reader, explored: Run) -> None:
    from safety_eval.core.records import key

    [answer] = [key(m.output) for m in explored.measured("explored_task") if m.prompt.id == "p07<i>"][:1]
    page = reader.open(f"#answer={answer}")
    page.wait_for_selector("dialog[open]")
    assert "p07<i>" in page.locator("#answer-title").inner_text()
    assert SECRET not in reader.shown() and "question" not in reader.shown()
    page.click("#answer-reveal")
    page.wait_for_selector("#answer-reveal", state="hidden")
    assert SECRET in page.locator("dialog").inner_text()
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="hidden")
    assert SECRET not in reader.shown()
    page.check("#answers-show")
    page.wait_for_selector("#answers-size .text:has-text('idiots')")
    page.uncheck("#answers-show")
    page.wait_for_selector("#answers-size .text", state="detached")
    assert SECRET not in reader.shown()


def test_a_link_to_an_answer_of_another_run_says_so(reader: Reader) -> None:
    reader.open("#answer=0123456789abcdef0123456789abcdef")
    reader.count("The answer that the link names is not in this run.")


def test_hostile_texts_are_shown_as_text_and_run_nothing(reader: Reader) -> None:
    page = reader.open()
    page.check("#answers-show")
    page.fill("#answers-search", "BROKEN")
    reader.count("12 of 120 answers")
    page.locator("#answers-size .row").first.click()
    page.wait_for_selector("dialog[open]")
    assert "<img src=x onerror=" in page.locator("dialog").inner_text()
    assert page.locator("dialog img, dialog script, #answers-size img, #answers-size script").count() == 0
    script = "document.createElement('script').text = 'x'"
    for attempt in ("document.body.innerHTML = '<b>x</b>'", "document.write('x')", script):
        caught = page.evaluate(f"(() => {{ try {{ {attempt}; return '' }} catch (e) {{ return e.name }} }})()")
        assert caught == "TypeError", f"{attempt} was let through"
    reader.faults.clear()  # the browser reports the three attempts above


def test_the_keyboard_reaches_and_does_everything(reader: Reader) -> None:
    page = reader.open("#answers?status=comply")
    assert page.evaluate("document.activeElement.id") == "answers-rows"
    before = page.get_attribute("#answers-rows", "aria-activedescendant")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("End")
    assert page.get_attribute("#answers-rows", "aria-activedescendant") != before
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    title = page.locator("#answer-title").inner_text()
    page.focus("#answer-next")
    page.keyboard.press("Enter")
    page.wait_for_function("title => document.getElementById('answer-title').textContent !== title", arg=title)
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="hidden")
    assert page.evaluate("document.activeElement.id") == "answers-rows"
    unreached = page.evaluate(
        "[...document.querySelectorAll('a, button, select, input, summary')].filter(e => e.tabIndex < 0).length"
    )
    assert unreached == 0


def test_axe_finds_nothing_to_mend(reader: Reader) -> None:
    """The page with every part open, in light and dark (where only colours differ), and the dialog."""
    from axe_playwright_python.sync_playwright import Axe

    def faults(**options: object) -> list[object]:
        violations = Axe().run(page, options=options or None).response["violations"]
        return [(v["id"], [node["html"][:200] for node in v["nodes"][:3]]) for v in violations]

    page = reader.open()
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert faults() == []
    page.emulate_media(color_scheme="dark")
    assert faults(runOnly=["color-contrast"]) == []
    page.locator("#answers-size .row").first.click()
    page.wait_for_selector("dialog[open]")
    assert faults() == []


def test_without_scripts_the_page_shows_all_but_the_list(browser: Any, explored: Run) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((explored.folder / "report.html").as_uri())
    text = page.locator("body").inner_text()
    context.close()
    assert "Not judged" in text and "were counted against the model" in text
    assert "a browser that lets this page run its own script" in text and "Clear all filters" not in text


def test_on_paper_closed_parts_say_so(reader: Reader) -> None:
    page = reader.open()
    page.emulate_media(media="print")
    assert page.locator(".closed").is_visible() and not page.locator("#answers-rows").is_visible()
    said = page.evaluate("getComputedStyle(document.querySelector('details > summary'), '::after').content")
    assert "closed on paper" in said
