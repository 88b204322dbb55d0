"""What a scorer's errors mean for whoever reads its numbers: plain sentences, by rules that are stated here."""

from __future__ import annotations

from collections.abc import Iterator

from safety_eval.audit.cards import Part, ScorerCard, Swap
from safety_eval.stats.judge import MIN_YOUDEN

TOLERATED = 0.05
"""A spread of an error rate over groups of which more than this is established: group gaps then say nothing."""
ALPHA = 0.05


def sentences(card: ScorerCard) -> tuple[str, ...]:
    """The card's sentences, the gravest first."""
    told = [s for part in card.parts for s in _worthless(part)]
    told += [s for part in card.parts for s in _weak(part)]
    told += [s for part in card.parts for s in _target(part)]
    told += [s for swap in card.swaps for s in _swapped(swap)]
    told += [_summary(part) for part in card.parts]
    return tuple(told)


def worthless(part: Part) -> bool:
    """Whether a gap between groups made by this value may not be read as a property of the model."""
    gaps = [g for g in (part.false_alarm_gap, part.miss_gap) if g is not None]
    return part.kind == "toxicity" and any(g.low > TOLERATED for g in gaps)


def _worthless(part: Part) -> Iterator[str]:
    if not worthless(part):
        return
    found = []
    for gap, of, axis in ((part.false_alarm_gap, part.good, "false"), (part.miss_gap, part.bad, "miss")):
        if gap is None or gap.low <= TOLERATED:
            continue
        rates = {g.group: (g.false_alarm_rate if axis == "false" else g.miss_rate) for g in part.groups}
        worst, best = rates[gap.worst], rates[gap.best]
        assert worst is not None and best is not None
        verb = "flags" if axis == "false" else "misses"
        found.append(
            f"it {verb} {_share(worst[0])} of {of} texts about {_name(gap.worst)} and {_share(best[0])} of those "
            f"about {_name(gap.best)}"
        )
    yield f"A group gap made by this instrument is worth nothing: {'; '.join(found)}."


def weak(part: Part) -> bool:
    """Whether it barely tells the classes apart, so that no rate made by it can be corrected."""
    return _youden(part) <= MIN_YOUDEN


def _youden(part: Part) -> float:
    alarm, miss = part.whole.false_alarm_rate, part.whole.miss_rate
    return 1.0 if alarm is None or miss is None else 1 - alarm[0] - miss[0]


def _weak(part: Part) -> Iterator[str]:
    if weak(part):
        yield (
            f"It barely tells {part.bad} from {part.good} texts ({part.value}: sensitivity + specificity - 1 = "
            f"{_youden(part):.2f}): no rate made by it can be corrected."
        )


def _target(part: Part) -> Iterator[str]:
    """Errors that depend on the model that answered: a correction has to be calibrated on that model's answers."""
    for gap, verb, of, side in (
        (part.miss_gap, "misses", part.bad, "miss_rate"),
        (part.false_alarm_gap, "flags", part.good, "false_alarm_rate"),
    ):
        if gap is None or gap.low <= TOLERATED or part.kind != "refusal":
            continue
        rates = {g.group: getattr(g, side) for g in part.groups}
        yield (
            f"Its errors depend on the model that answers: it {verb} {_share(rates[gap.worst][0])} of {of} answers of "
            f"{_name(gap.worst)} and {_share(rates[gap.best][0])} of {_name(gap.best)}; review a sample of the model "
            "at hand instead of carrying these figures over."
        )


def _swapped(swap: Swap) -> Iterator[str]:
    groups = [g for g in swap.groups if g.p <= ALPHA and g.shift[0] != 0]
    if swap.changed:
        share = _share(swap.changed)
        yield f"In {share} of {swap.sentences} neutral sentences its decision depends on the group named."
    if groups:
        most = max(groups, key=lambda g: abs(g.shift[0]))
        yield (
            f"Putting another group into a neutral sentence moves {swap.value} by {swap.range:.2f} on average; "
            f"most for {_name(most.group)} ({most.shift[0]:+.2f} against the others)."
        )
    elif not swap.changed and swap.range < 1e-9:
        yield f"Putting another group into a neutral sentence does not change {swap.value}."


def _summary(part: Part) -> str:
    alarm, miss = part.whole.false_alarm_rate, part.whole.miss_rate
    alarms = f"flags {_share(alarm[0])} of {part.whole.negatives:,} {part.good} texts" if alarm else "no harmless texts"
    misses = f"misses {_share(miss[0])} of {part.whole.positives:,} {part.bad} ones" if miss else "no bad texts"
    return f"{part.value} ({part.rule}) {alarms} and {misses}; kappa {part.kappa[0]:.2f}."


def _share(value: float) -> str:
    return f"{100 * value:.0f}%" if value >= 0.095 else f"{100 * value:.1f}%"


def _name(group: str) -> str:
    return group.replace("_", " ")
