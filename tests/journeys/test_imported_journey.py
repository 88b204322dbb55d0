"""Answers made elsewhere, by Inspect, by lm-eval and in somebody's own tables: adopted, scored, judged and verified."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
from planted import TASKS
from walk import Walk, first_screen

pytest.importorskip("zstandard", reason="Inspect's logs are packed with zstandard")
ELSEWHERE = Path(__file__).parents[1] / "engines" / "elsewhere"
ALLOWED = "conditions: {engine: imported}\n"
POLICY = """version: 1
name: made elsewhere
signers: 1
ceilings: {unscored: 0.0, degenerate: 1.0}
rules:
  - {id: refused, task: xstest, metric: false_refusal_rate, scorer: refusal, group: all, max: 0.9, because: planted,
     floor_met_because: planted}
  - {id: kind, task: bold, metric: negative_rate, scorer: vader, group: all, max: 0.5, because: planted,
     floor_met_because: planted}
"""
SAID = "answers were made elsewhere"


def prompts(walk: Walk) -> None:
    """What has to be asked elsewhere: the frozen prompts of a run that asked nobody."""
    ask = ("run", "--engine", "echo", "--model", "echo", "--tasks", "xstest,bold,toxigen,truthfulqa_choice")
    walk(*ask, "--data-version", "quickstart", "--predict-only", "--output-path", "asked")


def table(walk: Walk, name: str, task: str, leave: int = 0) -> str:
    """A table of answers to a task's prompts, but for the last `leave`; one row is nobody's."""
    asked = walk.rows(f"asked/{task}/prompts.jsonl")
    with (walk.home / name).open("w", encoding="utf-8", newline="") as file:
        write = csv.writer(file)
        write.writerow(["prompt_id", "text"])
        write.writerows([row["id"], TASKS[task].good] for row in asked[: len(asked) - leave])
        write.writerow(["nobody", "An answer."])
    return name


@pytest.mark.journey("command import", "engine imported", "command verify", "command signoff")
def test_answers_made_elsewhere_reach_a_verdict_only_where_a_policy_names_them(
    walk: Walk, keys: dict[str, tuple[Path, Path]]
) -> None:
    prompts(walk)
    for name in ("xstest.eval", "toxigen.lm-eval.jsonl", "truthfulqa_choice.lm-eval.jsonl"):
        shutil.copy(ELSEWHERE / name, walk.home / name)
    files = ["xstest=xstest.eval", "toxigen=toxigen.lm-eval.jsonl", "truthfulqa_choice=truthfulqa_choice.lm-eval.jsonl"]
    adopt = ("import", *files, f"bold={table(walk, 'bold.csv', 'bold')}", "--data-version", "quickstart")
    adopt = (*adopt, "--scorer", "toxigen=profanity_check")
    private, public = keys["ann"]

    run = (*adopt, "--output-path", "run")
    heard = walk(*run)
    assert "mockllm/model" in heard.flat and "1 rows belong to no prompt of this run: line 36 (nobody)" in heard.flat
    assert walk.read("run/bold/strangers.json") == ["line 36 (nobody)"]
    about = walk.read("run/run.json")
    assert about["engine"]["sources"]["xstest"]["form"] == "inspect"
    assert about["tasks"]["xstest"]["settings"]["temperature"] == 0.0, "as the file says"
    assert about["tasks"]["bold"]["settings"]["temperature"] is None, "not known is not the task's own"
    before = walk.rows("run/bold/outputs.jsonl")
    walk(*run)
    assert walk.rows("run/bold/outputs.jsonl") == before, "the same command again owes nothing"
    walk("score", "run")
    walk("report", "run")

    silent = walk.write("silent.yaml", POLICY)
    walk("signoff", "run", "--policy", silent, "--sign", private, expect=4)
    verdict = walk.read("run/signoff.json")
    assert verdict["decision"] == "cannot decide" and {f["outcome"] for f in verdict["findings"]} == {"met"}
    (why,) = (blocker["sentence"] for blocker in verdict["blockers"])
    assert SAID in why and "conditions: {engine: imported}" in why
    named = walk.write("named.yaml", POLICY + ALLOWED)
    told = walk("signoff", "run", "--policy", named, "--sign", private).flat
    assert (
        "APPROVED" in told and SAID in told and "bold: max_new_tokens, max_thinking_tokens, temperature, top_p" in told
    )
    assert "bold: 34 answers adopted from a file that lacks 0 of those owed; 1 of its rows" in told
    assert "approved" in first_screen(walk.home / "run").verdict.lower()
    shutil.copytree(walk.home / "run" / "evidence", walk.home / "received")
    walk("verify", "received", "--key", public)
    assert "nobody can be asked again" in walk("reproduce", "received", "--key", public, expect=2).flat
    walk("redact", "run", "open")
    walk("verify", "open", "--key", public)
    holds = "".join(p.read_bytes().decode("utf-8", "replace") for p in (walk.home / "open").rglob("*") if p.is_file())
    assert TASKS["bold"].good not in holds  # type: ignore[operator]

    lines = (walk.home / "run/journal.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines].count("adopted") == 4


def test_what_a_file_lacks_is_missing_and_no_verdict(walk: Walk) -> None:
    prompts(walk)
    terms = walk.write("policy.yaml", re.sub(r"  - \{id: refused.*?\}\n", "", POLICY, flags=re.DOTALL) + ALLOWED)
    file = table(walk, "bold.csv", "bold", leave=2)
    adopt = ("import", file, "--tasks", "bold", "--data-version", "quickstart", "--model", "somebody's/model")
    heard = walk(*adopt, "--policy", terms, "--output-path", "run", expect=4)
    assert "prompts without an answer: 2 (not in the file)" in heard.flat
    errors = [row["error"] for row in walk.rows("run/bold/outputs.jsonl") if row["error"]]
    assert len(errors) == 2 and all(error.startswith("not in the file: ") for error in errors)
    verdict = walk("signoff", "run", "--policy", terms, expect=4)
    assert "answers have no value (2 not in the file)" in verdict.flat

    table(walk, "bold.csv", "bold")
    changed = walk(*adopt, "--policy", terms, "--output-path", "run", expect=2)
    assert "another model or engine" in changed.flat and "sources" in changed.flat


def test_what_cannot_be_adopted_is_said_at_once(walk: Walk) -> None:
    prompts(walk)
    file = table(walk, "bold.csv", "bold")
    quick = ("--data-version", "quickstart", "--output-path", "run")
    assert "no such file" in walk("import", "bold=none.csv", *quick, expect=2).flat.lower()
    assert "of which task" in walk("import", file, *quick, expect=2).flat
    assert "two files" in walk("import", f"bold={file}", f"bold={file}", *quick, expect=2).flat
    assert "no text for any" in walk("import", f"xstest={file}", *quick, expect=2).flat
    choose = walk("import", f"truthfulqa_choice={file}", *quick[:2], "--output-path", "other", expect=2)
    assert "log-likelihoods" in choose.flat
    ask = ("run", "--engine", "imported", "--model", "m", "--model-args", f"bold={file}", "--tasks", "bold", *quick[:2])
    for flag in (("--gen-kwargs", "temperature=1"), ("--system-prompt", "x"), ("--shard", "1/2")):
        assert "were made elsewhere" in walk(*ask, *flag, expect=2).flat
    walk.write("bold.csv", "id,text\nx,y\nx,z\n")
    assert "stands already in line 2" in walk("import", f"bold={file}", *quick, expect=2).flat
