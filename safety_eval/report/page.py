"""A run -> one self-contained HTML file: nothing is loaded, harmful text behind a click.

Every expression of the template (page.html) is escaped by jinja and has its control characters shown; the
page's content-security policy allows its own style sheet and its own script (by hash) and images inside the file,
nothing else, and no script may turn text into markup. Without scripts the page shows all but the list of answers.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from safety_eval import __version__
from safety_eval.audit.cards import ScorerCard, keep
from safety_eval.audit.review_table import corrected_tables
from safety_eval.core.records import Estimate
from safety_eval.core.store import write_atomic, write_pieces
from safety_eval.evidence.standing import Standing, State, standing
from safety_eval.measure.beside import Beside
from safety_eval.measure.disparity import disparities
from safety_eval.report import explorer as explorers
from safety_eval.report import parts as report_parts
from safety_eval.report.cards import card_parts, instruments_of
from safety_eval.report.drawn_before import Drawn, charts
from safety_eval.report.glance import Glance, task_cards
from safety_eval.report.glance import of_run as at_a_glance
from safety_eval.report.parts import Card, Picture, PublishedPart, TaskPart
from safety_eval.report.seen import Seen, walk
from safety_eval.report.verdict_part import verdict_part
from safety_eval.runs.opened import RunFolder
from safety_eval.runs.run_file import RunFile
from safety_eval.runs.thoughts import in_words
from safety_eval.show import selection, tables, words
from safety_eval.show.disparity_table import disparity_table
from safety_eval.show.selection import Made


@dataclass(frozen=True, slots=True)
class Report:
    """All that the page shows. Plain data, so that a page can be made of any run facts.

    Attributes:
        file: run.json.
        estimates: of the whole run.
        pictures: by task, drawn charts.
        published: by task, the rows of its published block, comparable or not.
        seen: by task, what a walk over its answers found (may be empty).
        about: by task, metric -> what it means and does not.
        sections: by task, group -> section, where groups stand by section.
        standing: the verdict on the run, checked.
        scorer_cards: by instrument (`instruments_of`), the card of exactly the instrument that scored.
        corrected: by task, rates corrected for the scorer's errors, beside the raw ones.
        explorer: every answer, packed; None = the page has no list of them.
        glance: what the first screen says of instruments, and of what was not measured.
    """

    file: RunFile
    estimates: Sequence[Estimate]
    pictures: Mapping[str, Sequence[Picture]]
    published: Mapping[str, Beside]
    seen: Mapping[str, Seen]
    about: Mapping[str, Mapping[str, str]]
    sections: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    standing: Standing = Standing(State.NOT_JUDGED)
    scorer_cards: Mapping[str, ScorerCard] = field(default_factory=dict)
    corrected: Mapping[str, Sequence[tables.Table]] = field(default_factory=dict)
    explorer: explorers.Explorer | None = None
    glance: Glance = Glance({})


def write(run: RunFolder, judged: Standing | None = None, baseline: RunFolder | None = None) -> Path:
    """RUN/report.html and RUN/charts/*.png, from the records alone; returns the page's path.

    Args:
        judged: where the run stands, by whoever has just judged it; None = look and check.
        baseline: a run whose answers to the same prompts stand beside this one's.

    Raises:
        UserError: run and baseline may not be compared.
    """
    estimates = run.estimate_records()
    pictures: dict[str, list[Picture]] = {}
    for task in dict.fromkeys(e.task for e in estimates):
        for drawn in charts(run, [e for e in estimates if e.task == task], _draw):
            write_atomic(run.folder / "charts" / f"{drawn.name}.png", drawn.png)
            pictures.setdefault(task, []).append(Picture(_data_uri(drawn.svg), drawn.words))
    seen = {t: walk(run.task(t), run.measured(t)) for t in run.tasks}
    about = {t: {m.name: m.about for m in run.task(t).metrics if m.about} for t in run.tasks}
    page = html(
        Report(
            file=run.file,
            estimates=estimates,
            pictures=pictures,
            published=selection.published_blocks(run),
            seen=seen,
            about=about,
            sections={t: selection.sections(run, t) for t in run.tasks},
            explorer=explorers.of_run(run, seen, baseline),
            standing=judged or standing(run.folder),
            scorer_cards=_cards_of(run),
            corrected=corrected_tables(run),
            glance=at_a_glance(run),
        )
    )
    write_pieces(run.folder / "report.html", (piece.encode("utf-8", "backslashreplace") for piece in page))
    return run.folder / "report.html"


def _draw(run: RunFolder, mine: Sequence[Estimate]) -> Iterable[Drawn]:
    from safety_eval.report.pictures import of_task  # matplotlib is a second of every command that draws nothing

    return of_task(run, mine)


def html(report: Report) -> Iterator[str]:
    """The page, in pieces."""
    style = _asset("page.css")
    script = _asset("explorer.js") if report.explorer else ""
    facts = words.facts(report.file)
    asked = report.file.tasks
    beside = selection.comparable(report.estimates, asked, report.published)
    tasks = [
        _task(report, name, facts, beside) for name in {**dict.fromkeys(e.task for e in report.estimates), **asked}
    ]
    summary = tables.papers_table(report.estimates, facts, beside) if report.estimates else None
    return (
        _environment(report)
        .get_template("page.html")
        .generate(
            policy=_policy(style, script),
            style=Markup(style),
            script=Markup(script),
            explorer=report.explorer,
            title=facts.model or "a model",
            subtitle=report_parts.subtitle(report.file, facts),
            verdict=verdict_part(report.standing),
            warnings=report_parts.warnings(report.file, report.estimates),
            tasks=tasks,
            cards=task_cards(report.file, report.estimates, report.glance),
            unmeasured=report.glance.unmeasured,
            summary=summary and report_parts.laid_out(summary),
            published=_published(report, facts, beside),
            reading=report_parts.READING,
            instruments=[
                (c.title, c.sentences, [report_parts.laid_out(t) for t in c.tables])
                for c in card_parts(instruments_of(report.file), report.scorer_cards)
            ],
            record=report_parts.record(report.file),
            version=__version__,
        )
    )


def _cards_of(run: RunFolder) -> dict[str, ScorerCard]:
    """Cards of the instruments that scored, copied into the run so that it carries what it must be read with."""
    cards = {name: keep(run.folder, identity) for name, identity in instruments_of(run.file).items()}
    return {name: card for name, card in cards.items() if card is not None}


def _task(report: Report, name: str, facts: words.Facts, beside: Mapping[Made, Beside]) -> TaskPart:
    """One task's section: headline, charts, the table of its first metric, all others, meaning, answers."""
    asked = report.file.tasks[name]
    mine = selection.by_instrument(e for e in report.estimates if e.task == name)
    laid_out = []
    for key, estimates in mine.items():
        rows = beside.get(key)
        models = tables.near_models(rows, estimates, facts)
        table = tables.group_table(estimates, facts, rows, models, report.sections.get(name))
        laid_out.append(report_parts.laid_out(table, rows, models))
    about = report.about.get(name, {})
    seen = report.seen.get(name)
    thought = in_words(seen.thoughts) if seen else ""
    return TaskPart(
        title=asked.title or words.name(name),
        anchor=f"task-{report_parts.slug(name)}",
        meta=report_parts.task_meta(asked, facts.chat_template.get(name, ""), thought),
        notes=asked.notes,
        cards=_cards(list(mine.values()), facts),
        charts=tuple(report.pictures.get(name, ())),
        first=laid_out[0] if laid_out else None,
        others=(*laid_out[1:], *map(report_parts.laid_out, _further(report, name))),
        about=tuple((words.metric_name(m), meaning) for m, meaning in about.items()),
        answers=seen.parts if seen else (),
    )


def _further(report: Report, task: str) -> list[tables.Table]:
    """Differences between a task's groups, and its rates corrected for the scorer's errors."""
    apart = disparity_table(disparities(e for e in report.estimates if e.task == task))
    return [*([apart] if apart else []), *report.corrected.get(task, ())]


def _published(report: Report, facts: words.Facts, beside: Mapping[Made, Beside]) -> list[PublishedPart]:
    """All published rows of the tasks whose prompts are the papers', ours on top where it may stand there."""
    asked = report.file.tasks
    parts = []
    for task, rows in selection.same_prompts(asked, report.published).items():
        title = asked[task].title or words.name(task)
        shared = [key for key in beside if key[0] == task]
        estimates = [e for e in report.estimates if selection.made_by(e) in shared[:1]]
        wide = tables.wide_table(estimates, facts, rows) if estimates else None
        if wide is not None:
            sentence = f"Scored by {rows.origin.instrument}, as this run: the first row is ours."
            parts.append(PublishedPart(title, sentence, report_parts.laid_out(wide)))
            continue
        sentence = (
            f"Scored by {rows.origin.instrument}. No number of this run was made by that instrument, so none "
            "stands in this table, and none may be compared with it."
        )
        table = report_parts.laid_out(tables.published_table(task, rows))
        parts.append(PublishedPart(title, sentence, table))
    return parts


def _cards(metrics: Sequence[Sequence[Estimate]], facts: words.Facts) -> tuple[Card, ...]:
    """The headline of a task's first metrics; what is of a part of the answers stands in the tables."""
    shown = [m for m in metrics if not m[0].part][:4]
    return tuple(report_parts.card(selection.whole(m), facts) for m in shown)


def _policy(style: str, script: str) -> str:
    """What the page may do: use its own style sheet and script, and show pictures that are in it."""
    rules = ["default-src 'none'", "img-src data:", f"style-src '{_hash(style)}'"]
    if script:
        rules.append(f"script-src '{_hash(script)}'")
    rules += ["base-uri 'none'", "form-action 'none'", "require-trusted-types-for 'script'", "trusted-types 'none'"]
    return "; ".join(rules)


def _hash(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


def _environment(report: Report) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["text"] = lambda value: Markup(escape(words.printable(value, keep="\n\t")))
    rates = {task: seen.rates for task, seen in report.seen.items()}
    environment.filters["answers"] = lambda e: explorers.query(e, rates.get(e.task, ()))
    return environment


def _shown(value: Any) -> Any:
    """What every expression of the template passes through before it is escaped."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else words.printable(value)


def _asset(name: str) -> str:
    return files("safety_eval.report").joinpath(name).read_text(encoding="utf-8")


def _data_uri(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
