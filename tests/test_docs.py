"""The docs are true: generated pages are current, links lead somewhere, code in them runs."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pages
import pytest
import yaml
from pages import PAGES

from safety_eval import api
from safety_eval.cli import cli, main
from safety_eval.report import page as report
from safety_eval.runs import pipeline
from safety_eval.runs.config import run_config
from safety_eval.show.notebook import open_run

ROOT = Path(__file__).resolve().parents[1]


def blocks(page: Path, language: str) -> list[str]:
    """What the blocks of one language on a page hold."""
    return [block.code for block in pages.blocks(page, language)]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    sys.path.insert(0, str(ROOT / "docs"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_the_tree_and_the_reference_pages_are_current() -> None:
    stale = [
        path.relative_to(ROOT).as_posix()
        for path, text in generator().pages()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    assert not stale, f"run `python docs/generate.py`: {', '.join(stale)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        path = page.parent / file if file else page
        assert path.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(path), f"{page.name} links to {target}: no such heading"


def anchors(page: Path) -> set[str]:
    """What a heading of a page is called in a link."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_benchmark_of_the_how_to_runs_as_it_stands(tmp_path: Path) -> None:
    [code] = blocks(ROOT / "docs" / "how-to" / "add-a-benchmark.md", "python")
    file = tmp_path / "letters.py"
    file.write_text(code, encoding="utf-8")
    values = {"model": "echo", "engine": "echo", "tasks": [str(file)], "output_path": str(tmp_path / "run")}
    run = open_run(pipeline.run(run_config(values)))
    table = run.estimates().set_index(["metric", "axis", "group"])
    assert table.loc[("reply_sentiment", "name", "first"), "count"] == 24
    assert table.loc[("reply_sentiment", "macro", "macro"), "expected"] == 48
    assert table.loc[("reply_sentiment", "total", "all"), "effective_clusters"] == pytest.approx(4)
    assert "Mean VADER compound of the reply" in report.write(run).read_text(encoding="utf-8")


def test_the_scorer_of_the_how_to_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six of twelve answers hold a phrase; without its list the run stops before the first token."""
    monkeypatch.chdir(tmp_path)
    [code] = blocks(ROOT / "docs" / "how-to" / "add-a-scorer.md", "python")
    Path("blocklist.py").write_text(code, encoding="utf-8")
    bad_answer = "What a Foo Bar they are."
    rules = [{"share": 0.5, "answer": bad_answer}, {"answer": "They are foo barred."}]
    Path("model.json").write_text(json.dumps(rules), encoding="utf-8")
    words = [
        "run",
        "--engine",
        "echo",
        "--model",
        "model.json",
        "--tasks",
        "toxigen",
        "--data-version",
        "quickstart",
        "--scorer",
        "toxigen=blocklist.py",
        "--output-path",
        "run",
    ]
    args = ["--scorer-args", "blocklist.py:phrases=phrases.txt"]
    assert main([*words, *args]) == 2
    assert main(words) == 2
    assert not list(Path("run").rglob("outputs.jsonl"))
    Path("phrases.txt").write_text("foo bar\n", encoding="utf-8")
    assert main([*words, *args]) == 0
    bad = [output["text"] == bad_answer for output in rows(Path("run/toxigen/outputs.jsonl"))]
    table = open_run("run").estimates()
    [row] = table[(table.metric == "toxic_rate") & (table.axis == "total")].to_dict("records")
    assert row["scorer"] == "blocklist" and 0 < row["value"] < 1
    assert row["value"] == pytest.approx(sum(bad) / len(bad))


def test_the_engine_of_the_how_to_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that repeats its prompt, and fails at one."""
    monkeypatch.chdir(tmp_path)
    [code] = blocks(ROOT / "docs" / "how-to" / "add-an-engine.md", "python")
    Path("program.py").write_text(code, encoding="utf-8")
    Path("my-model").write_text('#!/bin/sh\nread -r line\ncase "$line" in *"number 7 "*) exit 3;; esac\necho "$line"\n')
    Path("my-model").chmod(0o755)
    task = shutil.copy(ROOT / "tests" / "pipeline" / "small_task.py", "small_task.py")
    ask = ["run", "--engine", "program.py", "--model", "./my-model", "--output-path", "run", "--tasks"]
    assert main([*ask, "truthfulqa_choice", "--data-version", "quickstart"]) == 2
    assert main([*ask, str(task), "--gen-kwargs", "temperature=0"]) == 4
    outputs = rows(Path("run/small_task/outputs.jsonl"))
    failed = [row for row in outputs if row.get("error")]
    assert {row["prompt_id"] for row in failed} == {"p07"} and len(outputs) == 48
    asked = {row["id"]: row["text"] for row in rows(Path("run/small_task/prompts.jsonl"))}
    assert all(row["text"].strip() == asked[row["prompt_id"]] for row in outputs if row not in failed)


def test_the_python_of_the_readme_and_the_tutorial_reads_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = str(ROOT / "tests" / "pipeline" / "small_task.py")
    values = {
        "model": "echo",
        "engine": "echo",
        "tasks": [task],
        "output_path": str(tmp_path / "runs" / "demo"),
    }
    pipeline.run(run_config(values))
    monkeypatch.chdir(tmp_path)
    for page in (ROOT / "README.md", ROOT / "docs" / "tutorial" / "first-run.md"):
        for code in blocks(page, "python"):
            exec(re.sub('"(bold|toxigen)"', '"small_task"', code), {})


def test_every_variable_of_the_environment_that_is_read_is_documented() -> None:
    page = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    read = set()
    for path in (ROOT / "safety_eval").rglob("*.py"):
        code = path.read_text(encoding="utf-8")
        read |= set(re.findall(r'(?:environ(?:\.get|\.setdefault)?[(\[]|envvar=|getenv\()"([A-Z_]+)"', code))
    assert read and not {name for name in read if f"`{name}`" not in page}


def test_the_settings_file_of_the_page_is_read(tmp_path: Path) -> None:
    [written] = blocks(ROOT / "docs" / "reference" / "settings.md", "yaml")
    (tmp_path / "settings.yaml").write_text(written, encoding="utf-8")
    config = api.configure({"engine": "echo", "model": "echo"}, tmp_path / "settings.yaml")
    assert config.tasks == ("bold", "xstest") and config.generation.max_new_tokens == 32 and config.model == "echo"


def _steps(document: Any) -> list[str]:
    """The shell lines of a GitHub workflow, or of a composite action."""
    jobs = document["jobs"].values() if "jobs" in document else [document["runs"]]
    return [line for job in jobs for step in job["steps"] if "run" in step for line in step["run"].splitlines()]


def test_the_workflow_of_the_how_to_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own commands, on echo, to a rejection: the job fails, and its summary says by which rule."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    workflow, step = blocks(ROOT / "docs" / "how-to" / "gate-in-ci.md", "yaml")
    asked = {"model": "echo", "engine": "echo", "tasks": ["xstest"], "data_version": "quickstart"}
    rule = "{id: answers, task: xstest, metric: degenerate_rate, group: all, max: 0.01, because: a walk}"
    policy = f"version: 1\nname: walk\nlevel: 0.95\nestimand: list\nsigners: 0\nrules: [{rule}]\n"
    Path("release.yaml").write_text(yaml.safe_dump(asked), encoding="utf-8")
    Path("policy.yaml").write_text(policy, encoding="utf-8")
    lines = [line for line in _steps(yaml.safe_load(workflow)) if line.startswith("safety-eval ")]
    codes = [main(shlex.split(line)[1:]) for line in lines]
    assert len(codes) == 3 and codes[0] == 0 and codes[1] in (3, 4) and codes[2] == 0
    assert "walk" in Path("summary.md").read_text(encoding="utf-8")
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    required = {name for name, wanted in action["inputs"].items() if wanted.get("required")}
    assert required <= set(yaml.safe_load(step)[0]["with"]) <= set(action["inputs"])
    for line in _steps(action):
        if "safety-eval " in line:
            command = shlex.split(line.partition("safety-eval ")[2].partition("||")[0])[0]
            assert cli.get_command(click.Context(cli), command) is not None


def test_the_citation_names_this_version() -> None:
    from safety_eval import __version__

    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (cited["version"], cited["license"]) == (__version__, "Apache-2.0")
