"""Findings of a review and corrected rates -> tables of words, beside the raw numbers."""

from __future__ import annotations

from collections.abc import Sequence

from safety_eval import wording
from safety_eval.corrected import CorrectedRate, NetGap
from safety_eval.review import Findings, Reviewed
from safety_eval.tables import Row, Table
from safety_eval.wording import number, printable


def review_table(found: Findings) -> Table:
    """Every group as judged and by the labels."""
    rows = [_reviewed(r) for r in found.rows]
    notes = [
        f"{found.labelled} answers labelled by {'two people' if found.kappa or found.disagreed else 'people'}."
    ]
    if found.kappa is not None:
        notes.append(
            f"Agreement: kappa {found.kappa[0]:.2f} [{found.kappa[1]:.2f}, {found.kappa[2]:.2f}], PABAK "
            f"{found.pabak or 0:.2f}; {found.disagreed} disagreements, counted as bad."
        )
    title = f"{wording.name(found.task)}: {wording.metric_name(found.metric)}, reviewed ({found.design})"
    return Table(title, ("group", f"by {found.scorer}", "by labels", "95% interval", "labelled", "note"), tuple(rows),
                 tuple(notes))  # fmt: skip


def _reviewed(r: Reviewed) -> Row:
    named = "all answers" if r.axis == "total" else wording.name(r.group)
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
        named = "all answers" if r.axis == "total" else wording.name(r.group)
        raw = f"{number(r.raw, 'rate')} [{number(r.raw_low, 'rate')}, {number(r.raw_high, 'rate')}]"
        right = (
            "not corrected"
            if r.value is None
            else f"{number(r.value, 'rate')} [{number(r.low, 'rate')}, {number(r.high, 'rate')}]"
        )
        note = printable(r.alarm or r.source)
        rows.append(
            Row((named, raw, right, f"{r.count:,}", note), ours=r.axis == "total", faint=r.value is None)
        )
    notes = [_gap_words(g) for g in gaps]
    notes.append(
        "Corrected by the scorer card (Lang and Reiczigel): holds as far as the card's error rates carry over to these "
        "answers; `safety-eval review` needs no such assumption."
    )
    title = f"{wording.name(first.task)}: {wording.metric_name(first.metric)}, net of the errors of {first.scorer}"
    return Table(
        title, ("group", "as judged, 95%", "corrected, 95%", "n", "by / why not"), tuple(rows), tuple(notes)
    )


def _gap_words(gap: NetGap) -> str:
    raw = f"Gap {wording.name(gap.worse)} - {wording.name(gap.better)}: {100 * gap.raw:+.1f} points as judged"
    if gap.value is None or gap.low is None or gap.high is None:
        return f"{raw}; what is left net of the scorer's own errors cannot be said ({printable(gap.alarm)})."
    left = f"{100 * gap.value:+.1f} [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}] net of the scorer's own errors."
    return f"{raw}, {left}"
