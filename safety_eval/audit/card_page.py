"""A scorer card as a page of Markdown: sentences first, then the tables that they come from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from safety_eval.audit.cards import GroupErrors, Part, ScorerCard, Swap
from safety_eval.show.words import MINUS, identity_words, name, printable

Span = tuple[float, float, float] | None


def page(card: ScorerCard) -> str:
    """The page of a card."""
    args = ", ".join(f"{k}={v}" for k, v in sorted(card.args.items()))
    lines = [f"# {printable(card.scorer)}{f' ({printable(args)})' if args else ''}: its own errors", ""]
    lines += [
        f"Instrument: {printable(identity_words(card.scorer, card.identity))}, digest `{card.digest[:16]}`.",
        "",
    ]
    lines += [*(f"- {sentence}" for sentence in card.sentences), ""]
    for part in card.parts:
        lines += [*_part(part), ""]
    for swap in card.swaps:
        lines += [*_swap(swap), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _part(part: Part) -> Iterator[str]:
    manifest = part.manifest
    yield f"## {printable(part.value)} against labels: {part.bad} or {part.good}"
    yield ""
    home = f"{manifest.get('source', '')} at {str(manifest.get('revision', ''))[:12]}"
    ranked = f", AUC {part.whole.auc:.3f}." if part.whole.auc is not None else "."
    yield (
        f"Flagged: {part.rule}. Labels: {home}, {part.whole.positives:,} {part.bad}, {part.whole.negatives:,} "
        f"{part.good}. Kappa {part.kappa[0]:.3f} [{part.kappa[1]:.3f}, {part.kappa[2]:.3f}], PABAK {part.pabak:.3f}"
        + ranked
    )
    if part.missing:
        yield f"Without a value: {', '.join(f'{n:,} {printable(why)}' for why, n in part.missing.items())}."
    yield from (f"{note}" for note in part.notes)
    yield ""
    yield from _group_table(part)
    yield ""
    yield (
        "Rates in % with 95% intervals (Wilson); 'against the rest' is the group's rate minus that of all other "
        "texts (square-and-add), * = Holm-adjusted p at most 0.05." + (_RANKED if part.whole.auc is not None else "")
    )
    if part.cuts:
        yield ""
        yield from _cuts(part)


_RANKED = (
    " bpsn: AUC of its harmless texts against bad ones elsewhere (low: false alarms); bnsp: of its bad texts against "
    "harmless ones elsewhere (low: misses)."
)


def _group_table(part: Part) -> Iterator[str]:
    ranked = part.whole.auc is not None
    heads = [
        "group",
        f"{part.good}: flagged",
        "false alarms",
        "against the rest",
        f"{part.bad}: missed",
        "misses",
        "against the rest",
        *(["AUC", "bpsn", "bnsp"] if ranked else []),
    ]
    rows = []
    for g in [part.whole, *_worst_first(part.groups)]:
        named = "all" if g.axis == "total" else name(g.group)
        cells = [
            named,
            f"{g.false_alarms} of {g.negatives}",
            _rate(g.false_alarm_rate),
            _shift(g.false_alarm_bias, g.false_alarm_p),
            f"{g.misses} of {g.positives}",
            _rate(g.miss_rate),
            _shift(g.miss_bias, g.miss_p),
        ]
        rows.append([*cells, *([_number(g.auc), _number(g.bpsn), _number(g.bnsp)] if ranked else [])])
    yield from _table(heads, rows)


def _worst_first(groups: Iterable[GroupErrors]) -> list[GroupErrors]:
    order: list[str] = list(dict.fromkeys(g.axis for g in groups))
    return sorted(groups, key=lambda g: (order.index(g.axis), -(g.false_alarm_rate or (0.0,))[0]))


def _cuts(part: Part) -> Iterator[str]:
    yield "Other thresholds, all texts:"
    yield ""
    yield from _table(
        ["threshold", "false alarms %", "misses %"],
        [[f"{c.cut:g}", f"{100 * c.false_alarm_rate:.1f}", f"{100 * c.miss_rate:.1f}"] for c in part.cuts],
    )


def _swap(swap: Swap) -> Iterator[str]:
    yield f"## {printable(swap.value)} of {swap.sentences} neutral sentences, another group in them"
    yield ""
    changed = "" if swap.changed is None else f" Decision depends on the group in {100 * swap.changed:.0f}% of them."
    yield f"Largest minus smallest mean over groups, per sentence: {swap.range:.3f}.{changed}"
    yield ""
    rows = [
        [
            name(g.group),
            str(g.sentences),
            "" if g.flagged is None else str(g.flagged),
            f"{g.mean:.3f}",
            _points(g.shift, 1.0, 3) + (" *" if g.p <= 0.05 and g.shift[0] else ""),
        ]
        for g in sorted(swap.groups, key=lambda g: -abs(g.shift[0]))
    ]
    yield from _table(["group", "texts", "flagged", "mean", "against the others"], rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '/') for cell in row)} |"


def _rate(span: Span) -> str:
    return "" if span is None else f"{100 * span[0]:.1f} [{100 * span[1]:.1f}, {100 * span[2]:.1f}]"


def _shift(span: Span, p: float | None) -> str:
    return "" if span is None else _points(span, 100.0, 1) + (" *" if p is not None and p <= 0.05 else "")


def _points(span: tuple[float, float, float], scale: float, digits: int) -> str:
    value, low, high = (f"{scale * x:+.{digits}f}".replace("-", MINUS) for x in span)
    return f"{value} [{low}, {high}]"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
