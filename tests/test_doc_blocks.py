"""Every code block of the documentation runs, or says why not; and every command that a page names is one.

A page's commands run in their order, in an empty folder, as they stand but for what `Walk.small` makes small.
Blocks of other languages are run by the tests that `ELSEWHERE` names.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import click
import pytest
from pages import PAGES, ROOT, SHOWN, Block, NotRun, blocks, prose
from tiny_models import causal_lm

from safety_eval import policy
from safety_eval.cli import cli, main
from safety_eval.core import plugins
from safety_eval.runs.suites import SUITES

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SMOLLM2 = "--model smollm2"
ECHO = {SMOLLM2: "--model echo --engine echo"}
HUB = "pretrained=HuggingFaceTB/SmolLM2-135M-Instruct"
FEW = {
    "xstest bold --limit 0.1": "xstest bold --data-version quickstart --limit 0.1",
    "'toxi*'": "'toxi*' --limit 13 --scorer toxigen=profanity_check",
}
POLICY = """
version: 1
name: walk
signers: 0
estimand: list
rules: [{id: tone, task: bold, metric: sentiment, group: all, min: -0.9, because: a walk}]
"""


@dataclass(frozen=True)
class Walk:
    """How a page's bash blocks run here.

    Attributes:
        small: words of the page -> what stands for them; each must occur.
        before: makes what the page takes for granted, given the folder and the data.
        codes: the beginning of a command -> its exit code, where that is not 0 and the page does not say it.
    """

    small: Mapping[str, str] = field(default_factory=lambda: ECHO)
    before: Callable[[Path, Path], object] = lambda folder, data: None
    codes: Mapping[str, int] = field(default_factory=dict)


def ask(words: str) -> None:
    assert main(shlex.split(f"run --engine echo {words}")) == 0


def docs_at_hand(folder: Path, data: Path) -> None:
    (folder / "docs").symlink_to(ROOT / "docs")


def mirror(folder: Path, data: Path) -> None:
    (folder / "mirror").symlink_to(data)


def demo_run(folder: Path, data: Path) -> None:
    ask("--model echo --tasks bold,xstest --data-version quickstart --limit 8 --output-path runs/demo")
    (folder / "policy.yaml").write_text(POLICY)


def script(folder: Path, data: Path) -> None:
    (folder / "script.json").write_text('{"": " is known for good work and a long life in the city."}')


def tiny_model(folder: Path, data: Path) -> None:
    causal_lm(folder / "tiny", max_position_embeddings=2048)


def two_releases(folder: Path, data: Path) -> None:
    for name, answer in (("old", "A good day."), ("new", "A bad day.")):
        (folder / f"{name}.json").write_text(json.dumps([{"answer": answer}]))
        ask(f"--model {name}.json --tasks bold --limit 13 --output-path runs/{name}")


def answers_from_elsewhere(folder: Path, data: Path) -> None:
    ask("--model echo --tasks xstest,bold --limit 13 --output-path elsewhere")
    for form in ("inspect", "lm-eval"):
        assert main(["export", "elsewhere", "--format", form, "--with-texts"]) == 0
    (folder / "logs").mkdir()
    shutil.copy(next(folder.glob("elsewhere/export/inspect/*xstest*.eval")), folder / "logs" / "xstest.eval")
    shutil.copy(next(folder.glob("elsewhere/export/lm-eval/**/samples_bold*.jsonl")), folder / "samples_bold.jsonl")
    first = json.loads((folder / "elsewhere" / "xstest" / "prompts.jsonl").read_text().splitlines()[0])
    (folder / "answers.csv").write_text(f"id,text\n{first['id']},Of course.\n")


WALKS = {
    "docs/explanation/how-sign-off-decides.md": Walk({}, docs_at_hand),
    "docs/explanation/scorer-errors.md": Walk({}, mirror),
    "docs/how-to/add-a-benchmark.md": Walk(),
    "docs/how-to/add-a-false-refusal-intent.md": Walk({}),
    "docs/how-to/add-a-scorer.md": Walk({**ECHO, "--tasks toxigen": "--tasks toxigen --limit 13"}, mirror),
    "docs/how-to/add-an-engine.md": Walk({"--tasks bold": "--tasks bold --limit 8"}),
    "docs/how-to/come-from-lm-eval.md": Walk({**ECHO, HUB: "pretrained=tiny", **FEW}, tiny_model),
    "docs/how-to/compare-two-releases.md": Walk({**ECHO, "quickstart": "bold --data-version quickstart"}, two_releases),
    "docs/how-to/get-the-data.md": Walk({**ECHO, "--limit 50": "--limit 5"}, mirror),
    "docs/how-to/import-answers.md": Walk({}, answers_from_elsewhere, {"safety-eval import": 4}),
    "docs/how-to/know-before-a-run.md": Walk(
        {**ECHO, "code-llama --predict-only": "bold --limit 8 --predict-only"},
        codes={"safety-eval doctor --model": 2},
    ),
    "docs/how-to/open-a-run-in-other-tools.md": Walk({}, demo_run),
    "docs/tutorial/first-run.md": Walk(
        {"--limit 200": "--limit 13", "--model smollm2": "--model script.json --engine echo"}, script
    ),
}
HERE = "test_doc_blocks.py::test_the_commands_of_a_page_run_in_their_order"
READ = "test_docs.py::test_the_python_of_the_readme_and_the_tutorial_reads_a_run"
RUN_BY = {
    **{(page, "bash"): HERE for page in WALKS},
    **{(f"docs/how-to/add-{what}.md", "python"): HERE for what in ("a-benchmark", "a-scorer", "an-engine")},
    ("docs/tutorial/first-run.md", "yaml"): HERE,
    ("README.md", "python"): READ,
    ("docs/tutorial/first-run.md", "python"): READ,
    ("docs/how-to/sign-off-a-release.md", "bash"): "signoff/test_how_to.py::test_the_page_runs_with_the_echo_engine",
    ("docs/how-to/sign-off-a-release.md", "yaml"): "signoff/test_how_to.py::test_what_the_page_adds_fits_its_policy",
    ("docs/how-to/gate-in-ci.md", "yaml"): "test_docs.py::test_the_workflow_of_the_how_to_runs_as_it_stands",
    ("docs/how-to/import-answers.md", "yaml"): "test_doc_blocks.py::test_the_condition_of_the_page_is_one",
    ("docs/how-to/score-with-a-guard-model.md", "json"): "test_doc_blocks.py::test_the_prompt_of_the_page_is_asked",
    ("docs/reference/settings.md", "yaml"): "test_docs.py::test_the_settings_file_of_the_page_is_read",
}
"""Page and language -> the test that runs these blocks."""


def test_every_block_is_run_or_says_why_not() -> None:
    for block in (block for page in PAGES for block in blocks(page) if block.language not in SHOWN):
        where = f"{block.page}:{block.line}"
        if block.why_not:
            assert block.why_not in {reason.value for reason in NotRun}, f"{where}: no reason: {block.why_not}"
            continue
        test = RUN_BY.get((block.page, block.language))
        assert test, f"{where}: a {block.language} block that no test runs and that does not say why"
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), f"no test {test}"


def test_every_extra_is_on_the_page_of_installing() -> None:
    named = set(re.findall(r"^\| (`.*?`) \|", (ROOT / "docs" / "how-to" / "install.md").read_text(), re.M))
    assert set(PROJECT["optional-dependencies"]) <= {extra.strip("` ") for cell in named for extra in cell.split(",")}


def test_what_only_shows_something_holds_no_command() -> None:
    """A command in a block of text, or in one that is only indented, would be run by nobody."""
    command = re.compile(r"(safety-eval|pip|python|make|ray|openssl|curl|--[a-z-]+) ")
    for page in PAGES:
        if page.name == "command-line.md":
            continue
        shown = [line for block in blocks(page) if block.language in SHOWN for line in block.code.splitlines()]
        indented = [line.strip() for line in prose(page).splitlines() if line.startswith("    ")]
        wrong = [line for line in (*shown, *indented) if command.match(line)]
        assert not wrong, f"{page.name}: write bash: {wrong[0]}"


def parse(words: list[str], names_it: bool = False) -> None:
    """Raise click's error unless the words are a command line. `names_it`: a bare command may only be named."""
    with cli.make_context("safety-eval", words) as context:
        name, command, rest = cli.resolve_command(context, [*context._protected_args, *context.args])
        assert command is not None
        if names_it and not rest:
            return
        with command.make_context(name, rest, parent=context) as inner:
            asked = inner.params.get("tasks") or ""
    for task in filter(None, ",".join(asked if isinstance(asked, list | tuple) else [asked]).split(",")):
        known = {*plugins.names("tasks"), *SUITES}
        assert task.endswith(".py") or fnmatch.filter(known, task), f"no task or suite {task}"


def fault(line: str, names_it: bool = False) -> str:
    """What is wrong with a line that somebody would type; '' where nothing is."""
    words = [word for word in shlex.split(line, comments=True) if not re.fullmatch(r"[A-Z_]+=\S*", word)]
    words = ["1" if re.fullmatch("[A-Z]", word) else word for word in words]
    program = Path(words[0]).name
    if words[:3] == ["python", "-m", "safety_eval"]:
        program, words = "safety-eval", words[2:]
    try:
        if program == "safety-eval":
            parse(words[1:], names_it)
        elif program == "make":
            assert re.search(f"^{words[1]}:", (ROOT / "Makefile").read_text(), re.M), f"no target {words[1]}"
        elif program == "pip":
            extras = {e for e in re.findall(r"safety-eval\[([\w,]+)\]", line) for e in e.split(",")}
            assert extras <= set(PROJECT["optional-dependencies"]), f"no extra among {extras}"
        elif program in ("python", "pytest") and words[1] != "-m":
            script = (ROOT / words[1]).read_text(encoding="utf-8")
            assert all(f'"{w}"' in script for w in words[2:] if w.startswith("--")), "no such flag"
    except (click.ClickException, click.exceptions.Exit, AssertionError, OSError) as error:
        return f"{error.format_message() if isinstance(error, click.ClickException) else error}: {line}"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_command_that_a_page_names_is_a_command_line(page: Path) -> None:
    lines = [line for block in blocks(page, "bash") for line in block.commands()]
    named = re.findall(r"`((?:python -m safety_eval|safety-eval|make|pip install) [^`]+)`", prose(page))
    wrong = [fault(line) for line in lines] + [fault(" ".join(line.split()), names_it=True) for line in named]
    assert not any(wrong), "\n".join(filter(None, wrong))


@pytest.mark.parametrize(
    "line",
    [
        "safety-eval run --modle smollm2 --tasks bold",
        "safety-eval sign-off runs/demo",
        "safety-eval export runs/demo --format lm-evil",
        "safety-eval run --model smollm2 --tasks bald",
        "safety-eval run --model smollm2 --limit",
        "safety-eval signoff --policy policy.yaml",
        "make demos",
        "pip install 'safety-eval[scorer]'",
        "python benchmarks/reliability/trials.py --counts 4",
        "pytest tests/test_intent.py",
    ],
)
def test_a_wrong_command_line_is_told(line: str) -> None:
    assert fault(line)


@pytest.mark.slow
@pytest.mark.parametrize(("page", "walk"), WALKS.items(), ids=WALKS)
def test_the_commands_of_a_page_run_in_their_order(
    page: str, walk: Walk, tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAFETY_EVAL_DATA", str(data_dir))
    monkeypatch.setenv("SAFETY_EVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    walk.before(tmp_path, data_dir)
    for block in (*blocks(page, "python"), *blocks(page, "yaml")):
        if saved := re.search(r"Save it as\s+`([\w.]+)`[^`]*\Z", before(block)):
            Path(saved[1]).write_text(block.code, encoding="utf-8")
    code = "\n".join(block.code for block in blocks(page, "bash") if not block.why_not)
    for words, small in walk.small.items():
        assert words in code, f"{page} no longer says {words}"
        code = code.replace(words, small)
    for line in Block(page, 0, "bash", code, "").commands():
        told = [number for start, number in walk.codes.items() if line.startswith(start)]
        assert run(line) == (told[0] if told else 0), line


def before(block: Block) -> str:
    lines = (ROOT / block.page).read_text(encoding="utf-8").splitlines()
    return "\n".join(lines[: block.line - 1])


def run(line: str) -> int:
    """A command's exit code; ours runs in this process."""
    words = shlex.split(line, comments=True)
    if words[0] == "pytest":
        return 0 if (ROOT / words[1]).is_file() else 2  # these tests run it
    if words[:3] == ["python", "-m", "safety_eval"]:
        words = words[2:]
    elif words[0] != "safety-eval":
        return subprocess.run(["bash", "-euc", line], check=False).returncode
    return main(words[1:])


def test_the_condition_of_the_page_is_one() -> None:
    [block] = blocks("docs/how-to/import-answers.md", "yaml")
    assert policy.parse(f"{POLICY}{block.code}").conditions.engine == "imported"


def test_the_prompt_of_the_page_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    [block] = blocks("docs/how-to/score-with-a-guard-model.md", "json")
    Path("mine.jsonl").write_text(block.code, encoding="utf-8")
    ask("--model echo --tasks red_team --prompts red_team=mine.jsonl --scorer red_team=risk_words --output-path run")
    [prompt] = [json.loads(line) for line in Path("run/red_team/prompts.jsonl").read_text().splitlines()]
    assert prompt["id"] == json.loads(block.code)["id"]
