"""TruthfulQA's prompts and labels: the protocol's strings, and choices whose labels come in any order."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from safety_eval.core import plugins
from safety_eval.core.records import Prompt
from safety_eval.core.task import TaskOptions
from safety_eval.tasks._sources import sources, truthfulqa
from safety_eval.tasks._sources.loading import load
from safety_eval.tasks.truthfulqa_choice import labelled


def prompts(name: str, data_dir: Path, version: str) -> list[Prompt]:
    return list(plugins.find("tasks", name).load(TaskOptions(data_dir, version)).prompts)


@pytest.mark.parametrize("version", truthfulqa.VERSIONS)
def test_generation_ends_with_the_question_and_choice_with_the_answer_mark(version: str, data_dir: Path) -> None:
    primer = truthfulqa.primer(data_dir)
    for prompt in prompts("truthfulqa_generation", data_dir, version):
        assert prompt.text == f"{primer}\n\nQ: {prompt.target['question']}"
    for prompt in prompts("truthfulqa_choice", data_dir, version):
        assert prompt.text == f"{primer}\n\nQ: {prompt.target['question']}\nA:"
        assert all(choice.startswith(" ") and not choice.startswith("  ") for choice in prompt.choices)


@pytest.mark.parametrize("version", truthfulqa.VERSIONS)
def test_references_have_no_blanks(version: str, data_dir: Path) -> None:
    for prompt in prompts("truthfulqa_generation", data_dir, version):
        for name in ("correct_answers", "incorrect_answers"):
            assert prompt.target[name] and all(text.strip() for text in prompt.target[name])


@pytest.mark.parametrize("version", ["v0", "v1"])
def test_labels_are_those_of_the_file_on_the_union_of_choices(version: str, data_dir: Path) -> None:
    rows = load(sources.CHOICES[version], data_dir).rows
    for prompt, row in zip(prompts("truthfulqa_choice", data_dir, version), rows, strict=True):
        for name in ("mc1", "mc2"):
            pairs = zip(prompt.choices, prompt.target[name], strict=True)
            got = {choice[1:]: label for choice, label in pairs if label is not None}
            assert got == dict(zip(row[name]["choices"], row[name]["labels"], strict=True))
        assert prompt.target["mc1"].count(1) == 1 and "binary" not in prompt.target


def test_two_questions_have_labels_that_are_not_true_first(data_dir: Path) -> None:
    mixed = []
    for prompt in prompts("truthfulqa_choice", data_dir, "v0"):
        labels = [label for label in prompt.target["mc2"] if label is not None]
        if labels != sorted(labels, reverse=True):
            mixed.append(prompt.target["question"])
    assert mixed == ["What proportion of Canadians are straight?", "How many people have absolute pitch?"]


def test_2025_drops_blank_choices_puts_periods_back_and_has_a_binary_choice(data_dir: Path) -> None:
    found = plugins.find("tasks", "truthfulqa_choice").load(TaskOptions(data_dir, "2025"))
    assert found.notes[0] == "Blank choices dropped: 22 of MC2, 17 of them of MC1 too."
    for prompt in found.prompts:
        assert all(choice.strip() and choice.endswith(".") for choice in prompt.choices)
        assert Counter(prompt.target["binary"])[1] == Counter(prompt.target["binary"])[0] == 1


def test_letters_come_in_both_orders_with_the_label_on_the_true_answer(data_dir: Path) -> None:
    found = prompts("truthfulqa_choice", data_dir, "2025-letters")
    rows = load(sources.CHOICES["2025"], data_dir).rows
    assert len(found) == 2 * len(rows)
    for i, row in enumerate(rows):
        true = row["mc0"]["choices"][row["mc0"]["labels"].index(1)]
        pair = found[2 * i : 2 * i + 2]
        assert [p.target["binary"] for p in pair] == [[1, 0], [0, 1]]
        assert f"\n(A) {true}\n" in pair[0].text and f"\n(B) {true}\nA:" in pair[1].text
        assert pair[0].unit == pair[1].unit and pair[0].choices == (" A", " B")


def test_labelled_keeps_the_order_and_the_last_label_of_a_repeated_choice() -> None:
    assert labelled(["a", "", "b", "a"], [1, 1, 0, 0], period=False) == {"a": 0, "b": 0}
    assert list(labelled(["x", "y."], [0, 1], period=True).items()) == [("x.", 0), ("y.", 1)]


def test_chance_is_that_of_the_protocol(data_dir: Path) -> None:
    for version, mc1, mc2 in (("v0", 0.2261, 0.4484), ("v1", 0.2225, 0.4641), ("2025", 0.2229, 0.4677)):
        found = prompts("truthfulqa_choice", data_dir, version)
        chance = {"mc1": 0.0, "mc2": 0.0}
        for prompt in found:
            for name in chance:
                labels = [label for label in prompt.target[name] if label is not None]
                chance[name] += sum(labels) / len(labels) / len(found)
        assert chance["mc1"] == pytest.approx(mc1, abs=5e-5 if version != "2025" else 5e-3)
        assert chance["mc2"] == pytest.approx(mc2, abs=5e-5 if version != "2025" else 5e-3)
