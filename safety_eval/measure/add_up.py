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
    return ""
