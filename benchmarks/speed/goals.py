"""What was to be reached, beside what results.json says: one line a goal, missed ones in bold."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import classifiers
import memory
from suite import BEST, NotMeasured, sides_of, times_faster

Results = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Goal:
    """One number that is wanted.

    Attributes:
        needs: the measurements that `value` reads. words: how a number is written.
        most: the number is to be at most `wanted`; else at least.
    """

    work: str
    needs: tuple[str, ...]
    value: Callable[[Results], float]
    wanted: float
    words: str = "{:.3g} times"
    most: bool = False

    def line(self, results: Results) -> str:
        """The row of the table. A measurement that is missing is no number, so it is neither reached nor missed."""
        wanted = f"at {'most' if self.most else 'least'} {self.words.format(self.wanted)}"
        if not set(self.needs) <= results.keys():
            return f"| {self.work} | {wanted} | not measured |"
        try:
            value = self.value(results)
        except NotMeasured:
            return f"| {self.work} | {wanted} | not measured |"
        found = self.words.format(value)
        reached = value <= self.wanted if self.most else value >= self.wanted
        return f"| {self.work} | {wanted} | {found if reached else f'**{found}**'} |"


def table(results: Results) -> str:
    """Goals and what was reached."""
    lines = ["### Goals, and what was reached", "", "| work | goal | reached (**missed**) |", "|---|---|---|"]
    return "\n".join([*lines, *(goal.line(results) for goal in _goals())])


def _goals() -> Iterator[Goal]:
    yield _times("TruthfulQA MC, beside lm-eval", "mc", "lm_eval", 25)
    yield Goal(
        "TruthfulQA MC, largest difference of a question's MC2 (every MC1 is asserted to be equal)",
        ("mc",),
        lambda r: _agreement(r["mc"], "lm_eval")["largest_mc2_gap"],
        1e-4,
        "{:.1e}",
        most=True,
    )
    yield _share("TruthfulQA MC", "mc", 0.8)
    yield _times("TruthfulQA generation, beside transformers", "tqa", "hf", 6)
    yield Goal(
        "TruthfulQA generation, answers that are the same",
        ("tqa",),
        lambda r: _agreement(r["tqa"], "hf")["same_answers"] / _agreement(r["tqa"], "hf")["of"],
        1,
        "{:.1%}",
    )
    for case, words, hf, vllm in (
        ("bold", "BOLD, papers' decoding, float32", 3, 1.8),
        ("bold-bf16", "BOLD, papers' decoding, bfloat16", 3, 1.8),
        ("bold-greedy", "BOLD, greedy, float32", 1.5, 0.9),
        ("bold-greedy-bf16", "BOLD, greedy, bfloat16", 1, 0.9),
    ):
        yield _times(f"{words}, beside transformers", case, "hf", hf)
        yield _times(f"{words}, beside vLLM's CPU build", case, "vllm_cpu", vllm)
        yield _share(words, case, 0.6)
    yield _share("TruthfulQA generation, float32", "tqa", 0.6)
    yield _share("ToxiGen, papers' decoding, float32", "toxigen", 0.6)
    yield from _classifier("float32", "float32, oneDNN", 6)
    yield from _classifier("mixed precision", classifiers.MIXED, 10)
    yield Goal(
        "Whole suite, beside the best peer of each part",
        ("tqa", "toxigen", "bold", "classifiers"),
        lambda r: times_faster(sides_of(r), BEST)[0],
        4,
    )
    for name, seconds in (("second start", 5), ("--help", 0.1)):
        yield Goal(
            f"Start: {name}",
            ("startup",),
            lambda r, n=name: statistics.median(r["startup"]["seconds"][n]),
            seconds,
            "{:.2f} s",
            most=True,
        )
    yield Goal(
        "Memory at 23,679 prompts against 2,000",
        ("memory",),
        lambda r: memory.growth(r["memory"]),
        1.1,
        "{:.2f} times",
        most=True,
    )


def _times(work: str, case: str, peer: str, wanted: float) -> Goal:
    def value(results: Results) -> float:
        sides = results[case]["sides"]
        times = [s["median"] for label, s in sides.items() if label.startswith(f"{peer} ")]
        if not times:
            raise NotMeasured(peer)
        return float(min(times) / sides["ours"]["median"])

    return Goal(work, (case,), value, wanted)


def _share(work: str, case: str, wanted: float) -> Goal:
    def value(results: Results) -> float:
        result = results[case]
        return float(result["limit"]["limit_seconds"] / result["sides"]["ours"]["median"])

    return Goal(f"{work}, share of the limit", (case,), value, wanted, "{:.0%}")


def _classifier(words: str, route: str, wanted: float) -> Iterator[Goal]:
    def times(results: Results) -> float:
        seconds = results["classifiers"]["seconds"]
        return statistics.median(seconds["Detoxify.predict"]) / statistics.median(seconds[route])

    yield Goal(f"Classifier, {words}, beside Detoxify.predict", ("classifiers",), times, wanted)
    what, most, shown = (
        ("labels that differ", 0, "{:.0f}") if route == classifiers.MIXED else ("largest difference", 1e-6, "{:.1e}")
    )
    yield Goal(
        f"Classifier, {words}, {what}",
        ("classifiers",),
        lambda r: r["classifiers"][what][route],
        most,
        shown,
        most=True,
    )


def _agreement(result: dict[str, Any], peer: str) -> dict[str, Any]:
    """How the peer's results compare with ours."""
    found = [x for label, x in result["agreement"].items() if label.startswith(f"{peer} ")]
    if not found:
        raise NotMeasured(peer)
    return dict(found[0])
