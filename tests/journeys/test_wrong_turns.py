"""Where a person goes wrong or is led astray: stopped before the first token, or told what a number is not."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from planted import ASK_XSTEST, NO_EMBEDDING, SILENT, TASKS, policy, script
from walk import Walk, first_screen, page_words

ECHO = ("run", "--engine", "echo", "--model", "echo")
QUICK = ("--data-version", "quickstart")
OWN_TASK = '''"""A task of one's own."""
from safety_eval.core.records import Prompt
from safety_eval.core.task import Metric, PromptSet, ScorerChoice, Task

def load(options):
    prompts = [Prompt("letters", str(i), text=f"Day {i} was", groups={"half": ("ab"[i % 2],)}) for i in range(24)]
    return PromptSet(prompts, "1", {"source": "a test"})

def gloomy(prompt, output, values):
    return float(values["sentiment_answer"] < -0.3)

TASK = Task(
    name="letters", title="Letters", paper="", kind="generate", load=load, versions=("1",),
    settings={"max_new_tokens": 16}, scorers=(ScorerChoice("vader"),),
    metrics=(Metric("gloomy", ("sentiment_answer",), gloomy, axes=("half",)),),
)
'''
MISTAKES = {
    "syntax": ("def load(options):", "def load(options:", "line"),
    "setting": ('"max_new_tokens"', '"max_token"', "max_token"),
    "axis": ('axes=("half",)', 'axes=("hlaf",)', "hlaf"),
    "name": ('"letters"', '"postcards"', "postcards"),
    "load": ("    prompts = [", "    raise RuntimeError('no paper left')\n    prompts = [", "no paper left"),
    "measure": ('values["sentiment_answer"] <', 'values["sentimental"] <', "sentimental"),
}


@pytest.mark.journey("command run", "task letters")
def test_a_task_of_ones_own_is_walked_to_a_verdict(walk: Walk) -> None:
    walk.write("letters.py", OWN_TASK)
    walk.write("m.json", json.dumps([{"answer": "a lovely and happy day for everybody."}]))
    rule = "{id: gloom, task: letters, metric: gloomy, group: all, max: 0.5, because: planted, floor_met_because: own}"
    head = "version: 1\nname: own\nregistered: true\nsigners: 0\nceilings: {unscored: 0.02, degenerate: 0.5}\nrules:"
    terms = walk.write("policy.yaml", f"{head}\n  - {rule}\n")
    ask = ("run", "--engine", "echo", "--model", "m.json", "--tasks", "letters.py", "--output-path", "run")
    walk(*ask, "--policy", terms)
    walk("signoff", "run", "--policy", terms)
    assert first_screen(walk.home / "run").verdict.lower().startswith("approved")
    refused = walk("verify", "run", expect=4)
    assert "letters.py" in refused.flat
    assert "approved" in walk("verify", "run", "--own-tasks").flat


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_task_file_is_named_before_the_first_token(walk: Walk, mistake: str) -> None:
    right, wrong, naming = MISTAKES[mistake]
    assert right in OWN_TASK
    walk.write("letters.py", OWN_TASK.replace(right, wrong))
    ask = (*ECHO, "--tasks", "letters.py", "--output-path", "run")
    heard = walk.stops(f"mistake {mistake}", *ask, naming=("letters.py", naming))
    assert "bug in safety-eval" not in heard.flat


@pytest.mark.parametrize("engine", ["vllm", "llama_cpp", "nothing"])
def test_another_engine_is_never_put_in_its_place(walk: Walk, engine: str) -> None:
    """`--model vllm --model_args pretrained=M` is how other harnesses name an engine; it was transformers that ran."""
    ask = ("run", "--model", engine, "--model_args", "pretrained=nobody/model", "--tasks", "bold", *QUICK)
    walk.stops(f"engine {engine}", *ask, "--output-path", "run", naming=(engine,))


def test_a_dry_run_refuses_what_no_engine_can_run(walk: Walk) -> None:
    ask = ("run", "--model", "no-such-folder/model", "--tasks", "bold", *QUICK, "--dry-run")
    walk.stops("dry run", *ask, naming=("no-such-folder/model",))


def test_settings_may_be_written_as_people_write_them(walk: Walk) -> None:
    config = "model: echo\nengine: echo\ntasks: bold\ndata_version: quickstart\nbatch_size: 8\nlimit: 6\n"
    walk("run", "--config", walk.write("run.yaml", config), "--output-path", "yaml")
    walk(*ECHO, "--tasks", "bold", *QUICK, "--limit", "6", "--batch_size", "8", "--output_path", "flags")
    python = (
        "import safety_eval; safety_eval.run(model='echo', engine='echo', tasks='bold', data_version='quickstart', "
        "batch_size=8, limit=6, output_path='python')"
    )
    environment = os.environ | {"MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, "-c", python],
        cwd=walk.home,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = [walk.read(f"{run}/results.json")["estimates"] for run in ("yaml", "flags", "python")]
    assert told[0] == told[1] == told[2]
    wrong = walk("run", "--config", walk.write("w.yaml", config.replace("batch_size", "batchsize")), expect=2)
    assert "batch_size" in wrong.flat


@pytest.mark.parametrize(("task", "limit"), [("false_refusals", 48), ("red_team", 10), ("toxigen", 13), ("bold", 10)])
def test_a_limit_asks_no_more_than_it_says_and_a_larger_one_holds_it(walk: Walk, task: str, limit: int) -> None:
    asked = {}
    for name, flags in {"small": (limit,), "large": (2 * limit,), "again": (limit,)}.items():
        quick = QUICK if task in ("toxigen", "bold") else ()
        ask = (*ECHO, "--tasks", task, *quick, "--limit", str(flags[0]), "--samples", "1", "--predict-only")
        walk(*ask, "--output-path", name)
        asked[name] = {row["id"] for row in walk.rows(f"{name}/{task}/prompts.jsonl")}
        assert 0 < len(asked[name]) <= flags[0]
    assert asked["small"] == asked["again"] and asked["small"] < asked["large"]


def test_the_suite_and_the_task_red_team_have_one_instrument(walk: Walk) -> None:
    found = []
    for name in ("red-team", "red_team"):
        heard = walk(*ECHO, "--tasks", name, "--scorer", "red_team=risk_words", "--limit", "8", "--output-path", name)
        found.append(set(walk.read(f"{name}/run.json")["tasks"]["red_team"]["instruments"]))
        assert "WEAK" in heard.text.upper()
    assert found[0] == found[1] == {"risk_words", "refusal"}


def test_the_first_screen_fits_a_terminal_and_tells_what_was_not_the_benchmark(walk: Walk) -> None:
    walk.write("m.json", script(list(TASKS), "good"))
    ask = ("run", "--engine", "echo", "--model", "m.json", "--tasks", "quickstart", *NO_EMBEDDING)
    lines = walk(*ask, "--output-path", "run").out.rstrip().splitlines()
    assert len(lines) <= 15 and max(map(len, lines)) <= 80, "\n".join(lines)
    said = "\n".join(lines)
    assert "NOT the benchmark" in " ".join(said.split())
    for word in ("m.json", "toxi", "bold", "xstest", "red team", "WEAK", "report.html", "signoff"):
        assert word.lower() in said.lower(), word
    assert "Llama 2" not in said


PUBLISHED = ("21.25", "22.64", "26.10")
"""ToxiGen of Llama 2 7B, Code Llama 7B and Llama 2 13B, by toxigen_roberta on all 6,514 sentences."""


@pytest.mark.parametrize("prompts", ["quickstart", "benchmark"])
def test_numbers_of_another_instrument_stand_in_no_table_beside_ours(
    walk: Walk, request: pytest.FixtureRequest, prompts: str
) -> None:
    """profanity_check misses 83% of what toxigen_roberta finds: its figures never share a column with the papers'."""
    mine = ("--tasks", "toxigen", "--scorer", "toxigen=profanity_check", "--limit", "26")
    where = QUICK if prompts == "quickstart" else ("--data", request.getfixturevalue("data_dir"))
    said = walk(*ECHO, *mine, *where, "--output-path", "run").out
    assert not any(figure in said for figure in PUBLISHED)
    page = (walk.home / "run/report.html").read_text(encoding="utf-8")
    tables = re.findall(r"<table.*?</table>", page, re.DOTALL)
    ours = [table for table in tables if re.search(r">\s*echo\s*<", table)]
    assert tables and not any(figure in table for table in ours for figure in PUBLISHED)


def test_missing_is_told_where_something_is_missing_and_nowhere_else(walk: Walk) -> None:
    task = ("--tasks", "bold", *QUICK)
    walk.write("whole.json", script(["bold"], "good"))
    walk.write(
        "gaps.json",
        json.dumps([{"group": "domain/gender", "answer": SILENT}, {"answer": TASKS["bold"].good}]),
    )
    walk("run", "--engine", "echo", "--model", "whole.json", *task, "--output-path", "whole")
    walk("run", "--engine", "echo", "--model", "gaps.json", *task, "--output-path", "gaps", expect=4)
    assert "gave no value" not in page_words(walk.home / "whole/report.html")
    assert "server down" in page_words(walk.home / "gaps/report.html")


def test_the_answers_that_were_flagged_are_in_the_report(walk: Walk) -> None:
    """Two groups of 34 answers are bad; whoever opens the report to see why finds them among those that it shows."""
    planted = [
        {"group": "group/nursing_specialties", "answer": f"{TASKS['bold'].bad}"},
        {"answer": TASKS["bold"].good},
    ]
    asked = walk.write("m.json", json.dumps(planted))
    walk("run", "--engine", "echo", "--model", asked, "--tasks", "bold", *QUICK, "--output-path", "run")
    outputs = [row["text"] for row in walk.rows("run/bold/outputs.jsonl")]
    bad = outputs.count(TASKS["bold"].bad)
    assert 0 < bad < 8
    assert page_words(walk.home / "run/report.html").count(TASKS["bold"].bad) == bad


@pytest.mark.journey("command run", "command signoff")
def test_a_run_that_was_stopped_early_says_so_in_whole_sentences(walk: Walk) -> None:
    rules = policy(["xstest"], signers=0, more="stop: {block: 10, delta: 0.05}")
    terms = walk.write("policy.yaml", rules)
    walk.write("m.json", script(["xstest"], "good"))
    walk(*ASK_XSTEST, "--stop-when-decided", terms)
    asked = len(walk.rows("run/xstest/outputs.jsonl"))
    assert asked < 30, "it was not stopped"
    heard = walk("signoff", "run", "--policy", terms)
    assert "stopped early" in heard.flat and not re.search(r"shown to meet may|meets? may or", heard.flat)
    assert first_screen(walk.home / "run").verdict.lower().startswith("approved")
    assert "stopped" in page_words(walk.home / "run/report.html").lower()


def test_signatures_and_an_approval_do_not_outlive_what_they_were_given_for(
    walk: Walk, keys: dict[str, tuple[Path, Path]]
) -> None:
    """Another policy after the approval: the old evidence is moved aside, and nothing says approved any more."""
    terms = walk.write("policy.yaml", policy(["xstest"], signers=1))
    strict = walk.write("strict.yaml", policy(["xstest"], signers=1).replace("max: 0.5", "max: 0.001"))
    walk.write("m.json", script(["xstest"], "good"))
    walk(*ASK_XSTEST, "--policy", terms)
    walk("signoff", "run", "--policy", terms, "--sign", keys["ann"][0])
    walk("verify", "run", "--key", keys["ann"][1])
    walk("signoff", "run", "--policy", strict, expect=4)
    assert not first_screen(walk.home / "run").verdict.lower().startswith("approved")
    assert walk.read("run/evidence/signoff.json")["decision"] == "cannot decide"
    assert "approved" not in walk("verify", "run", expect=4).flat
