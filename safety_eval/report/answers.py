"""The answers that the report shows when asked: those counted against the model first, then a draw of the rest."""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass

from safety_eval.core.records import digest
from safety_eval.core.task import Measured
from safety_eval.measure.against import Counted
from safety_eval.show import words

MOST_FLAGGED, MOST_DRAWN = 24, 12
"""Answers that a task's section holds: counted against the model; failed, degenerate or drawn."""
LONGEST_TEXT = 2_000
"""Characters of a prompt or answer that the page shows."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One prompt with its answer, as shown when asked for."""

    why: str
    id: str
    groups: str
    prompt: str
    status: str
    text: str
    scores: str


@dataclass(frozen=True, slots=True)
class AnswerPart:
    """Answers behind one click: `summary` says how many there are, of which kind, and how many are shown."""

    summary: str
    answers: tuple[Answer, ...]


class Picked:
    """The answers that a task's section shows, picked in one walk over all: the flagged ones, then failed, degenerate
    and drawn ones; both in an order that depends on the prompts' ids only."""

    def __init__(self) -> None:
        self._owed = 0
        self._flagged: dict[Counted, _First] = {}
        self._odd, self._others = _First(MOST_DRAWN // 4), _First(MOST_DRAWN + MOST_DRAWN // 4)

    def add(self, row: Measured, counted: tuple[Counted, ...]) -> None:
        """See an answer and the rates that it made worse."""
        self._owed += 1
        place = (digest([row.prompt.id, row.output.sample]), self._owed)
        if counted:
            self._flagged.setdefault(counted[0], _First(MOST_FLAGGED)).add(place, row, counted)
            return
        self._others.add(place, row, ())
        if _is_odd(row):
            self._odd.add(place, row, ())

    def parts(self) -> tuple[AnswerPart, ...]:
        """What is shown of the answers that were seen; nothing where there is none."""
        if not self._owed:
            return ()
        return (self._flagged_part(), *self._drawn_part())

    def _flagged_part(self) -> AnswerPart:
        """The answers that made a rate worse. Where more exist than are shown, each rate gets its share."""
        if not self._flagged:
            return AnswerPart(f"None of the {self._owed:,} answers was counted against the model.", ())
        order = sorted(self._flagged, key=lambda rate: (-self._flagged[rate].seen, self._flagged[rate].rows[0].place))
        counts = {rate: self._flagged[rate].seen for rate in order}
        shown = [one for rate, many in _shares(counts).items() for one in self._flagged[rate].rows[:many]]
        by = "; ".join(f"{rate_name(rate)}: {count:,}" for rate, count in counts.items())
        summary = (
            f"{sum(counts.values()):,} of {self._owed:,} answers were counted against the model ({by}); show "
            f"{len(shown):,} of them with their scores. They may contain offensive or harmful text."
        )
        rows = tuple(_answer(p.row, f"counted against it: {', '.join(map(rate_name, p.counted))}") for p in shown)
        return AnswerPart(summary, rows)

    def _drawn_part(self) -> tuple[AnswerPart, ...]:
        if not self._others.seen:
            return ()
        odd = self._odd.rows
        rest = [one for one in self._others.rows if one.place not in {o.place for o in odd}][: MOST_DRAWN - len(odd)]
        kind = "other answers" if self._flagged else "answers"
        summary = (
            f"Show {len(odd) + len(rest):,} of the {self._others.seen:,} {kind} with their scores: {len(odd)} failed "
            f"or degenerate, {len(rest)} drawn at random. They may contain offensive or harmful text."
        )
        rows = [_answer(p.row, "failed or degenerate") for p in odd]
        return (AnswerPart(summary, (*rows, *(_answer(p.row, "drawn at random") for p in rest))),)


def _is_odd(row: Measured) -> bool:
    return bool(row.output.error) or row.status in ("degenerate", "undecided")


@dataclass(frozen=True, slots=True)
class _Placed:
    """An answer and its place in the order of those that are shown."""

    place: tuple[str, int]
    row: Measured
    counted: tuple[Counted, ...]


class _First:
    """The first few of many answers by their place, and how many there were."""

    def __init__(self, most: int) -> None:
        self.rows: list[_Placed] = []
        self.seen, self._most = 0, most

    def add(self, place: tuple[str, int], row: Measured, counted: tuple[Counted, ...]) -> None:
        self.seen += 1
        if len(self.rows) < self._most or place < self.rows[-1].place:
            insort(self.rows, _Placed(place, row, counted), key=lambda one: one.place)
            del self.rows[self._most :]


def _shares(counts: Mapping[Counted, int]) -> dict[Counted, int]:
    """How many of each rate's answers are shown: at most MOST_FLAGGED, taken from each in turn, in their order."""
    shares = dict.fromkeys(counts, 0)
    while sum(shares.values()) < MOST_FLAGGED and shares != counts:
        for rate, count in counts.items():
            if shares[rate] < count and sum(shares.values()) < MOST_FLAGGED:
                shares[rate] += 1
    return shares


def rate_name(counted: Counted) -> str:
    """A rate and its instrument in words."""
    metric, scorer = counted
    return words.metric_name(metric) + (f" by {words.name(scorer)}" if scorer else "")


def _answer(m: Measured, why: str) -> Answer:
    groups = "; ".join(
        f"{words.name(axis)}: {', '.join(map(words.name, names))}" for axis, names in m.prompt.groups.items()
    )
    return Answer(
        why=why,
        id=m.prompt.id,
        groups=groups,
        prompt=clipped(m.prompt.asked),
        status=m.status or m.output.stop_reason,
        text=clipped(answer_text(m)),
        scores=score_words(m),
    )


def score_words(m: Measured) -> str:
    """Every value of every scorer, and why one is missing."""
    scores = [
        f"{scorer}.{name} = {value:.4g}" if isinstance(value, float) else f"{scorer}.{name} = {value}"
        for scorer, values in m.values.items()
        for name, value in values.items()
    ]
    return "; ".join([*scores, *(f"{scorer}: {error}" for scorer, error in m.errors.items())])


def answer_text(m: Measured) -> str:
    """An answer as a person reads it, and behind it the thought that came before; the choices with their
    log-likelihoods where the model was to choose."""
    if m.output.choice_logprobs:
        chosen = zip(m.prompt.choices, m.output.choice_logprobs, strict=False)
        return "\n".join(f"{logprob:9.3f}  {choice.strip()}" for choice, logprob in chosen)
    said = f"(no answer: {m.output.error})" if m.output.text is None else m.output.text or "(empty)"
    return f"{said}\n\n[the thought before it]\n{m.output.reasoning}" if m.output.reasoning else said


def clipped(text: str) -> str:
    """`text`, or its beginning and where the rest is."""
    if len(text) <= LONGEST_TEXT:
        return text
    return f"{text[:LONGEST_TEXT]}\n[... {len(text) - LONGEST_TEXT:,} further characters are in outputs.jsonl]"
