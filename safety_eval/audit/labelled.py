"""Texts with human labels, for auditing scorers: what people called hateful, refused, untrue or uninformative.

Each labelled text is an answer as a scorer would get it. The positive class is always the bad one.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safety_eval.core.interfaces import Answer
from safety_eval.core.records import Output, Prompt, digest, key
from safety_eval.tasks._sources import loading as data
from safety_eval.tasks._sources import sources
from safety_eval.tasks._sources.loading import Home, Named, Row, Source

XSTEST_REVISION = "d7bb5bd738c1fcbc36edd83d5e7d1b71a3e2d84d"
XSTEST_MODELS = ("llama2new", "llama2orig", "mistralinstruct")
"""Models whose answers two people labelled; further files of the same folder are the other two models."""
ANSWER = "answer"
"""Axis whose groups are what people called an answer: each holds texts of one class only."""
MODEL, LABEL = "model", "label"
"""Axes of who answered, and of what was asked: 'safe' or 'unsafe', as the tasks name it."""


def within(label: str) -> str:
    """Axis of the models' answers to the prompts of one label."""
    return f"{MODEL}, {label}"


_ANSWERS = {"1": "compliance", "2": "full refusal", "3": "partial refusal"}
_QUESTION = re.compile(r"Q: (.*?)\nA: (.*)\n(?:True|Helpful):", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Labelled:
    """One text: the answer that a scorer is given, and whether people called it bad."""

    answer: Answer
    bad: bool

    @property
    def prompt(self) -> Prompt:
        return self.answer[0]


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """Labelled texts of one kind.

    Attributes:
        kind: 'toxicity', 'refusal', 'truth' or 'information'. bad, good: the two classes in words.
        manifest: where it comes from. notes: what was left out, what to keep in mind.
    """

    kind: str
    texts: Sequence[Labelled]
    bad: str
    good: str
    manifest: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def hateful(mirror: Path | None) -> LabelledSet:
    """The 6,514 sentences of ToxiGen as annotated for SafeNLP (Hosseini et al. 2023), by the groups they name."""
    loaded = data.load(sources.SAFENLP, mirror)
    first = data.near_duplicates([row["text"] for row in loaded.rows])
    texts = []
    for row, cluster in zip(loaded.rows, first, strict=True):
        groups = {"target": tuple(sources.SAFENLP_GROUPS[name] for name in row["target_groups"])}
        prompt = Prompt("audit", f"{row['id']:04d}", groups=groups, cluster=str(loaded.rows[cluster]["id"]))
        texts.append(_labelled(prompt, row["text"], row["label"] == "hate"))
    notes = (
        "Classifiers of the ToxiGen family were trained on sentences of the same origin: their errors here "
        "are smaller than elsewhere.",
    )
    return LabelledSet("toxicity", texts, "hateful", "neutral", loaded.manifest, notes)


def refused(mirror: Path | None) -> LabelledSet:
    """Answers of three models to XSTest's 450 prompts, labelled by two people (Röttger et al. 2024)."""
    loaded = data.load(XSTEST_ANSWERS, mirror)
    texts = []
    for row in loaded.rows:
        asked = "unsafe" if row["type"].startswith("contrast") else "safe"
        label = row["final_label"][:1]
        groups = {MODEL: (row["model"],), LABEL: (asked,), within(asked): (f"{row['model']}, {asked}",)}
        groups |= {ANSWER: (_ANSWERS[label],)}
        name = f"{row['model']}-{row['id']}"
        prompt = Prompt("audit", name, text=row["prompt"], groups=groups, cluster=row["id"])
        texts.append(_labelled(prompt, row["completion"], label in "23"))
    return LabelledSet("refusal", texts, "refused (fully or partly)", "complied", loaded.manifest)


def untrue(mirror: Path | None) -> LabelledSet:
    """22,434 answers to TruthfulQA's questions labelled true or not (Lin et al. 2022), without the references."""
    return _questioned(mirror, "truth", "untrue", "true")


def uninformative(mirror: Path | None) -> LabelledSet:
    """The same answers labelled informative or not."""
    return _questioned(mirror, "information", "uninformative", "informative")


SETS: Mapping[str, Callable[[Path | None], LabelledSet]] = {
    "toxicity": hateful,
    "refusal": refused,
    "truth": untrue,
    "information": uninformative,
}


def _labelled(prompt: Prompt, text: str, bad: bool) -> Labelled:
    return Labelled((prompt, Output(key(prompt), prompt.id, text=text, stop_reason="eos")), bad)


def _questioned(mirror: Path | None, kind: str, bad: str, good: str) -> LabelledSet:
    loaded, questions = data.load(TRUTH_ANSWERS[kind], mirror), data.load(sources.QUESTIONS["v1"], mirror)
    about = {row["question"].strip(): row for row in questions.rows}
    texts, given = [], 0
    for number, row in enumerate(loaded.rows):
        known = about[row["question"].strip()]
        references = {_bare(text) for name in ("correct_answers", "incorrect_answers") for text in known[name]}
        if _bare(row["answer"]) in references:
            given += 1
            continue
        target = {name: [t for t in known[name] if t] for name in ("correct_answers", "incorrect_answers")}
        prompt = Prompt(
            "audit",
            f"{number:05d}",
            text=row["question"],
            groups={"category": (known["category"],)},
            target={"question": row["question"], **target},
            cluster=digest(row["question"])[:16],
        )
        texts.append(_labelled(prompt, row["answer"], row["label"] == "no"))
    note = f"{given:,} of {len(loaded.rows):,} answers left out: they are reference answers word for word."
    seen = "The published truth and information judges were trained on these answers: for them this is not an audit."
    return LabelledSet(kind, texts, bad, good, loaded.manifest, (note, seen))


def _bare(text: str) -> str:
    return text.strip().rstrip(".").lower()


def _xstest_rows(files: Sequence[Named]) -> list[Row]:
    rows = []
    for name, file in files:
        model = Path(name).stem.rsplit("_", 1)[1]
        with file.open(encoding="utf-8", newline="") as lines:
            kept = ("id", "type", "prompt", "completion", "final_label")
            rows += [{"model": model, **{k: row[k] for k in kept}} for row in csv.DictReader(lines, strict=True)]
    return rows


def _truth_rows(files: Sequence[Named]) -> list[Row]:
    rows = []
    for row in data.jsonl_rows(files[0][1]):
        found = _QUESTION.fullmatch(row["prompt"])
        if found is None:
            raise ValueError(f"no question and answer in {row['prompt'][:40]!r}")
        rows.append({"question": found[1], "answer": found[2], "label": row["completion"].strip()})
    return rows


XSTEST_ANSWERS = Source(
    "XSTest's labelled answers",
    (
        Home(
            "github",
            "paul-rottger/exaggerated-safety",
            XSTEST_REVISION,
            tuple(f"model_completions/xstest_v2_completions_{model}.csv" for model in XSTEST_MODELS),
        ),
    ),
    _xstest_rows,
    1350,
    "e4b51bb0a684a1a55d35c602e91b9990fdd51bb9a6e84c5ecea4506b36f8f0b3",
    "prompts CC BY 4.0; answers under the model makers' terms",
)
TRUTH_ANSWERS = {
    kind: Source(
        f"TruthfulQA's labelled answers ({kind})",
        (Home("github", "sylinrl/TruthfulQA", sources.TRUTHFULQA, (f"data/finetune_{file}.jsonl",)),),
        _truth_rows,
        22_434,
        sha256,
        "Apache-2.0",
    )
    for kind, file, sha256 in (
        ("truth", "truth", "cf4e5164f019ee3be943c7badc6dc5ffc0c740941ca0ffcf3b2f4bb0900b2ffd"),
        ("information", "info", "c7a0f82df386093619d20bb7b3ef801a0dc64ceb5b6eacae091bb0d6e5f9873b"),
    )
}
