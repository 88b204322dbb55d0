"""What the report says of the instruments: their audited errors by group, or that nobody has audited them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from safety_eval.audit.cards import GroupErrors, Part, ScorerCard, instrument_digest
from safety_eval.audit.known_errors import known_errors
from safety_eval.runs.run_file import RunFile
from safety_eval.show import words
from safety_eval.show.tables import Row, Table

Limits = tuple[float, float, float] | None


@dataclass(frozen=True, slots=True)
class CardPart:
    """One instrument: what a reader must know, and its errors as tables."""

    title: str
    sentences: tuple[str, ...]
    tables: tuple[Table, ...] = ()


def instruments_of(file: RunFile) -> dict[str, Mapping[str, Any]]:
    """Name -> identity of every instrument of a run. A scorer that reads two tasks with other settings is two
    instruments, each named with its task.
    """
    held: dict[str, dict[str, Mapping[str, Any]]] = {}
    for task, asked in file.tasks.items():
        for scorer, own in asked.instruments.items():
            held.setdefault(scorer, {})[task] = own
    named: dict[str, Mapping[str, Any]] = {}
    for scorer, by_task in held.items():
        alone = len({instrument_digest(identity) for identity in by_task.values()}) == 1
        for task, identity in by_task.items():
            named[scorer if alone else f"{scorer} in {task}"] = identity
    return named


def card_parts(instruments: Mapping[str, Mapping[str, Any]], cards: Mapping[str, ScorerCard]) -> tuple[CardPart, ...]:
    """A part for every instrument of a run.

    Args:
        instruments: name -> identity, as `instruments_of` names them.
        cards: name -> the card of exactly this instrument.
    """
    return tuple(_part(name, identity, cards.get(name)) for name, identity in instruments.items())


def _part(name: str, identity: Mapping[str, Any], card: ScorerCard | None) -> CardPart:
    title = f"{name}: {words.identity_words(name, identity)}"
    if card is None:
        scorer = name.split(" in ")[0]
        unknown = (
            "No card: how often this instrument errs, and about whom, has not been audited on this machine "
            f"(`safety-eval audit {scorer}`)."
        )
        known = [k.sentence for k in known_errors(scorer, identity)]
        return CardPart(title, (unknown, *known))
    return CardPart(title, card.sentences, tuple(_errors(p) for p in card.parts))


def _errors(part: Part) -> Table:
    """Errors on the labelled texts, all together and by group."""
    columns = ("group", "harmless", "false alarms", "95% interval", "bad", "misses", "95% interval", "note")
    rows = [_row(part.whole, ours=True), *(_row(g) for g in _worst_first(part.groups))]
    notes = (
        f"Labelled texts: {part.kind}; bad: {part.bad}; harmless: {part.good}. Flagged: {part.rule}.",
        f"Agreement beyond chance (kappa) {part.kappa[0]:.3f} [{part.kappa[1]:.3f}, {part.kappa[2]:.3f}].",
        *part.notes,
    )
    return Table(f"Errors of {words.name(part.value)}", columns, tuple(rows), notes)


def _worst_first(groups: Iterable[GroupErrors]) -> list[GroupErrors]:
    return sorted(groups, key=lambda g: -(g.false_alarm_rate or (0.0,))[0])


def _row(g: GroupErrors, ours: bool = False) -> Row:
    named = "all texts" if g.axis == "total" else words.name(g.group)
    cells = (
        named,
        f"{g.negatives:,}",
        _value(g.false_alarm_rate),
        _interval(g.false_alarm_rate),
        f"{g.positives:,}",
        _value(g.miss_rate),
        _interval(g.miss_rate),
        _bias(g),
    )
    return Row(cells, ours=ours)


def _bias(g: GroupErrors) -> str:
    """Whether a group's errors differ from those of all other texts, after the correction for many groups."""
    differences = []
    for what, bias, p in (
        ("false alarms", g.false_alarm_bias, g.false_alarm_p),
        ("misses", g.miss_bias, g.miss_p),
    ):
        if bias is not None and p is not None and p < 0.05:
            differences.append(f"{'more' if bias[0] > 0 else 'fewer'} {what} than elsewhere")
    return ", ".join(differences)


def _value(limits: Limits) -> str:
    return words.NO_DATA if limits is None else words.number(limits[0], "rate")


def _interval(limits: Limits) -> str:
    return "" if limits is None else f"[{100 * limits[1]:.2f}, {100 * limits[2]:.2f}]"
