"""An outside evaluator asks some of a bundle's prompts again: equal answers are counted, an invented one is found."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import evidence_bundle
import pytest
from tiny_models import causal_lm

from safety_eval.cli import main
from safety_eval.core.records import Output, canonical, from_plain, key
from safety_eval.evidence import hashes
from safety_eval.evidence.reproduction import draw, same
from safety_eval.runs.asked_again import Place, answered

POLICY = """
version: 1
name: reproduced
signers: 1
ceilings: {unscored: 1.0, degenerate: 1.0}
rules:
  - {id: sad, task: bold, metric: negative_rate, group: all, max: 0.99, because: a test}
"""
ASKED = ["--tasks", "bold,truthfulqa_choice", "--data-version", "quickstart", "--dtype", "float32"]
Told = Callable[..., tuple[int, str]]


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Told:
    def call(*words: object) -> tuple[int, str]:
        capsys.readouterr()
        code = main([str(w) for w in words])
        shown = capsys.readouterr()
        return code, " ".join((shown.out + shown.err).split())

    return call


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path], list[str]]:
    """(folder of a run by a tiny model and of the model, private keys, flags that trust them)."""
    home = tmp_path_factory.mktemp("reproduce")
    causal_lm(home / "model")
    assert main(["run", "--model", str(home / "model"), *ASKED, "--output-path", str(home / "run")]) == 0
    private, public = evidence_bundle.write_keys(home)
    (home / "p.yaml").write_text(POLICY)
    sign_off(home / "run", home / "p.yaml", private)
    return home, private, ["--key", str(public[0])]


def sign_off(run: Path, policy: Path, private: list[Path]) -> None:
    assert main(["signoff", str(run), "--policy", str(policy), "--sign", str(private[0])]) in (0, 3, 4)
    assert (run / "evidence").is_dir()


def test_the_model_gives_the_answers_of_its_bundle(made, told: Told, tmp_path: Path) -> None:
    home, _, keys = made
    shutil.copytree(home / "run" / "evidence", tmp_path / "received")
    code, said = told("reproduce", tmp_path / "received", *keys, "--sample", "12")
    assert code == 0 and "equal: 12 of 12" in said and "expected: all 12 equal" in said, said
    shutil.copytree(home / "model", tmp_path / "elsewhere")
    code, said = told("reproduce", tmp_path / "received", "--model", tmp_path / "elsewhere", "--sample", "500")
    assert code == 0 and "expected: all" in said and "differs" not in said


def test_another_model_and_a_redacted_copy_are_refused(made, told: Told, tmp_path: Path) -> None:
    home, _, _ = made
    causal_lm(tmp_path / "other", seed=1)
    code, said = told("reproduce", home / "run", "--model", tmp_path / "other")
    assert code == 4 and "another model: its weights" in said
    assert told("redact", home / "run", tmp_path / "sealed")[0] == 0
    code, said = told("reproduce", tmp_path / "sealed")
    assert code == 2 and "redacted copy: it holds no prompts" in said


def invent(run: Path, prompt_id: str) -> None:
    """Another answer to one prompt, in a run folder whose journal is made up to fit."""
    outputs = run / "bold" / "outputs.jsonl"
    rows = [json.loads(line) for line in outputs.read_text().splitlines()]
    mine = next(row for row in rows if row["prompt_id"] == prompt_id)
    old = key(from_plain(Output, mine))
    mine["text"] = "and everybody was glad about it."
    outputs.write_text("".join(canonical(row) + "\n" for row in rows))
    for path in (run / "bold" / "scores").glob("*.jsonl"):
        lines = [line for line in path.read_text().splitlines(keepends=True) if old not in line]
        path.write_text("".join(lines))
    assert main(["score", str(run)]) == 0
    evidence_bundle.invent_journal(run)


def test_an_invented_answer_is_found_when_it_is_drawn_and_only_then(made, told: Told, tmp_path: Path) -> None:
    home, private, keys = made
    run = Path(shutil.copytree(home / "run", tmp_path / "run"))
    shutil.rmtree(run / "evidence")
    chosen = json.loads((run / "bold" / "prompts.jsonl").read_text().splitlines()[5])["id"]
    invent(run, chosen)
    sign_off(run, home / "p.yaml", private)
    code, said = told("verify", run, *keys)
    assert code == 0, said  # it holds together, is signed, and is a lie
    code, said = told("reproduce", run, *keys, "--sample", "500")
    assert code == 4 and said.count("differs:") == 1 and f"differs: bold, prompt {chosen}, sample 0: another" in said
    assert "not reproduced" in said and "everybody was glad" not in said
    digest = hashes.sha256((run / "evidence" / "manifest.json").read_bytes())
    for seed in (0, 1):
        drawn = draw(list(answered(run)), 20, digest, seed)
        wanted = 4 if Place("bold", chosen, 0) in drawn else 0
        assert told("reproduce", run, "--sample", "20", "--seed", seed)[0] == wanted


def test_a_run_on_another_machine_is_not_called_a_lie(made, told: Told, tmp_path: Path) -> None:
    home, private, keys = made
    run = Path(shutil.copytree(home / "run", tmp_path / "run"))
    shutil.rmtree(run / "evidence")
    about = json.loads((run / "run.json").read_text())
    about["versions"]["torch"] = "1.0"
    (run / "run.json").write_text(json.dumps(about, indent=1) + "\n")
    invent(run, json.loads((run / "bold" / "prompts.jsonl").read_text().splitlines()[0])["id"])
    sign_off(run, home / "p.yaml", private)
    code, said = told("reproduce", run, *keys, "--sample", "500")
    assert code == 4 and "was 1.0" in said and "cannot decide" in said and "not reproduced" not in said


def test_what_a_received_run_would_reach_here_is_refused(made, told: Told, tmp_path: Path) -> None:
    home, private, _ = made
    for number, (name, value) in enumerate((("token", "env:HOME"), ("trust_remote_code", "true"))):
        run = Path(shutil.copytree(home / "run", tmp_path / f"run{number}"))
        shutil.rmtree(run / "evidence")
        about = json.loads((run / "run.json").read_text())
        for place in ("asked", "config"):
            about[place]["model_args"][name] = value
        (run / "run.json").write_text(json.dumps(about, indent=1) + "\n")
        evidence_bundle.invent_journal(run)
        sign_off(run, home / "p.yaml", private)
        code, said = told("reproduce", run)
        assert code == 2 and name in said and "--trusted" in said, said


def test_nobody_picks_what_is_drawn() -> None:
    places = [Place("t", f"p{i}", 0) for i in range(300)]
    one, other, seeded = (draw(places, 30, *given) for given in (("a", 0), ("b", 0), ("a", 1)))
    assert one == draw(places[::-1], 30, "a", 0) and len(set(one)) == 30
    assert len(set(one) & set(other)) < 15 and set(one) != set(seeded)


def test_choices_are_equal_up_to_a_thousandth() -> None:
    def choice(*values: float) -> Output:
        return Output("k", "p", choice_logprobs=values, stop_reason="choice")

    assert same(choice(-1.0, -2.0), choice(-1.0004, -2.0)) and not same(choice(-1.0, -2.0), choice(-1.002, -2.0))
    assert not same(choice(-1.0, -2.0), choice(-1.0)) and not same(choice(-1.0), Output("k", "p", error="x"))
