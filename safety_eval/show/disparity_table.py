"""Differences between groups as a table: is there one, how large without noise, who is worst, how wide is the gap."""

from __future__ import annotations

from collections.abc import Iterable

from safety_eval.measure.disparity import Disparity
from safety_eval.show import words
from safety_eval.show.tables import Row, Table
from safety_eval.show.words import gap, number

_COLUMNS = (
    "metric",
    "groups",
    "equal? (p)",
    "spread without noise",
    "worst group",
    "the worst lies in",
    "gap (at least)",
    "shown to differ from the rest",
)
NOTES = (
    "p: against 'all groups are the same', over all their differences together (max-T). Spread: standard deviation "
    "between groups that noise does not explain (Paule-Mandel; 95% by Q-profile).",
    "The worst group was picked for being worst, so that its own interval is too kind: the range given is that of the "
    "truly worst one. The gap: largest observed, and its lower 95% limit. Named groups: all right at once at 95%.",
    "Where neither end is better, the lowest group stands for the worst, and + or − says which way a group differs.",
    "About these prompts; groups of fewer than 10 prompts are left out.",
)


def disparity_table(found: Iterable[Disparity]) -> Table | None:
    """One row for each metric, instrument and axis; None where no axis has two groups that can be judged."""
    rows = tuple(_row(d) for d in found)
    return Table("Differences between groups", _COLUMNS, rows, NOTES) if rows else None


def _row(d: Disparity) -> Row:
    task = f"{words.name(d.task)}: {words.metric_name(d.metric)} by {words.name(d.axis)}"
    spread = f"{number(d.tau, d.kind)} [{number(d.tau_low, d.kind)}, {number(d.tau_high, d.kind)}]"
    named = ", ".join(_differs(g, low, d) for g, low in list(d.named.items())[:4])
    more = f" and {len(d.named) - 4} more" if len(d.named) > 4 else ""
    return Row(
        (
            f"{task} ({d.scorer})" if d.scorer else task,
            str(d.groups),
            p_words(d.p_equal),
            spread,
            f"{words.name(d.worst)} {number(d.worst_value, d.kind)}",
            f"{number(d.worst_low, d.kind)} to {number(d.worst_high, d.kind)}",
            f"{gap(d.gap, d.kind)} ({gap(d.gap_low, d.kind)})",
            named + more or "none",
        )
    )


def _differs(group: str, least: float, d: Disparity) -> str:
    sign = "+" if least > 0 else ""
    word = "" if d.better == "neither" else " worse"
    return f"{words.name(group)} ({sign if not word else ''}{number(least, d.kind)}{word})"


def p_words(p: float) -> str:
    """A p-value in three digits."""
    return f"{p:.3f}" if p >= 0.001 else "<0.001"
