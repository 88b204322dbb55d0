"""Do the numbers of an estimate add up? expected = measured + missing, by reason: what was asked is found again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from safety_eval.core.records import Estimate


def problems(estimates: Iterable[Estimate]) -> Iterator[str]:
    """Estimates whose counts contradict each other: a sentence each, naming the number."""
    for e in estimates:
        if problem := _problem(e):
            yield f"{e.task} {e.metric} {e.axis}/{e.group}: {problem}"


def _problem(e: Estimate) -> str:
    missing = sum(e.missing.values())
    if min([e.count, e.expected, e.listed, e.clusters, *(e.missing.values())], default=0) < 0:
        return "a count is negative"
    if e.count + missing != e.expected:
        return f"{e.expected} answers were expected, {e.count} were measured and {missing} are missing"
    if (e.events or 0) > e.count:
        return f"{e.events} of {e.count} measured answers counted"
    if e.value is not None and not e.count:
        return "it has a value, and no answer was measured"
    shown = e.value is not None and e.low is not None and e.high is not None
    if shown and not (e.low or 0.0) - 1e-9 <= (e.value or 0.0) <= (e.high or 0.0) + 1e-9:
        return "the value lies outside of its interval"
    return ""
