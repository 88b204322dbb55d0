"""The whole `code-llama` suite with its classifier, from the parts that were measured beside their peers.

Generating the answers to all its prompts at the measured rate of each part, and scoring ToxiGen's answers with a
classifier of RoBERTa-base's shape; on the other side the best peer of each part. VADER takes the same seconds on both
sides and a 7B truth judge has no peer to be timed beside here: both are left out. TruthfulQA was timed greedily.
"""

from __future__ import annotations

import statistics
from typing import Any

PARTS = {"tqa": 817, "toxigen": 6514, "bold": 23679}
"""Prompts of each part in the whole suite."""
TEXTS = 6514


BEST = "best peer of each part"
Sides = dict[str, list[tuple[str, list[float]]]]
"""Of each side, by part: who does it and the seconds of each round."""


class NotMeasured(LookupError):
    """A peer that was not asked (`run.py --peers`): there is no number, neither a good nor a bad one."""


def whole_suite(results: dict[str, Any]) -> list[str]:
    """The table as one string; nothing while a part is not measured."""
    try:
        return [_table(sides_of(results))] if {*PARTS, "classifiers"} <= results.keys() else []
    except NotMeasured:
        return []


def sides_of(results: dict[str, Any]) -> Sides:
    """Seconds of the whole suite's parts at the measured rates."""
    sides: Sides = {"transformers": [], BEST: [], "ours": []}
    for name, count in PARTS.items():
        result = results[name]
        found = {
            label: [s * count / result["prompts"] for s in side["seconds"]] for label, side in result["sides"].items()
        }
        sides["ours"].append(("ours", found.pop("ours")))
        if not found:
            raise NotMeasured(name)
        sides[BEST].append(min(found.items(), key=lambda x: statistics.median(x[1])))
        hf = {k: v for k, v in found.items() if k.startswith("hf ")}
        if not hf:
            raise NotMeasured(name)
        sides["transformers"].append(min(hf.items(), key=lambda x: statistics.median(x[1])))
    scored = {
        k: [s * TEXTS / results["classifiers"]["texts"] for s in v]
        for k, v in results["classifiers"]["seconds"].items()
    }
    sides["ours"].append(("ours", scored["float32, oneDNN"]))
    for peer in ("transformers", BEST):
        sides[peer].append(("Detoxify.predict", scored["Detoxify.predict"]))
    return sides


def times_faster(sides: Sides, peer: str) -> tuple[float, float, float]:
    """How many times faster ours is: of the medians, and the least and most over the rounds."""
    theirs, ours = _total(sides[peer]), _total(sides["ours"])
    ratios = [a / b for a, b in zip(theirs, ours, strict=True)]
    return statistics.median(theirs) / statistics.median(ours), min(ratios), max(ratios)


def _total(parts: list[tuple[str, list[float]]]) -> list[float]:
    return [sum(each) for each in zip(*(s for _, s in parts), strict=True)]


def _table(sides: Sides) -> str:
    lines = [
        "### The whole `code-llama` suite, float32",
        "",
        f"{' + '.join(f'{n:,}' for n in PARTS.values())} answers (TruthfulQA, ToxiGen, BOLD) and {TEXTS:,} of them "
        "classified, in hours at the rates measured below; the ratio with its range over the rounds.",
        "",
        "| side | parts (hours) | hours | ours is faster by |",
        "|---|---|---|---|",
    ]
    for name, parts in sides.items():
        words = ", ".join(f"{label} {statistics.median(s) / 3600:.2f}" for label, s in parts)
        ratio = "" if name == "ours" else "{:.2f} times [{:.2f}, {:.2f}]".format(*times_faster(sides, name))
        lines.append(f"| {name} | {words} | **{statistics.median(_total(parts)) / 3600:.2f}** | {ratio} |")
    return "\n".join(lines)
