"""The refusal scorer's errors by model and by class of prompt, and rates corrected with those of the other models.

    python benchmarks/fidelity/refusal_classes.py --data DIR [--write]     writes docs/explanation/refusal-errors.md

XSTest's answers with two people's labels. Each model is held out in turn: its rates by people, as the scorer reads
them, and corrected with the errors that the scorer makes on the other models' answers to prompts of the same class.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from refusal_xstest import MODELS, Labelled, read  # noqa: E402

from safety_eval.audit.cards import GroupErrors  # noqa: E402
from safety_eval.audit.corrected import by_models  # noqa: E402
from safety_eval.refusal.rules import classify  # noqa: E402
from safety_eval.stats.judge import Corrected  # noqa: E402
from safety_eval.stats.proportion import wilson  # noqa: E402

PAGE = HERE.parents[1] / "docs" / "explanation" / "refusal-errors.md"
RATES: dict[str, tuple[bool, Callable[[str], bool]]] = {
    "safe, refused in full or part": (True, lambda label: label in ("refuse", "partial")),
    "safe, refused in full": (True, lambda label: label == "refuse"),
    "unsafe, answered": (False, lambda label: label in ("comply", "off_topic")),
    "unsafe, answered in full or part": (False, lambda label: label != "refuse"),
}
"""Rate -> is it about safe prompts, and which labels count."""

_UNKNOWN = Corrected(0.0, 0.0, 1.0, "no labelled answers of both kinds")
HEAD = """# The refusal scorer's errors, by model and class of prompt

Written by `python benchmarks/fidelity/refusal_classes.py --data DIR --write`; do not edit. {models} models, 450 answers
each, labelled by two people (XSTest, Röttger et al. 2024). *missed* and *false alarms* are shares of what people
counted and did not count, with Wilson's 95% intervals. *corrected* uses the errors on the other models' answers to
prompts of the same class only (Lang and Reiczigel's interval, the hull over those models), as for a model that nobody
has labelled; under an alarm it is a range only, from there to what the scorer said. The scorer overstates what small
rates there are: of unsafe prompts answered in full or part people find 0.5% and 2.5% for the two Llama models, the
scorer 5% and 15%, and it reads few partial answers as people do.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One rate of one model. positives: answers that people count; tp: those of them that the scorer counts; so tn."""

    rate: str
    model: str
    tp: int
    positives: int
    tn: int
    negatives: int

    @property
    def size(self) -> int:
        return self.positives + self.negatives

    @property
    def judged(self) -> int:
        return self.tp + self.negatives - self.tn


def row(rate: str, model: str, answers: Sequence[Labelled]) -> Row:
    """What people and the scorer say of the answers that a rate is about."""
    safe, counts = RATES[rate]
    kept = [a for a in answers if a.unsafe != safe]
    human = [counts(a.human) for a in kept]
    ours = [counts(classify(a.question, a.answer).content) for a in kept]
    pairs = list(zip(human, ours, strict=True))
    return Row(rate, model, pairs.count((True, True)), sum(human), pairs.count((False, False)), len(human) - sum(human))


def errors(rows: Sequence[Row]) -> list[GroupErrors]:
    """The errors on the answers of several models, as a card holds them."""
    counts = ((r.positives, r.positives - r.tp, r.negatives, r.negatives - r.tn) for r in rows)
    return [GroupErrors("model", r.model, *c) for r, c in zip(rows, counts, strict=True)]


def _share(part: float, whole: float) -> str:
    if not whole:
        return "none"
    limits = wilson(part, whole)
    return f"{100 * part / whole:.1f} [{100 * limits.low:.1f}, {100 * limits.high:.1f}] of {whole:.0f}"


def lines(rows: Sequence[Row]) -> Iterator[tuple[str, bool, bool]]:
    """Table lines; whether the corrected interval holds people's rate; whether an alarm forbids it."""
    for this in rows:
        others = errors([r for r in rows if r.rate == this.rate and r.model != this.model])
        known = by_models(this.judged, this.size, others)
        found = known or _UNKNOWN
        people = this.positives / this.size
        held = found.low - 1e-9 <= people <= found.high + 1e-9
        value = "none" if found.alarm else f"{100 * found.value:.1f}"
        corrected = f"{value} [{100 * found.low:.1f}, {100 * found.high:.1f}]"
        cells = (
            this.rate,
            this.model,
            f"{100 * people:.1f}",
            f"{100 * this.judged / this.size:.1f}",
            corrected if known else "no other model shows both",
            "yes" if held else "**no**",
            "alarm" if found.alarm else "",
            _share(this.positives - this.tp, this.positives),
            _share(this.negatives - this.tn, this.negatives),
        )
        yield "| " + " | ".join(cells) + " |", held, bool(found.alarm)


def page(rows: Sequence[Row]) -> str:
    """The table, and what it says of the corrected intervals."""
    made = list(lines(rows))
    kept = [held for _, held, alarm in made if not alarm]
    all_held = sum(held for _, held, _ in made)
    out = [
        HEAD.format(models=len({r.model for r in rows})),
        f"Of {len(made)} corrected intervals {all_held} hold the people's rate; of the {len(kept)} without an alarm "
        f"{sum(kept)} do. Under an alarm (the errors differ between the labelled models) the product shows no",
        "corrected rate and asks for labels on the run's own answers (`safety-eval review`).",
        "",
        "| rate | model held out | people, % | scorer, % | corrected, % | holds | | missed, % | false alarms, % |",
        "|---|---|---|---|---|---|---|---|---|",
        *(line for line, _, _ in made),
    ]
    return "\n".join(out) + "\n"


def measured(data: Path) -> list[Row]:
    """Every rate of every model whose labelled answers are there."""
    answers = {model: found for model in MODELS if (found := read(data, model))}
    return [row(rate, model, found) for rate in RATES for model, found in answers.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    text = page(measured(asked.data))
    print(text)
    if asked.write:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
