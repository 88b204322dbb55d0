"""How well refusal scorers agree with XSTest's human labels; writes docs/explanation/refusal-scorer.md.

    python benchmarks/fidelity/refusal_xstest.py --data DIR [--write]

Reads DIR/github/paul-rottger/exaggerated-safety/model_completions/*.csv, human labels of three or five models
(the public repository has five). The published judges' agreement is quoted, not recomputed.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safety_eval.refusal.rules import classify, cyberseceval_regex, xstest_prefix

HERE = Path(__file__).parent
FIGURES = HERE / "refusal_xstest.json"
PAGE = HERE.parents[1] / "docs" / "explanation" / "refusal-scorer.md"
FOLDER = Path("github/paul-rottger/exaggerated-safety")
MODELS = ("llama2orig", "llama2new", "mistralinstruct", "mistralguard", "gpt4")
LABELS = {"1": "comply", "2": "refuse", "3": "partial"}
REFUSED = ("refuse", "partial")

# Published judges, refused or not against the final human label: accuracy and Cohen's kappa, counted from the
# repository's own automated labels (one GPT-4 answer in 200 is no label and counts as not refused).
PUBLISHED = {
    "gpt4": {"xstest_prefix": (0.936, 0.871), "gpt-4 judge": (0.938, 0.875)},
    "llama2new": {"xstest_prefix": (0.924, 0.844), "gpt-4 judge": (0.804, 0.623)},
    "llama2orig": {"xstest_prefix": (0.893, 0.725), "gpt-4 judge": (0.793, 0.548)},
    "mistralguard": {"xstest_prefix": (0.809, 0.624), "gpt-4 judge": (0.816, 0.638)},
    "mistralinstruct": {"xstest_prefix": (0.860, 0.289), "gpt-4 judge": (0.756, 0.081)},
    "all five": {"xstest_prefix": (0.884, 0.770), "gpt-4 judge": (0.821, 0.645)},
}
HUMANS = {
    "gpt4": 0.970,
    "llama2new": 0.926,
    "llama2orig": 0.929,
    "mistralguard": 0.892,
    "mistralinstruct": 0.920,
}


@dataclass(frozen=True, slots=True)
class Labelled:
    """One answer with its final human label ('comply', 'refuse', 'partial')."""

    model: str
    number: int
    question: str
    answer: str
    human: str
    unsafe: bool = False

    @property
    def written_on(self) -> bool:
        """The rules were written with this answer in view."""
        return self.model == "llama2orig" or (self.model == "mistralinstruct" and self.number % 2 == 1)


def read(data: Path, model: str) -> list[Labelled]:
    """The 450 labelled answers of a model, [] when its file is not there."""
    path = data / FOLDER / "model_completions" / f"xstest_v2_completions_{model}.csv"
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        Labelled(
            model,
            int(r["id"].split("-")[1]),
            r["prompt"],
            r["completion"],
            LABELS[r["final_label"][0]],
            r["type"].startswith("contrast"),
        )
        for r in rows
    ]


def kappa(left: Sequence[object], right: Sequence[object]) -> float:
    """Cohen's kappa of two sequences of labels."""
    count = len(left)
    agreed = sum(a == b for a, b in zip(left, right, strict=True)) / count
    chance = sum(left.count(c) * right.count(c) for c in {*left, *right}) / count**2
    return (agreed - chance) / (1 - chance) if chance < 1 else float("nan")


def compare(human: list[bool], judged: list[bool]) -> dict[str, float]:
    """Agreement on refused-or-not: counts, accuracy, kappa, sensitivity, specificity."""
    pairs = list(zip(human, judged, strict=True))
    tp, fp = pairs.count((True, True)), pairs.count((False, True))
    fn, tn = pairs.count((True, False)), pairs.count((False, False))
    return {
        "answers": len(pairs),
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "tn": tn,
        "accuracy": (tp + tn) / len(pairs),
        "kappa": kappa(human, judged),
        "sensitivity": tp / (tp + fn),
        "specificity": tn / (tn + fp),
    }


JUDGES = {
    "default": lambda row: classify(row.question, row.answer).content,
    "xstest_prefix": lambda row: xstest_prefix(row.answer),
    "cyberseceval_regex": lambda row: cyberseceval_regex(row.answer),
}


def measure(rows: list[Labelled]) -> dict[str, dict[str, float]]:
    """Every scorer on the same answers, with the three-class agreement beside."""
    human = [row.human in REFUSED for row in rows]
    result = {}
    for name, judge in JUDGES.items():
        labels = [judge(row) for row in rows]
        result[name] = compare(human, [label in REFUSED for label in labels])
        classes = ["comply" if label == "off_topic" else label for label in labels]
        result[name]["three_class_accuracy"] = sum(a == row.human for a, row in zip(classes, rows, strict=True)) / len(
            rows
        )
    return result


def slices(data: Path) -> dict[str, list[Labelled]]:
    """The answers by model, and joined: written on, not read before the rules were fixed, all."""
    by_model = {model: rows for model in MODELS if (rows := read(data, model))}
    every = [row for rows in by_model.values() for row in rows]
    parts = dict(by_model)
    parts["mistralinstruct, unread half"] = [r for r in by_model["mistralinstruct"] if not r.written_on]
    parts["written on"] = [row for row in every if row.written_on]
    parts["unread"] = [row for row in every if not row.written_on]
    parts["all"] = every
    return parts


def _row(name: str, judges: dict[str, dict[str, float]]) -> str:
    own, prefix, regex = (judges[judge] for judge in JUDGES)  # in the order of JUDGES
    gpt4 = PUBLISHED[name]["gpt-4 judge"][1] if name in PUBLISHED else None
    cells = [
        name,
        f"{own['answers']:.0f}",
        f"**{own['kappa']:.3f}**",
        f"{own['sensitivity']:.3f}",
        f"{own['specificity']:.3f}",
        f"{prefix['kappa']:.3f}",
        f"{regex['kappa']:.3f}",
        f"{gpt4:.3f}" if gpt4 is not None else "",
        f"{HUMANS[name]:.3f}" if name in HUMANS else "",
        f"{own['three_class_accuracy']:.3f}",
    ]
    return "| " + " | ".join(cells) + " |"


def page(figures: dict[str, dict[str, dict[str, float]]]) -> str:
    """The documentation page, with the figures filled in."""
    template = (HERE / "refusal_xstest.md").read_text(encoding="utf-8")
    names = {"all": "all five" if figures["all"]["default"]["answers"] == 2250 else "all"}
    rows = "\n".join(_row(names.get(name, name), judges) for name, judges in figures.items())
    return template.replace("{table}", rows)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--write", action="store_true", help="write the figures and the page")
    given = options.parse_args()
    figures = {name: measure(rows) for name, rows in slices(given.data).items() if rows}
    for name, judges in figures.items():
        for judge, value in judges.items():
            shown = ("answers", "kappa", "accuracy", "sensitivity", "specificity", "three_class_accuracy")
            print(f"{name:30s} {judge:20s}", *(f"{key} {value[key]:.3f}" for key in shown))
    if given.write:
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        PAGE.write_text(page(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
