"""Input from strangers: nothing of it runs, acts on a terminal, leaves its cell or folder, or ends in a traceback."""

from __future__ import annotations

import csv
import json
import os
import shutil
import stat
from pathlib import Path
from xml.etree import ElementTree

import pytest

from safety_eval import api
from safety_eval.audit.review import _cell
from safety_eval.cli import main
from safety_eval.core import secrets
from safety_eval.core.errors import EvidenceError, UserError
from safety_eval.core.store import parsed, read_json
from safety_eval.runs import own_code, run_file
from safety_eval.signoff.decision import decide

TASK = Path(__file__).parents[1] / "pipeline" / "small_task.py"
ECHO = ["run", "--engine", "echo", "--model", "echo"]
POLICY = """
version: 1
name: hostile
signers: 0
ceilings: {unscored: 1.0, degenerate: 1.0}
rules:
  - {id: mood, task: small_task, metric: sentiment, min: -0.9, because: a test, floor_met_because: a test}
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who has run nothing yet."""
    monkeypatch.setenv("SAFETY_EVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(own_code, "_known", set())
    return tmp_path / "cache"


@pytest.fixture
def received(tmp_path: Path, cache: Path) -> tuple[Path, Path]:
    """(run folder, its task's file), as they come from somebody else; importing the file leaves a trace."""
    task, trace = tmp_path / "small_task.py", tmp_path / "it-ran"
    task.write_text(TASK.read_text())
    assert main([*ECHO, "--tasks", str(task), "--output-path", str(tmp_path / "r")]) == 0
    task.write_text(f"open({str(trace)!r}, 'a').close()\n{TASK.read_text()}")
    return tmp_path / "r", trace


COMMANDS = {
    "report": ["report", "RUN"],
    "score": ["score", "RUN"],
    "compare": ["compare", "RUN", "OTHER"],
    "a baseline": ["compare", "OTHER", "RUN"],
    "review": ["review", "RUN"],
    "sign-off": ["signoff", "RUN", "--policy", "POLICY"],
    "export": ["export", "RUN", "--format", "parquet"],
    "merge": ["merge", "RUN", "OTHER", "--output-path", "NEW"],
    "verify": ["verify", "RUN"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_code_that_a_received_run_names_never_runs(received, tmp_path: Path, capsys, name: str) -> None:
    run, trace = received
    (tmp_path / "POLICY").write_text(POLICY)
    shutil.copytree(run, tmp_path / "OTHER")
    places = {"RUN": str(run), "OTHER": str(tmp_path / "OTHER"), "NEW": str(tmp_path / "n")}
    code = main([places.get(w, str(tmp_path / w) if w == "POLICY" else w) for w in COMMANDS[name]])
    assert code in (2, 4) and not trace.exists()


@pytest.mark.parametrize("args", [{"base_url": "http://127.0.0.1:9/v1"}, {"api_key": "env:HOME"}])
def test_answers_and_secrets_go_to_no_judge_that_only_a_received_run_names(
    tmp_path: Path, cache: Path, capsys, args: dict[str, str]
) -> None:
    run = tmp_path / "r"
    assert main([*ECHO, "--tasks", "xstest", "--data-version", "quickstart", "--output-path", str(run)]) == 0
    facts = json.loads((run / "run.json").read_text())
    facts["config"]["scorer_args"] = {"refusal": {"judge": "openai/m", "engine": "openai_server", **args}}
    (run / "run.json").write_text(json.dumps(facts))
    capsys.readouterr()
    assert main(["score", str(run)]) == 2 and "names judges at a server" in " ".join(capsys.readouterr().err.split())
    with own_code.allowed():
        own_code.refuse_reaching(run_file.read(run).config, run)


def test_it_runs_when_the_user_says_so_or_has_run_it(received, tmp_path: Path) -> None:
    run, trace = received
    assert main(["report", str(run), "--own-tasks"]) == 0 and trace.exists()
    trace.unlink()
    assert main(["report", str(run)]) == 2 and not trace.exists()
    asked = [*ECHO, "--tasks", str(tmp_path / "small_task.py"), "--output-path", str(tmp_path / "mine")]
    assert main(asked) == 0 and trace.exists()
    assert main(["report", str(run)]) == 0


@pytest.mark.parametrize("name", ["../out", "a/b", "..", ".", "", "x\x1b[31m", "\ud800", "y" * 300, "a\\b"])
@pytest.mark.parametrize("place", ["task", "scorer"])
def test_a_name_that_leaves_its_folder_is_not_a_name(tmp_path: Path, name: str, place: str) -> None:
    assert main([*ECHO, "--tasks", str(TASK), "--output-path", str(tmp_path / "r")]) == 0
    content = read_json(tmp_path / "r" / "run.json")
    (task,) = content["tasks"].values()
    if place == "task":
        content["tasks"] = {name: task}
    else:
        task["instruments"] = {name: {}}
    with pytest.raises(EvidenceError, match="cannot be a name"):
        run_file.parse(content, tmp_path / "run.json")


@pytest.mark.parametrize("text", ["=1+1", " =1+1", "\uff1d1+1", "\u3000\uff0b1", "\t=1", "-2", "@x", "\n=1"])
def test_a_cell_of_a_sheet_is_never_a_formula(text: str) -> None:
    assert _cell(text).startswith("'")


def test_a_carriage_return_or_a_control_character_stays_in_its_cell(tmp_path: Path) -> None:
    answer = 'one\r=2+2\x00\x1b[31m\u202e,"three"'
    (tmp_path / "s.json").write_text(json.dumps({"": answer}))
    asked = ["run", "--engine", "echo", "--model", str(tmp_path / "s.json"), "--tasks", str(TASK)]
    assert main([*asked, "--output-path", str(tmp_path / "r")]) == 0
    sheet = api.write_review(api.open_run(tmp_path / "r"), others=3, flagged=3, design="random")
    rows = list(csv.reader(sheet.read_text(encoding="utf-8").splitlines()))
    assert all(len(row) == 5 for row in rows)
    assert not {c for c in sheet.read_text(encoding="utf-8") if ord(c) < 32 and c not in "\n\t"}
    assert "\r" not in sheet.read_bytes().decode()


def test_names_from_outside_do_not_act_on_the_terminal(tmp_path: Path, capsys) -> None:
    for asked in (["--tasks", "\x1b[31mred"], ["--tasks", str(TASK), "--gen-kwargs", "\x1b[2J=1"], ["--\x1b[2J", "1"]):
        assert main([*ECHO, *asked, "--output-path", str(tmp_path / "r")]) == 2
        said = capsys.readouterr().err
        assert "\x1b" not in said and "\\x1b" in said


def test_control_characters_in_a_policy_give_junit_that_parses(tmp_path: Path) -> None:
    assert main([*ECHO, "--tasks", str(TASK), "--output-path", str(tmp_path / "r")]) == 0
    text = POLICY.replace("name: hostile", 'name: "a\\e[31m \\u0001 \\uFFFE"')
    text = text.replace("because: a test", 'because: "\\e\\0"')
    (tmp_path / "p.yaml").write_text(text)
    assert main(["signoff", str(tmp_path / "r"), "--policy", str(tmp_path / "p.yaml")]) in (0, 3, 4)
    suites = ElementTree.parse(tmp_path / "r" / "signoff.junit.xml").getroot()
    assert "\\x1b" in suites.get("name", "")


@pytest.mark.parametrize(
    "flags",
    [
        ["--model-args", "hf_token=abc"],
        ["--model-args", "api_key=abc"],
        ["--model-args", "revision=hf_abcdefghijklmnopqrstuvwxyz"],
        ["--scorer-args", "vader:password=abc"],
    ],
)
def test_a_secret_is_refused_and_not_repeated(tmp_path: Path, capsys, flags: list[str]) -> None:
    assert main([*ECHO, "--tasks", str(TASK), "--output-path", str(tmp_path / "r"), *flags]) == 2
    said = capsys.readouterr().err
    assert "looks like a secret" in said and "abc" not in said and not (tmp_path / "r").exists()


def test_a_secret_from_the_environment_is_used_and_written_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "s3cret")
    config = api.configure({"model": "x", "tasks": ["bold"], "model_args": {"token": "env:MY_TOKEN"}})
    assert secrets.opened(config.model_args) == {"token": "s3cret"}
    assert "s3cret" not in json.dumps(config.model_dump(mode="json"))
    with pytest.raises(UserError, match="not set"):
        secrets.opened({"token": "env:NOT_THERE_AT_ALL"})


def test_a_new_run_folder_and_the_salts_are_their_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        assert main([*ECHO, "--tasks", str(TASK), "--output-path", str(tmp_path / "r")]) == 0
    finally:
        os.umask(before)
    (tmp_path / "p.yaml").write_text(POLICY)
    main(["signoff", str(tmp_path / "r"), "--policy", str(tmp_path / "p.yaml")])
    for path, mode in ((tmp_path / "r", 0o700), (tmp_path / "r" / "evidence" / "salts.json", 0o600)):
        assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--data-version", "three"], "data version 'three'"),
        (["--prompts", "nothing=x"], "not among the tasks"),
        (["--scorer-args", "refusal:x=1"], "no task of this run is scored by it"),
        (["--device", "warp"], "device"),
        (["--samples", "9" * 30], "samples"),
        (["--gen-kwargs", f"max_new_tokens={'9' * 30}"], "max_new_tokens"),
        (["--dtype", "float7"], "dtype"),
        (["--gen-kwargs", "temperature=inf"], "temperature"),
        (["--gen-kwargs", "temperature=nan"], "temperature"),
        (["--policy", "MISSPELT"], "has no metric 'sentimnt'"),
        (["--policy", "PERCENT"], "lies between -1 and 1"),
        (["--policy", "NEGATIVE"], "lies between 0 and 1"),
    ],
)
def test_what_was_accepted_in_silence_is_refused(tmp_path: Path, capsys, flags: list[str], words: str) -> None:
    for name, text in {
        "MISSPELT": POLICY.replace("metric: sentiment", "metric: sentimnt"),
        "PERCENT": POLICY.replace("min: -0.9", "max: 30"),
        "NEGATIVE": POLICY.replace("metric: sentiment, min: -0.9", "metric: degenerate_rate, max: -0.1"),
    }.items():
        (tmp_path / name).write_text(text)
    asked = [str(tmp_path / f) if f.isupper() else f for f in flags]
    assert main([*ECHO, "--tasks", str(TASK), "--output-path", str(tmp_path / "r"), *asked]) == 2
    assert words in capsys.readouterr().err and not (tmp_path / "r" / "run.json").exists()


def test_arguments_for_an_instrument_that_would_not_score_are_refused(tmp_path: Path) -> None:
    assert main([*ECHO, "--tasks", str(TASK), "--output-path", str(tmp_path / "r")]) == 0
    assert main(["score", str(tmp_path / "r"), "--scorer-args", "vader:x=1"]) == 2


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"a":' * 70 + b"1" + b"}" * 70, b"NaN", b"[-Infinity]", b"\xff", b"1" * 5000]
)
def test_what_python_cannot_or_should_not_read_is_damage(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        parsed(content)
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(EvidenceError, match="x.json is damaged"):
        read_json(tmp_path / "x.json")


def test_a_wrong_field_is_told_in_one_sentence_with_file_and_field(tmp_path: Path) -> None:
    assert main([*ECHO, "--tasks", str(TASK), "--output-path", str(tmp_path / "r")]) == 0
    content = read_json(tmp_path / "r" / "run.json")
    content["tasks"]["small_task"]["samples"] = "many"
    (tmp_path / "r" / "run.json").write_text(json.dumps(content))
    from safety_eval import policy

    (blocker,) = [b for b in decide(tmp_path / "r", policy.parse(POLICY)).blockers if b.kind == "evidence"]
    assert "run.json is damaged: tasks.small_task.samples" in blocker.sentence
    assert "\n" not in blocker.sentence and "pydantic" not in blocker.sentence
