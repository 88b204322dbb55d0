"""What is known of the instruments that decide: what their cards say they get wrong, and what a policy asks of that.

A card lies in RUN/cards since the sign-off at the latest, and the evidence carries it along.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from safety_eval.audit import cards
from safety_eval.audit.cards import GroupErrors, Part, ScorerCard
from safety_eval.audit.known_errors import EXACT, known_errors
from safety_eval.core import plugins
from safety_eval.core.errors import SafetyEvalError
from safety_eval.core.records import parted
from safety_eval.core.store import read_json
from safety_eval.policy import Policy
from safety_eval.runs import run_file
from safety_eval.runs.run_file import RunFile
from safety_eval.signoff.asked import Asked
from safety_eval.signoff.verdict import Blocker, Finding
from safety_eval.stats.proportion import wilson

ASKED = ("min_sensitivity", "min_specificity", "card")
"""What a policy may ask of an instrument's card."""
Gating = tuple[str, str, str]
"""Task, metric and scorer of a number that a rule looked at."""


def files(folder: Path, file: RunFile) -> Iterator[str]:
    """The cards of a run's instruments, as paths inside its folder."""
    for identity in {s: i for record in file.tasks.values() for s, i in record.instruments.items()}.values():
        name = f"cards/{cards.file_name(identity)}.json"
        if read(folder / name, identity) is not None:
            yield name


def read(path: Path, identity: Mapping[str, Any]) -> ScorerCard | None:
    """The card in a file; None where there is none of exactly this instrument, or one whose limits are not those of
    its counts."""
    with suppress(SafetyEvalError, OSError):
        card = cards.from_json(read_json(path))
        same = card.digest == cards.instrument_digest(identity) == cards.instrument_digest(card.identity)
        if same and all(_adds_up(part.whole) for part in card.parts):
            return card
    return None


def _adds_up(errors: GroupErrors) -> bool:
    """Whether the rates and their limits are those of the counts."""
    sides = (
        (errors.misses, errors.positives, errors.miss_rate),
        (errors.false_alarms, errors.negatives, errors.false_alarm_rate),
    )
    for wrong, texts, rate in sides:
        if not 0 <= wrong <= texts or (rate is None) != (texts == 0):
            return False
        if rate is not None:
            limits = wilson(wrong, texts)
            wanted = (wrong / texts, limits.low, limits.high)
            if any(abs(a - b) > 1e-9 for a, b in zip(rate, wanted, strict=True)):
                return False
    return True


def keep(run: Path) -> None:
    """Copy the cards of a run's instruments that this machine has into RUN/cards."""
    with suppress(SafetyEvalError):
        for record in run_file.read(run).tasks.values():
            for identity in record.instruments.values():
                with suppress(SafetyEvalError):
                    cards.keep(run, identity)


def blockers(
    held: Mapping[str, ScorerCard], asked: Asked, policy: Policy, findings: Sequence[Finding]
) -> Iterator[Blocker]:
    """Instruments of which the policy asks more than their cards show."""
    for scorer, pins in policy.instruments.items():
        if not any(name in pins for name in ASKED):
            continue
        card = held.get(scorer)
        if card is None:
            told = f"nothing shows what the instrument {scorer} gets wrong: it has no card (safety-eval audit {scorer})"
            yield Blocker("conditions", told)
            continue
        if (wanted := pins.get("card")) is not None and wanted != cards.card_digest(card):
            yield Blocker(
                "conditions", f"other card: that of {scorer} must be {wanted}, it is {cards.card_digest(card)}"
            )
        places = dict.fromkeys((f.task, f.metric, f.scorer) for f in findings if f.scorer == scorer)
        for place in places:
            for sentence in _short(place, _parts(card, asked, place), pins):
                yield Blocker("conditions", sentence)


def _short(place: Gating, parts: Sequence[Part], pins: Mapping[str, Any]) -> Iterator[str]:
    """Where the limits of a card lie below what is asked."""
    task, metric, scorer = place
    if not parts:
        yield f"the card of {scorer} does not say how it errs in what {task} {metric} is made of"
    for part in parts:
        for name, rate in (("sensitivity", part.whole.miss_rate), ("specificity", part.whole.false_alarm_rate)):
            least = pins.get(f"min_{name}")
            shown = 0.0 if rate is None else 1 - rate[2]
            if least is not None and shown < least:
                told = f"at least {100 * shown:.1f}%, the policy wants {100 * least:g}%"
                yield f"weak instrument: by its card the {name} of {scorer} in {part.value} is {told}"


def lines(held: Mapping[str, ScorerCard], asked: Asked, findings: Sequence[Finding]) -> list[str]:
    """What the instruments that decide are known to get wrong: by their cards, else by our own audits of them."""
    told: dict[str, None] = {}
    for place in dict.fromkeys((f.task, f.metric, f.scorer) for f in findings):
        task, _, scorer = place
        if scorer and scorer not in EXACT:
            told |= dict.fromkeys(f"{task} by {scorer}: {words}" for words in _known(held, asked, place))
    return list(told)


def _known(held: Mapping[str, ScorerCard], asked: Asked, place: Gating) -> list[str]:
    task, _, scorer = place
    card = held.get(scorer)
    if card is not None and (parts := _parts(card, asked, place)):
        return [_words(part, cards.card_digest(card)) for part in parts]
    about = asked.tasks.get(task)
    identity = about.instruments.get(scorer) if about else None
    told = [known.sentence for known in known_errors(scorer, identity or {})]
    return told or [f"what it gets wrong was not measured: it has no card (safety-eval audit {scorer})"]


def _parts(card: ScorerCard, asked: Asked, place: Gating) -> list[Part]:
    """The parts of a card that are about values of which a number is made; all of them where that is not known."""
    task, metric, _ = place
    about = asked.tasks.get(task)
    if about is None or about.file or task not in plugins.names("tasks"):
        return list(card.parts)
    metrics = {m.name: m.needs for m in plugins.find("tasks", task).metrics} | {"refusal_rate": ("status",)}
    needs = metrics.get(parted(metric)[0])
    return [part for part in card.parts if needs is None or part.value in needs]


def _words(part: Part, digest: str) -> str:
    """Both error rates of a part in words."""
    whole = part.whole
    missed = f"missed {_rate(whole.miss_rate)} of {whole.positives:,} {part.bad} texts"
    flagged = f"flagged {_rate(whole.false_alarm_rate)} of {whole.negatives:,} {part.good} ones"
    return f"by its card ({digest[:12]}) {part.value} {missed} and {flagged}"


def _rate(rate: tuple[float, float, float] | None) -> str:
    if rate is None:
        return "an unknown share"
    return f"{100 * rate[0]:.0f}% ({100 * rate[1]:.1f} to {100 * rate[2]:.1f}%)"
