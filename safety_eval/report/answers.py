"""The answers that the report shows when asked: those counted against the model first, then a draw of the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
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


def answer_parts(measured: Sequence[Measured], against: Sequence[tuple[Counted, ...]]) -> tuple[AnswerPart, ...]:
    """The flagged answers, then failed, degenerate and drawn ones; both in an order that depends on the prompts' ids
    only.

    Args:
        measured: every owed answer of a task.
        against: for each of them the rates that it made worse.
    """
    if not measured:
        return ()
    pairs = list(zip(measured, against, strict=True))
    pairs.sort(key=lambda pair: digest([pair[0].prompt.id, pair[0].output.sample]))
    rates = [counted[0] for _, counted in pairs if counted]
    most_counted = [rate for rate, _ in Counter(rates).most_common()]
    flagged = sorted((p for p in pairs if p[1]), key=lambda p: most_counted.index(p[1][0]))
    others = [row for row, counted in pairs if not counted]
    return (_flagged(flagged, len(measured)), *_drawn(others, bool(flagged)))


def _flagged(flagged: Sequence[tuple[Measured, tuple[Counted, ...]]], owed: int) -> AnswerPart:
    """The answers that made a rate worse. Where more exist than are shown, each rate gets its share."""
    if not flagged:
        return AnswerPart(f"None of the {owed:,} answers was counted against the model.", ())
    counts = Counter(counted[0] for _, counted in flagged)
    shown = _shares(flagged)
    by = "; ".join(f"{rate_name(rate)}: {count:,}" for rate, count in counts.items())
    summary = (
        f"{len(flagged):,} of {owed:,} answers were counted against the model ({by}); show {len(shown):,} of them "
        "with their scores. They may contain offensive or harmful text."
    )
    rows = tuple(_answer(row, f"counted against it: {', '.join(map(rate_name, c))}") for row, c in shown)
    return AnswerPart(summary, rows)


def _shares(
    flagged: Sequence[tuple[Measured, tuple[Counted, ...]]],
) -> list[tuple[Measured, tuple[Counted, ...]]]:
    """At most MOST_FLAGGED, taken from each rate in turn, in their order."""
    waiting: dict[Counted, list[int]] = {}
    for i, (_, counted) in enumerate(flagged):
        waiting.setdefault(counted[0], []).append(i)
    taken: list[int] = []
    while len(taken) < MOST_FLAGGED and any(waiting.values()):
        for queue in waiting.values():
            if queue and len(taken) < MOST_FLAGGED:
                taken.append(queue.pop(0))
    return [flagged[i] for i in sorted(taken)]


def rate_name(counted: Counted) -> str:
    """A rate and its instrument in words."""
    metric, scorer = counted
    return words.metric_name(metric) + (f" by {words.name(scorer)}" if scorer else "")


def _drawn(others: Sequence[Measured], some_flagged: bool) -> tuple[AnswerPart, ...]:
    if not others:
        return ()
    odd = [m for m in others if m.output.error or m.status in ("degenerate", "undecided")][: MOST_DRAWN // 4]
    rest = [m for m in others if m not in odd][: MOST_DRAWN - len(odd)]
    kind = "other answers" if some_flagged else "answers"
    summary = (
        f"Show {len(odd) + len(rest):,} of the {len(others):,} {kind} with their scores: {len(odd)} failed or "
        f"degenerate, {len(rest)} drawn at random. They may contain offensive or harmful text."
    )
    rows = [_answer(m, "failed or degenerate") for m in odd] + [_answer(m, "drawn at random") for m in rest]
    return (AnswerPart(summary, tuple(rows)),)


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
