"""The report is one file that loads nothing, runs nothing but its own script, hides harmful text and shows every
estimate. What the script does is tested in a browser: report/test_in_browser.py."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import estimates_for_tests as made
import pytest
from rich.console import Console

from safety_eval.audit.cards import GroupErrors, Part, ScorerCard
from safety_eval.measure import published
from safety_eval.measure.beside import Beside
from safety_eval.measure.floors import WHO
from safety_eval.report import answers
from safety_eval.report import cards as report_cards
from safety_eval.report import page as report
from safety_eval.report import parts as report_parts
from safety_eval.runs import pipeline
from safety_eval.runs.config import run_config
from safety_eval.show import tables
from safety_eval.show import words as wording
from safety_eval.show.notebook import Run, open_run

EMBEDDED = "data:image/svg+xml;base64,"
TASK = str(Path(__file__).with_name("hostile_task.py"))


class Page(HTMLParser):
    """Tags with their attributes, and text by whether it stands inside closed <details>."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open_text: list[str] = []
        self.hidden_text: list[str] = []
        self._details: list[bool] = []
        self._summary = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "details":
            self._details.append("open" not in dict(attrs))
        self._summary = self._summary or tag == "summary"

    def handle_endtag(self, tag: str) -> None:
        if tag == "details":
            self._details.pop()
        self._summary = self._summary and tag != "summary"

    def handle_data(self, data: str) -> None:
        (self.hidden_text if any(self._details) and not self._summary else self.open_text).append(data)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("hostile") / "run"
    values = {"model": "echo", "engine": "echo", "tasks": [TASK], "output_path": str(folder)}
    return open_run(pipeline.run(run_config(values)))


@pytest.fixture(scope="module", autouse=True)
def no_cards_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAFETY_EVAL_CARDS", str(tmp_path_factory.mktemp("cards")))
        yield


@pytest.fixture(scope="module")
def html(hostile: Run) -> str:
    return report.write(hostile).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_the_page_runs_its_own_script_alone_and_loads_nothing(page: Page) -> None:
    names = {tag for tag, _ in page.tags}
    ours, *data = [attributes for tag, attributes in reversed(page.tags) if tag == "script"]
    assert ours == {} and {attributes["type"] for attributes in data} == {"application/x-deflate-base64"}
    assert not names & {"iframe", "object", "embed", "link", "form", "base", "audio", "video"}
    for tag, attributes in page.tags:
        assert not [a for a in attributes if a.startswith("on") or a == "style"], (tag, attributes)
        assert (attributes.get("src") or EMBEDDED).startswith(EMBEDDED)
        assert (attributes.get("href") or "#").startswith("#")


def test_the_content_security_policy_allows_only_the_pages_own_style_script_and_images(html: str, page: Page) -> None:
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    style, script = (
        base64.b64encode(hashlib.sha256(re.search(f"<{tag}>(.*?)</{tag}>", html, re.S).group(1).encode()).digest())  # type: ignore[union-attr]
        for tag in ("style", "script")
    )
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{style.decode()}'; script-src "
        f"'sha256-{script.decode()}'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; "
        "trusted-types 'none'"
    )


def test_no_control_character_reaches_the_page(html: str) -> None:
    assert wording.printable(html, keep="\n") == html


def test_prompts_and_answers_are_hidden_until_asked_for(page: Page) -> None:
    assert "HARMFUL TEXT" not in "".join(page.open_text)
    assert "HARMFUL TEXT" in "".join(page.hidden_text)


def test_markup_and_template_syntax_in_data_stay_text(html: str, page: Page) -> None:
    assert {"b", "i", "u", "em"}.isdisjoint({tag for tag, _ in page.tags})
    assert "&lt;b&gt;bold&lt;/b&gt;" in html
    assert "{{ 7 * 7 }}" in "".join(page.open_text)
    assert "esc\\x1b[31m" in "".join(page.open_text)


def test_every_estimate_is_in_the_page(hostile: Run, page: Page) -> None:
    text = "".join(page.open_text + page.hidden_text)
    for e in hostile.estimate_records():
        assert wording.number(e.value, e.kind) in text
        assert wording.interval(e) in text


def test_pictures_are_embedded_and_written_beside(hostile: Run, html: str) -> None:
    drawn = list((hostile.folder / "charts").glob("*.png"))
    embedded = [base64.b64decode(found) for found in re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', html)]
    assert drawn and len(embedded) == len(drawn)
    for picture in map(ElementTree.fromstring, embedded):
        kinds = {element.tag.rpartition("}")[2] for element in picture.iter()}
        assert (
            {"svg", "text"}
            <= kinds
            <= {"svg", "g", "path", "defs", "style", "clipPath", "rect", "use", "text", "tspan"}
        )


def test_the_same_records_give_the_same_page(hostile: Run, html: str) -> None:
    assert report.write(hostile).read_text(encoding="utf-8") == html


def test_meaning_source_settings_and_instrument_are_named(page: Page) -> None:
    text = "".join(page.open_text)
    for words in (
        "Says <nothing> of safety.",
        "data version one",
        "temperature 0.7",
        "instruments: vader",
        "prompts digest",
        "<u>a note</u>",
    ):
        assert words in text


def test_without_a_verdict_the_page_says_that_there_is_none(page: Page) -> None:
    assert "Not judged" in "".join(page.open_text)


def test_a_run_without_estimates_still_makes_a_page_that_says_so(hostile: Run) -> None:
    file = hostile.file.changed(finished="")
    made = "".join(report.html(report.Report(file, [], {}, {}, {}, {})))
    assert "Nothing has been measured yet." in made
    assert "not finished" in made


def test_a_long_answer_is_cut_and_says_where_the_rest_is() -> None:
    cut = answers.clipped("x" * 5_000)
    assert len(cut) < 2_200
    assert "3,000 further characters are in outputs.jsonl" in cut


def test_the_terminal_shows_the_same_rows_and_never_a_prompt_or_an_answer(hostile: Run) -> None:
    out = Console(width=200, record=True, color_system=None, file=io.StringIO())
    for table in tables.run_tables(hostile):
        out.print(tables.rich_table(table))
    text = out.export_text()
    assert "HARMFUL TEXT" not in text
    assert wording.printable(text, keep="\n") == text
    assert "esc\\x1b[31m" in text
    assert "<b>bold</b>" in text


def test_published_rows_stand_below_ours_and_missing_answers_are_counted() -> None:
    beside = {("bold", "sentiment", "vader"): Beside("sentiment", {"Falcon 7B": {"all": 0.283}}, kind="mean")}
    table = tables.papers_table(made.bold(), made.FACTS, beside)
    assert table.rows[0].ours
    assert table.rows[0].cells[1] == "0.143 [0.083, 0.193] (n=200)"
    assert table.rows[1].cells == ("Falcon 7B", "0.283")


def test_three_published_models_stand_beside_ours_and_all_of_them_when_asked_for() -> None:
    rows = {f"Llama 2 {size}B": {"all": size / 100} for size in (7, 13, 34, 70)}
    beside = {("bold", "sentiment", "vader"): Beside("sentiment", rows, kind="mean")}
    facts = replace(made.FACTS, model="org/llama-30b")
    few = tables.papers_table(made.bold(), facts, beside)
    assert [r.cells[0] for r in few.rows[1:4]] == ["Llama 2 34B", "Llama 2 13B", "Llama 2 70B"]
    floors = [f"{tables.FLOOR} {who}" for who in WHO.values()]
    assert [r.cells[0] for r in few.rows[4:]] == floors and all(r.faint for r in few.rows[4:])
    every = tables.papers_table(made.bold(), facts, beside, every=True)
    assert len(every.rows) == 1 + len(rows) + len(floors)


def test_a_number_no_better_than_a_floor_is_said_to_be() -> None:
    """What words drawn at random, silence and echo score stands beside it, from the package's own data."""
    low = [replace(e, value=-0.9, better="higher") for e in made.bold()]
    notes = " ".join(tables.papers_table(low, made.FACTS, {}).notes)
    assert "is no better than that of a model with random weights (" in notes
    high = [replace(e, value=0.99, better="higher") for e in made.bold()]
    assert "no better than" not in " ".join(tables.papers_table(high, made.FACTS, {}).notes)
    lexicon = {("bold", "vader"): {**made.FACTS.identities["bold", "vader"], "settings": {"text": "answer"}}}
    another = tables.papers_table(low, replace(made.FACTS, identities=lexicon), {})
    assert "no better than" not in " ".join(another.notes) and "no floor was computed" in " ".join(another.notes)
    assert not any(r.cells[0].startswith(tables.FLOOR) for r in another.rows)


def test_a_suspect_row_is_shown_as_printed_marked_and_never_compared_by_group() -> None:
    rows = {"Code Llama 7B": {"all": 0.2264, "asian": 0.1586}, "Llama 2 7B": {"all": 0.2125, "asian": 0.1653}}
    beside = Beside("toxic_rate", rows, suspect=frozenset({"Code Llama 7B"}), note="n")
    wide = tables.wide_table(made.toxigen(), made.FACTS, beside)
    assert wide is not None
    assert wide.rows[1].cells[0] == f"Code Llama 7B {tables.SUSPECT}"
    assert wide.rows[1].cells[1:] == ("22.64%", "15.86%")
    table = tables.group_table(made.toxigen(), made.FACTS, beside, ["Code Llama 7B", "Llama 2 7B"])
    asian = next(r for r in table.rows if r.cells[0] == "asian")
    assert asian.cells[5:7] == ("", "16.53%")


def test_a_groups_table_is_cut_into_sections_with_headings() -> None:
    table = tables.group_table(made.bold(), made.FACTS, sections=made.SECTIONS)
    assert [r.cells[0] for r in table.rows if r.heading] == [
        "domain",
        "gender",
        "religious ideology",
        "political ideology",
    ]


def test_an_instrument_without_a_card_is_said_to_be_unaudited_and_a_card_shows_errors_by_group(
    page: Page,
) -> None:
    assert "has not been audited" in "".join(page.open_text)
    whole = GroupErrors("total", "all", 40, 4, 60, 6, (0.1, 0.05, 0.2), (0.1, 0.03, 0.23))
    black = GroupErrors("target", "black", 20, 1, 30, 5, (0.17, 0.07, 0.34), None, (0.13, 0.02, 0.3), 0.01)
    part = Part(
        "hate",
        "toxicity",
        "at 0.5",
        "hateful",
        "neutral",
        whole,
        (black,),
        (),
        (0.8, 0.7, 0.9),
        0.8,
        None,
        None,
        {},
        {},
        {},
    )
    card = ScorerCard("x", {"name": "x"}, (part,), (), ("Flags harmless texts about some groups more often.",))
    [found] = report_cards.card_parts({"x": {"name": "x"}}, {"x": card})
    assert found.sentences == card.sentences
    [all_texts, row] = found.tables[0].rows
    assert all_texts.cells[:4] == ("all texts", "60", "10.00%", "[5.00, 20.00]")
    assert row.cells[5:] == ("no data", "", "more false alarms than elsewhere")


def test_missing_answers_are_warned_of_only_where_an_answer_is_missing() -> None:
    """A rate among answered prompts leaves the refused ones out: they are not missing."""
    full = made.toxigen()[:1]
    left_out = replace(full[0], metric="toxic_rate.answered", missing={"degenerate": 3}, count=0, value=None)
    said = "Some answers gave no value"
    file = made.run_file({"toxigen": made.task_record()}, finished="now")
    assert not [w for w in report_parts.warnings(file, [*full, left_out]) if said in w]
    gone = replace(full[0], missing={"error": 1}, expected=full[0].expected + 1)
    assert [w for w in report_parts.warnings(file, [gone, left_out]) if said in w]


def published_page(identity: dict[str, object]) -> str:
    """The report of a run of ToxiGen's own prompts, scored by an instrument of this identity."""
    estimates = [replace(e, data_version="safenlp") for e in made.toxigen()]
    record = made.task_record(title="ToxiGen", data_version="safenlp", instruments={"profanity_check": identity})
    facts = made.run_file({"toxigen": record}, "Llama-2-7b", finished="now")
    return "".join(report.html(report.Report(facts, estimates, {}, {"toxigen": published.beside("toxigen")}, {}, {})))


def test_all_published_figures_stand_in_a_section_of_their_own_with_ours_only_where_it_may() -> None:
    same = published_page(dict(published.ORIGIN["toxigen"].identity or {}))
    section = same[same.index('id="published"') :]
    assert "the first row is ours" in section and "MPT 30B" in section and "21.25%" in section
    assert "Llama 2 7B (published)" in same[: same.index('id="published"')]
    other = published_page({"name": "profanity_check"})
    section = other[other.index('id="published"') : other.index('id="reading"')]
    assert "No number of this run was made by that instrument" in section
    assert "MPT 30B" in section and "Llama-2-7b" not in section
    assert "MPT 30B" not in other[: other.index('id="published"')]
    assert "(published)" not in other
