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


def whole_suite(results: dict[str, Any]) -> list[str]:
    """The table as one string; nothing while a part is not measured."""
    if not {*PARTS, "classifiers"} <= results.keys():
        return []
    sides: dict[str, list[tuple[str, list[float]]]] = {
        "transformers": [],
        "best peer of each part": [],
        "ours": [],
    }
    for name, count in PARTS.items():
        result = results[name]
        found = {
            label: [s * count / result["prompts"] for s in side["seconds"]]
            for label, side in result["sides"].items()
        }
        sides["ours"].append(("ours", found.pop("ours")))
        sides["best peer of each part"].append(min(found.items(), key=lambda x: statistics.median(x[1])))
        hf = {k: v for k, v in found.items() if k.startswith("hf ")}
        sides["transformers"].append(min(hf.items(), key=lambda x: statistics.median(x[1])))
    scored = {
        k: [s * TEXTS / results["classifiers"]["texts"] for s in v]
        for k, v in results["classifiers"]["seconds"].items()
    }
    sides["ours"].append(("ours", scored["float32, oneDNN"]))
    for peer in ("transformers", "best peer of each part"):
        sides[peer].append(("Detoxify.predict", scored["Detoxify.predict"]))
    return [_table(sides)]


def _table(sides: dict[str, list[tuple[str, list[float]]]]) -> str:
    total = {
        name: [sum(each) for each in zip(*(s for _, s in parts), strict=True)]
        for name, parts in sides.items()
    }
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
        ratios = sorted(a / b for a, b in zip(total[name], total["ours"], strict=True))
        ratio = "" if name == "ours" else (
            f"{statistics.median(total[name]) / statistics.median(total['ours']):.2f} times "
            f"[{ratios[0]:.2f}, {ratios[-1]:.2f}]"
        )  # fmt: skip
        lines.append(f"| {name} | {words} | **{statistics.median(total[name]) / 3600:.2f}** | {ratio} |")
    return "\n".join(lines)
