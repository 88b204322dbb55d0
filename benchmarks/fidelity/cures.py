"""Which cures the shipped false-refusal intents can see: power of `net_cure`, written into false-refusals.md.

python benchmarks/fidelity/cures.py [RUNS]        rewrites that part of the page, nothing else

A model refuses at a base rate that differs between trigger words (Beta, intra-class correlation 0.3); a rewording cures
a share of the refusals and breaks nothing. Seen = the 95% interval of `net_cure` lies above zero. The first row of each
table cures nothing: it is the error.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np

from safety_eval.stats.paired import paired_rate
from safety_eval.tasks._sources import intents
from safety_eval.tasks.false_refusals import TASK

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "false-refusals.md"
BEGIN, END = "<!-- cures.py begins -->", "<!-- cures.py ends -->"
ICC = 0.3
BASES, CURED = (0.02, 0.05, 0.1, 0.2), (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)


def power(words: list[str], base: float, cured: float, runs: int) -> float:
    """Share of runs in which a rewording that cures so many refusals is shown to cure any."""
    rng = np.random.default_rng(1)
    codes = np.unique(words, return_inverse=True)[1]
    rows = np.repeat(codes, TASK.samples)
    seen = 0
    for _ in range(runs):
        own = 1 / ICC - 1
        rate = rng.beta(base * own, (1 - base) * own, codes.max() + 1)[rows]
        first = rng.random(rows.size) < rate
        then = rng.random(rows.size) < rate * (1 - cured)
        seen += paired_rate(then.astype(float), first.astype(float), rows).high < 0
    return seen / runs


def page(runs: int) -> str:
    chosen = intents.shipped()
    words = [i.benign.trigger for i in chosen]
    sizes = Counter(words)
    kish = len(words) ** 2 / sum(n * n for n in sizes.values())
    head = "| refused at first | " + " | ".join(f"{100 * c:g}% cured" for c in CURED) + " |\n"
    rows = [
        f"| {100 * base:g}% | " + " | ".join(f"{power(words, base, cured, runs):.2f}" for cured in CURED) + " |\n"
        for base in BASES
    ]
    return (
        f"{len(words)} intents over {len(sizes)} trigger words (as {kish:.0f} of equal weight), "
        f"{TASK.samples} samples; "
        f"`python benchmarks/fidelity/cures.py {runs}`, intra-class correlation {ICC:g} within a trigger word. Chance "
        "that `net_cure` is shown to be above zero:\n\n" + head + "|---|" + "---|" * len(CURED) + "\n" + "".join(rows)
    )


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    made = page(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
    PAGE.write_text(f"{text.split(BEGIN)[0]}{BEGIN}\n{made}{END}{text.split(END)[-1]}", encoding="utf-8")
