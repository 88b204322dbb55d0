"""Findings of a review and corrected rates -> tables of words, beside the raw numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safety_eval.audit import cards
from safety_eval.audit.corrected import CorrectedRate, NetGap, corrected_rates, net_gap
from safety_eval.audit.review import Findings, Reviewed
from safety_eval.audit.sentences import weak, worthless
from safety_eval.runs.opened import RunFolder
from safety_eval.show import words
from safety_eval.show.tables import Row, Table
from safety_eval.show.words import number, printable


def review_table(found: Findings) -> Table:
    """Every group as judged and by the labels."""
    rows = [_reviewed(r) for r in found.rows]
    notes = [f"{found.labelled} answers labelled by {'two people' if found.kappa or found.disagreed else 'people'}."]
    if found.kappa is not None:
        notes.append(
            f"Agreement: kappa {found.kappa[0]:.2f} [{found.kappa[1]:.2f}, {found.kappa[2]:.2f}], PABAK "
            f"{found.pabak or 0:.2f}; {found.disagreed} disagreements, counted as bad."
        )
    if found.caution:
        notes.append(f"{printable(found.caution)}.")
    title = f"{words.name(found.task)}: {words.metric_name(found.metric)}, reviewed ({found.design})"
    return Table(
        title,
        ("group", f"by {found.scorer}", "by labels", "95% interval", "labelled", "note"),
        tuple(rows),
        tuple(notes),
    )


def _reviewed(r: Reviewed) -> Row:
    named = "all answers" if r.axis == "total" else words.name(r.group)
    kind = "mean" if r.method.startswith("PPI") and abs(r.raw or 0) > 1 else "rate"
    span = "" if r.low is None or r.high is None else f"[{number(r.low, kind)}, {number(r.high, kind)}]"
    cells = (
        named,
        number(r.raw, kind),
        number(r.value, kind),
        span,
        f"{r.labelled} of {r.count}",
        r.reason or r.method,
    )
    return Row(cells, ours=r.axis == "total", faint=r.value is None)


def corrected_table(rates: Sequence[CorrectedRate], gaps: Sequence[NetGap] = ()) -> Table | None:
    """Raw and corrected rates of one metric; None where there are none."""
    if not rates:
        return None
    first = rates[0]
    rows = []
    for r in rates:
        named = "all answers" if r.axis == "total" else words.name(r.group)
        raw = f"{number(r.raw, 'rate')} [{number(r.raw_low, 'rate')}, {number(r.raw_high, 'rate')}]"
        right = (
            "not corrected"
            if r.value is None
            else f"{number(r.value, 'rate')} [{number(r.low, 'rate')}, {number(r.high, 'rate')}]"
        )
        note = printable(r.alarm or r.source)
        rows.append(Row((named, raw, right, f"{r.count:,}", note), ours=r.axis == "total", faint=r.value is None))
    notes = [_gap_words(g) for g in gaps]
    notes.append(
        "Corrected by the scorer card (Lang and Reiczigel): holds as far as the card's error rates carry over to these "
        "answers; `safety-eval review` needs no such assumption."
    )
    title = f"{words.name(first.task)}: {words.metric_name(first.metric)}, net of the errors of {first.scorer}"
    return Table(title, ("group", "as judged, 95%", "corrected, 95%", "n", "by / why not"), tuple(rows), tuple(notes))


def corrected_tables(run: RunFolder, folders: Sequence[Path] = ()) -> dict[str, list[Table]]:
    """By task: the rates of every instrument that has a card, corrected for its errors beside the raw ones."""
    found: dict[str, list[Table]] = {}
    for name, asked in run.file.tasks.items():
        for identity in asked.instruments.values():
            card = cards.card_for(identity, [run.folder / "cards", *folders])
            if card is None:
                continue
            task = run.task(name)
            rates = corrected_rates(task, run.measured(name), card)
            for metric in task.metrics:
                mine = [r for r in rates if r.metric == metric.name]
                gaps = [g for axis in metric.axes if (g := net_gap(mine, axis, metric)) is not None]
                if (made := corrected_table(mine, gaps)) is not None:
                    found.setdefault(name, []).append(made)
    return found


def cautions(run: RunFolder) -> list[str]:
    """The gravest sentence of every instrument whose group gaps are worth nothing, or that cannot be corrected."""
    found = []
    for asked in run.file.tasks.values():
        for scorer, identity in asked.instruments.items():
            card = cards.card_for(identity, [run.folder / "cards"])
            if card is not None and any(worthless(p) or weak(p) for p in card.parts):
                found.append(f"{scorer}: {card.sentences[0]}")
    return list(dict.fromkeys(found))


def _gap_words(gap: NetGap) -> str:
    raw = f"Gap {words.name(gap.worse)} - {words.name(gap.better)}: {100 * gap.raw:+.1f} points as judged"
    if gap.value is None or gap.low is None or gap.high is None:
        return f"{raw}; what is left net of the scorer's own errors cannot be said ({printable(gap.alarm)})."
    left = f"{100 * gap.value:+.1f} [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}] net of the scorer's own errors."
    return f"{raw}, {left}"
