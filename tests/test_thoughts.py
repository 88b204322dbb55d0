"""240 ways in which models of twelve families think aloud: no thought is scored, and no answer is lost."""

from __future__ import annotations

import pytest

from safety_eval.core.thoughts import BY_NAME, Family, family_of, opened_by, parted

ANSWER = "The answer is 42.\n\nIt always was."
MARKED = [f for f in BY_NAME.values() if f.name != "harmony"]


def thought(family: Family, said: str) -> str:
    return f"{family.starts[0]}{family.label}{said}{family.ends[0]}"


def read(text: str, opened: str = "") -> tuple[str, str, bool]:
    made = parted(text, family_of(text, opened), opened)
    return made.answer, made.reasoning, made.closed


def shapes(f: Family) -> dict[str, tuple[str, str, str, str, bool]]:
    """name -> (text, opening mark of the prompt, answer, thought, closed)."""
    start, end = f.starts[0] + f.label, f.ends[0]
    told = {
        "thought, answer": (f"{start}hm{end}{ANSWER}", "", ANSWER, "hm", True),
        "lines around": (f"\n{start}\nhm\n{end}\n\n{ANSWER}", "", ANSWER, "hm", True),
        "empty thought": (f"{start}\n\n{end}\n\n{ANSWER}", "", ANSWER, "", True),
        "opened by the prompt": (f"hm{end}{ANSWER}", f.starts[0], ANSWER, "hm", True),
        "opened by the prompt, lines": (f"\nhm\n\nhm\n{end}\n{ANSWER}", f.starts[0], ANSWER, "hm\n\nhm", True),
        "opened twice": (f"{start}hm{end}{ANSWER}", f.starts[0], ANSWER, "hm", True),
        "never closed": (f"{start}hm and on", "", "", "hm and on", False),
        "opened, never closed": ("hm and on", f.starts[0], "", "hm and on", False),
        "closed, nothing said": (f"{start}hm{end}", "", "", "hm", True),
        "no thought": (ANSWER, "", ANSWER, "", True),
        "a thought of many lines": (f"{start}1.\n2.\n\n3.{end}{ANSWER}", "", ANSWER, "1.\n2.\n\n3.", True),
        "a mark in the thought's words": (
            f"{start}is < or > or | it?{end}{ANSWER}",
            "",
            ANSWER,
            "is < or > or | it?",
            True,
        ),
        "a blank stays": (f"{start}hm{end} {ANSWER}", "", f" {ANSWER}", "hm", True),
        "many signs": (f"{start}äß 你好 🙂{end}{ANSWER}", "", ANSWER, "äß 你好 🙂", True),
    }
    if not f.in_words:
        two = f"{start}a{end}First.{start}b{end} Second."
        told |= {
            "two thoughts": (two, "", "First. Second.", "a\nb", True),
            "two thoughts in a row": (f"{start}a{end}{start}b{end}{ANSWER}", "", ANSWER, "a\nb", True),
            "a second, never closed": (f"{start}a{end}First.{start}b", "", "", "a\nb", False),
            "closed by a prompt nobody saw": (f"hm{end}{ANSWER}", "", ANSWER, "hm", True),
        }
    for before, behind in f.wraps:
        told[f"wrapped in {before}"] = (f"{start}hm{end}\n{before}\n{ANSWER}\n{behind}", "", ANSWER, "hm", True)
        told[f"cut in {before}"] = (f"{start}hm{end}\n{before}\n{ANSWER}", "", ANSWER, "hm", True)
    return told


CASES = [pytest.param(*case, id=f"{f.name}: {name}") for f in MARKED for name, case in shapes(f).items()]


@pytest.mark.parametrize(("text", "opened", "answer", "reasoning", "closed"), CASES)
def test_a_thought_is_told_from_the_answer(text: str, opened: str, answer: str, reasoning: str, closed: bool) -> None:
    assert read(text, opened) == (answer, reasoning, closed)


HARMONY = {
    "analysis, final": (
        "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Hello.",
        "Hello.",
        "hm",
        True,
    ),
    "final alone": ("<|channel|>final<|message|>Hello there.<|return|>", "Hello there.", "", True),
    "commentary is no answer": (
        "<|channel|>commentary<|message|>I will look.<|end|><|start|>assistant<|channel|>final<|message|>Hello.",
        "Hello.",
        "I will look.",
        True,
    ),
    "constrained": ('<|channel|>final <|constrain|>json<|message|>{"a": 1}', '{"a": 1}', "", True),
    "a call": ("<|channel|>commentary to=f <|constrain|>json<|message|>{}<|call|>", "", "{}", False),
    "analysis alone": ("<|channel|>analysis<|message|>hm and on", "", "hm and on", False),
    "two analyses": (
        "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>analysis<|message|>b<|end|>"
        "<|start|>assistant<|channel|>final<|message|>Hello.<|return|>",
        "Hello.",
        "a\nb",
        True,
    ),
    "without ends": ("<|channel|>analysis<|message|>hm<|channel|>final<|message|>Hello.", "Hello.", "hm", True),
}


@pytest.mark.parametrize(("text", "answer", "reasoning", "closed"), HARMONY.values(), ids=HARMONY)
def test_only_the_final_channel_is_the_answer(text: str, answer: str, reasoning: str, closed: bool) -> None:
    assert read(text) == (answer, reasoning, closed)


def test_there_are_as_many_cases_as_are_claimed() -> None:
    assert len(CASES) + len(HARMONY) >= 240 and len(BY_NAME) >= 12


@pytest.mark.parametrize("family", MARKED, ids=lambda f: f.name)
def test_a_prompt_that_ends_in_an_opening_mark_says_so(family: Family) -> None:
    assert opened_by(f"<|user|>hi<|assistant|>{family.starts[0]}\n") == family.starts[0]
    assert opened_by(f"{thought(family, 'hm')}\nhi") == ""


@pytest.mark.parametrize(
    "text", ["The tag <think> opens a thought.", "Use </div> here.", "Here is my answer.", "a < b > c", "[THINK] tanks"]
)
def test_an_answer_that_speaks_of_marks_is_whole(text: str) -> None:
    if not text.startswith("[THINK]"):
        assert read(text) == (text, "", True)
