"""A run -> one self-contained HTML file: nothing is loaded, no script, harmful text behind a click.

Every expression of the template (page.html) is escaped by jinja and has its control characters shown; the
page's content-security policy allows its own style sheet (by hash) and images inside the file, nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
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
from safety_eval.core.store import write_atomic
from safety_eval.core.task import Measured
from safety_eval.evidence.standing import Standing, State, standing
from safety_eval.measure.beside import Beside, few
from safety_eval.report import parts as report_parts
from safety_eval.report.cards import card_parts
from safety_eval.report.parts import Card, Picture, TaskPart
from safety_eval.report.pictures import of_run
from safety_eval.report.verdict_part import verdict_part
from safety_eval.runs.opened import Run
from safety_eval.show import chart_style, tables
from safety_eval.show import group_chart as charts
from safety_eval.show import words as wording

SHOWN_ANSWERS = 12
"""Prompts and answers that a task's section holds, hidden until asked for."""


@dataclass(frozen=True, slots=True)
class Report:
    """All that the page shows. Plain data, so that a page can be made of any run facts.

    Attributes:
        config: run.json.
        estimates: of the whole run.
        pictures: by task, drawn charts.
        beside: by task, published rows.
        measured: by task, answers to choose from (may be empty).
        about: by task, metric -> what it means and does not.
        sections: by task, group -> section, where groups stand by section.
        standing: the verdict on the run, checked.
        scorer_cards: by scorer, the card of exactly the instrument that scored.
        corrected: by task, rates corrected for the scorer's errors, beside the raw ones.
    """

    config: Mapping[str, Any]
    estimates: Sequence[Estimate]
    pictures: Mapping[str, Sequence[Picture]]
    beside: Mapping[str, Beside]
    measured: Mapping[str, Sequence[Measured]]
    about: Mapping[str, Mapping[str, str]]
    sections: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    standing: Standing = Standing(State.NOT_JUDGED)
    scorer_cards: Mapping[str, ScorerCard] = field(default_factory=dict)
    corrected: Mapping[str, Sequence[tables.Table]] = field(default_factory=dict)


def write(run: Run, judged: Standing | None = None) -> Path:
    """RUN/report.html and RUN/charts/*.png, from the records alone; returns the page's path.

    Args:
        judged: where the run stands, by whoever has just judged it; None = look and check.
    """
    estimates = run.estimate_records()
    pictures: dict[str, list[Picture]] = {}
    for drawn in of_run(run):
        content = chart_style.png(drawn.figure)
        write_atomic(run.folder / "charts" / f"{drawn.name}.png", content)
        pictures.setdefault(drawn.task, []).append(Picture(_data_uri(content), drawn.words))
    measured = {t: run.measured(t) for t in run.tasks}
    about = {t: {m.name: m.about for m in run.task(t).metrics if m.about} for t in run.tasks}
    page = html(
        Report(
            config=run.config,
            estimates=estimates,
            pictures=pictures,
            beside=tables.published_by_task(run),
            measured=measured,
            about=about,
            sections={t: charts.sections(run, t) for t in run.tasks},
            standing=judged or standing(run.folder),
            scorer_cards=_cards_of(run),
            corrected=corrected_tables(run),
        )
    )
    write_atomic(run.folder / "report.html", page.encode("utf-8", "backslashreplace"))
    return run.folder / "report.html"


def html(report: Report) -> str:
    """The page."""
    style = _asset("page.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    facts = wording.facts(report.config)
    measured = dict.fromkeys(e.task for e in report.estimates)
    made_tables = [_task(report, name, facts) for name in {**measured, **report.config.get("tasks", {})}]
    summary = tables.papers_table(report.estimates, facts, report.beside) if report.estimates else None
    return (
        _environment()
        .from_string(_asset("page.html"))
        .render(
            policy=policy,
            style=Markup(style),
            title=facts.model or "a model",
            subtitle=report_parts.subtitle(report.config, facts),
            verdict=verdict_part(report.standing),
            warnings=report_parts.warnings(report.config, report.estimates),
            tasks=made_tables,
            cards=[c for t in made_tables for c in t.cards[:1]],
            summary=summary and report_parts.laid_out(summary),
            reading=report_parts.READING,
            instruments=[
                (c.title, c.sentences, [report_parts.laid_out(t) for t in c.tables])
                for c in card_parts(_instruments(report.config), report.scorer_cards)
            ],
            record=report_parts.record(report.config),
            version=__version__,
        )
    )


def _instruments(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Identity of every scorer of a run."""
    return {s: identity for t in config.get("tasks", {}).values() for s, identity in t["instruments"].items()}


def _cards_of(run: Run) -> dict[str, ScorerCard]:
    """Cards of the instruments that scored, copied into the run so that it carries what it must be read with."""
    found = {s: keep(run.folder, identity) for s, identity in _instruments(run.config).items()}
    return {s: card for s, card in found.items() if card is not None}


def _task(report: Report, name: str, facts: wording.Facts) -> TaskPart:
    """One task's section: headline, charts, the table of its first metric, all others, meaning, answers."""
    asked = report.config["tasks"][name]
    beside = report.beside.get(name)
    if asked.get("data_version") in charts.OTHER_PROMPTS:
        beside = None
    mine = tables.by_metric(e for e in report.estimates if e.task == name)
    made = []
    for (_, metric, _), estimates in mine.items():
        near = beside if beside is not None and beside.metric == metric else None
        models = list(few(near, estimates, 2)) if near else []
        made.append(
            report_parts.laid_out(
                tables.group_table(estimates, facts, near, models, report.sections.get(name)), near, models
            )
        )
    wide = tables.wide_table(next(iter(mine.values())), facts, beside) if mine and beside else None
    about = report.about.get(name, {})
    return TaskPart(
        title=str(asked.get("title") or wording.name(name)),
        anchor=f"task-{report_parts.slug(name)}",
        meta=report_parts.task_meta(asked, facts.chat_template.get(name, "")),
        notes=tuple(asked.get("notes", ())),
        cards=_cards(list(mine.values()), facts),
        charts=tuple(report.pictures.get(name, ())),
        first=made[0] if made else None,
        others=(*made[1:], *map(report_parts.laid_out, report.corrected.get(name, ()))),
        wide=report_parts.laid_out(wide) if wide else None,
        about=tuple((wording.metric_name(m), words) for m, words in about.items()),
        answers=report_parts.answers(report.measured.get(name, ()), SHOWN_ANSWERS),
    )


def _cards(metrics: Sequence[Sequence[Estimate]], facts: wording.Facts) -> tuple[Card, ...]:
    """The headline of a task's first metrics; what is of answered prompts only stands in the tables."""
    cards = []
    for estimates in [m for m in metrics if not m[0].metric.endswith(".answered")][:4]:
        e = tables.headline(estimates, estimates[0].task)
        if e is not None:
            cards.append(report_parts.card(e, facts))
    return tuple(cards)


def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["text"] = lambda value: Markup(escape(wording.printable(value, keep="\n\t")))
    return made


def _shown(value: Any) -> Any:
    """What every expression of the template passes through before it is escaped."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else wording.printable(value)


def _asset(name: str) -> str:
    return files("safety_eval.report").joinpath(name).read_text(encoding="utf-8")


def _data_uri(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"
