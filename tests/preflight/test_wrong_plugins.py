"""A plugin file that is wrong is told before the first token, with its file and line, exit 2; nothing is lost.

The file is the how-to's own, so that what is broken here once worked.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from safety_eval.cli import main
from safety_eval.core import plugins
from safety_eval.core.task import TaskOptions
from safety_eval.runs import probe

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "add-a-benchmark.md"
LETTERS = re.findall(r"```python\n(.*?)```", HOW_TO.read_text(encoding="utf-8"), re.S)[0]
SCORER = """
from safety_eval.core.interfaces import ScorerEntry
from safety_eval.core.records import Score, key

class Length:
    identity = {"name": "length"}
    def score(self, answers):
        for prompt, output in answers:
            yield Score(key(output), prompt.id, output.sample, "length", {"sentiment_answer": 0.5})
    def close(self):
        pass

SCORER = ScorerEntry(build=lambda spec: Length(), offers=lambda args: frozenset({"sentiment_answer"}))
"""


def run(tmp_path: Path, name: str, *more: object) -> int:
    return main(
        [
            "run",
            "--model",
            "echo",
            "--tasks",
            str(tmp_path / name),
            "--output-path",
            str(tmp_path / "r"),
            *map(str, more),
        ]
    )


def line(text: str, part: str) -> int:
    return next(number for number, row in enumerate(text.splitlines(), 1) if part in row)


def test_the_file_of_the_how_to_runs(tmp_path: Path) -> None:
    (tmp_path / "letters.py").write_text(LETTERS)
    assert run(tmp_path, "letters.py") == 0


FAULTS = {
    "syntax error": (
        "def load(options: TaskOptions) -> PromptSet:",
        "def load(options: TaskOptions -> PromptSet:",
        "def load(",
        "invalid syntax",
    ),
    "exception at import": (
        "def sentiment(",
        "NAMES['third'][0]\n\n\ndef sentiment(",
        "NAMES['third']",
        "KeyError: 'third'",
    ),
    "the program is ended": (
        "def sentiment(",
        "raise SystemExit(0)\n\n\ndef sentiment(",
        "raise SystemExit(0)",
        "SystemExit: 0",
    ),
    "unknown field": ('    title="Letters",', '    titel="Letters",', "TASK = Task(", "titel"),
    "another name": (
        '    name="letters",',
        '    name="leters",',
        'name="leters"',
        "the file is called 'letters', its TASK 'leters'",
    ),
    "prompt of another task": (
        '            task="letters",',
        '            task="briefe",',
        'task="briefe"',
        "is of task 'briefe'",
    ),
    "mistyped axis": (
        '            axes=("name",),',
        '            axes=("nmae",),',
        'axes=("nmae"',
        "Did you mean 'name'?",
    ),
    "mistyped level": (
        'Headline("macro", ("name",))',
        'Headline("macro", ("nam",))',
        '("nam",)',
        "Did you mean 'name'?",
    ),
    "mistyped limit axis": (
        'limit_axis="name"',
        'limit_axis="names"',
        'limit_axis="names"',
        "Did you mean 'name'?",
    ),
    "axis as text": (
        '            axes=("name",),',
        '            axes="name",',
        "",
        "Write a tuple: axes=('name',)",
    ),
    "group as text": (
        'groups={"name": (group,)}',
        'groups={"name": group}',
        "",
        "where a tuple of names is meant",
    ),
    "unknown setting": (
        '"temperature": 0.7',
        '"temperatur": 0.7',
        '"temperatur"',
        "Did you mean 'temperature'?",
    ),
    "setting of another kind": ('"temperature": 0.7', '"temperature": "hot"', '"temperature"', "is 'hot'"),
    "unknown value": (
        'needs=("sentiment_answer",)',
        'needs=("sentimnt_answer",)',
        'needs=("sentimnt',
        "Did you mean 'sentiment_answer'?",
    ),
    "exception in load": (
        "    return PromptSet(prompts",
        "    prompts[0].wording\n    return PromptSet(prompts",
        "prompts[0].wording",
        "AttributeError",
    ),
    "no prompt set": (
        '    return PromptSet(prompts, options.version or "1", {"source": "letters.py"})',
        "    return prompts",
        "",
        "Give back a PromptSet",
    ),
    "exception in measure": (
        'values["sentiment_answer"]',
        'values["sentiment"]',
        'values["sentiment"]',
        "KeyError: 'sentiment'",
    ),
    "measure gives text": (
        'return float(values["sentiment_answer"])',
        'return "good"',
        "",
        "which is not a number",
    ),
    "a rate that is none": ('            kind="mean",\n', "", "", "A rate measures 0 or 1"),
    "exception in where": (
        '            axes=("name",),',
        '            axes=("name",),\n            where=lambda prompt: prompt.factors["x"] == 1,',
        "where=lambda",
        "KeyError: 'x'",
    ),
}
"""Fault -> (right, wrong, a part of the line that is named ('' = any), words of the message)."""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_task_file_is_told_with_its_line_before_the_first_token(
    fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right, wrong, part, words = FAULTS[fault]
    assert LETTERS.count(right) == 1
    text = LETTERS.replace(right, wrong)
    (tmp_path / "letters.py").write_text(text)
    assert run(tmp_path, "letters.py") == 2
    said = capsys.readouterr().err
    assert words in said and "Traceback" not in said, said
    named = re.search(r"letters\.py, line (\d+)", said)
    assert named is not None, said
    assert not part or int(named.group(1)) == line(text, part), said
    assert not list((tmp_path / "r").rglob("outputs.jsonl"))


def test_an_exception_in_measure_that_only_an_answer_brings_out_is_told_and_nothing_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = 'return 1.0 / (output.text.count("complains") - 1)'
    text = LETTERS.replace('return float(values["sentiment_answer"])', wrong)
    (tmp_path / "letters.py").write_text(text)
    assert run(tmp_path, "letters.py") == 2
    said = capsys.readouterr().err
    assert f"letters.py, line {line(text, wrong)}" in said and "ZeroDivisionError" in said
    assert "Traceback" not in said and "on prompt '" in said
    answers = (tmp_path / "r" / "letters" / "outputs.jsonl").read_bytes()
    (tmp_path / "letters.py").write_text(LETTERS)
    assert run(tmp_path, "letters.py") == 0
    assert (tmp_path / "r" / "letters" / "outputs.jsonl").read_bytes() == answers


SCORER_FAULTS = {
    "syntax error": ("def close(self):", "def close(self:", "was never closed"),
    "no entry": ("SCORER = ScorerEntry", "SCORERS = ScorerEntry", "holds no SCORER"),
    "entry of another kind": ("SCORER = ScorerEntry(", "SCORER = dict(", "holds a dict as SCORER"),
    "exception in offers": (
        'lambda args: frozenset({"sentiment_answer"})',
        'lambda args: args["x"]',
        "KeyError: 'x'",
    ),
    "exception in build": ("build=lambda spec: Length()", "build=lambda spec: Length(1)", "TypeError"),
    "value of another name": (
        'frozenset({"sentiment_answer"})',
        'frozenset({"sentiment_anser"})',
        "sentiment_anser",
    ),
}


@pytest.mark.parametrize("fault", SCORER_FAULTS)
def test_a_wrong_scorer_file_is_told_before_the_first_token(
    fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right, wrong, words = SCORER_FAULTS[fault]
    assert SCORER.count(right) == 1
    (tmp_path / "letters.py").write_text(LETTERS)
    (tmp_path / "length.py").write_text(SCORER.replace(right, wrong))
    assert run(tmp_path, "letters.py", "--scorer", f"letters={tmp_path / 'length.py'}") == 2
    said = capsys.readouterr().err
    assert words in said and "length.py" in said and "Traceback" not in said, said
    assert not list((tmp_path / "r").rglob("outputs.jsonl"))


def test_a_scorer_file_scores_and_writes_into_the_run_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "letters.py").write_text(LETTERS)
    (tmp_path / "length.py").write_text(SCORER)
    before = {p for p in tmp_path.rglob("*") if not p.is_relative_to(tmp_path / "r")}
    assert run(tmp_path, "letters.py", "--scorer", f"letters={tmp_path / 'length.py'}") == 0
    after = {p for p in tmp_path.rglob("*") if not p.is_relative_to(tmp_path / "r") and "__pycache__" not in p.parts}
    assert after == before, "a scorer's path is not a name of a file outside the run folder"
    assert [p.name for p in (tmp_path / "r" / "letters" / "scores").glob("*.jsonl")] == ["length.jsonl"]


@pytest.mark.parametrize("name", plugins.names("tasks"))
def test_our_own_tasks_pass_what_is_asked_of_others(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it were somebody's own file, so that no rule refuses what is right."""
    task = plugins.find("tasks", name)
    version = "quickstart" if "quickstart" in task.versions else None
    if version is None:
        pytest.skip("needs its data")
    monkeypatch.setattr("safety_eval.core.faults._PACKAGE", Path("/nowhere"))
    probe.settings(task)
    probe.needs(task, [])
    probe.prompts(task, task.load(TaskOptions(version=version)))
