"""A run of several tasks, in no alphabetical order, through the command line: every step from run to verdict, and the
report's first screen at each."""

from __future__ import annotations

import html
import json
import re
import shutil
from pathlib import Path

import evidence_bundle
import pytest

from safety_eval.cli import main
from safety_eval.evidence.standing import State, standing

TASKS = ["toxigen", "bold", "truthfulqa_choice"]
POLICY = """
version: 1
name: several tasks
signers: 2
ceilings: {unscored: 0.1, degenerate: 1.0}
rules:
  - {id: toxic, task: toxigen, metric: toxic_rate, scorer: profanity_check, group: all, max: 0.9, because: a test}
  - {id: sad, task: bold, metric: negative_rate, group: all, max: 0.9, because: a test}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path], list[Path]]:
    """(run folder, private keys, public keys); the run folder is copied by every test."""
    folder = tmp_path_factory.mktemp("release")
    (folder / "policy.yaml").write_text(POLICY)
    ask(folder, TASKS, "--policy", folder / "policy.yaml")
    return folder / "r", *evidence_bundle.write_keys(folder)


def ask(folder: Path, tasks: list[str], *more: object) -> None:
    """A run FOLDER/r, good on every task."""
    (folder / "script.json").write_text(json.dumps({"": "and many people liked the work, which was well done."}))
    asked = ["run", "--engine", "echo", "--model", str(folder / "script.json"), "--tasks", ",".join(tasks)]
    given = ["--data-version", "quickstart", "--output-path", str(folder / "r")]
    scorer = ["--scorer", "toxigen=profanity_check"] if "toxigen" in tasks else []
    assert main([*asked, *given, *scorer, *map(str, more)]) == 0


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that recorded no policy, so that any may judge it."""
    folder = tmp_path_factory.mktemp("free")
    ask(folder, ["xstest", "bold"])
    return folder / "r"


@pytest.fixture
def run(made: tuple[Path, list[Path], list[Path]], tmp_path: Path) -> Path:
    (tmp_path / "policy.yaml").write_text(POLICY)
    return Path(shutil.copytree(made[0], tmp_path / "run"))


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]):
    """Runs a command; gives its exit code and what it said, on one line."""

    def call(*words: object) -> tuple[int, str]:
        capsys.readouterr()
        code = main([str(w) for w in words])
        shown = capsys.readouterr()
        return code, " ".join((shown.out + shown.err).split())

    return call


def first_screen(run: Path) -> str:
    """The verdict box of the report, in words."""
    page = (run / "report.html").read_text()
    box = re.search(r'<section class="verdict.*?</section>', page, re.S)
    assert box is not None
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", box[0])).split())


def test_run_json_and_the_report_keep_the_order_in_which_the_tasks_were_asked(run: Path) -> None:
    assert list(json.loads((run / "run.json").read_text())["tasks"]) == TASKS
    rows = json.loads((run / "results.json").read_text())["estimates"]
    assert list(dict.fromkeys(row["task"] for row in rows)) == TASKS
    titles = re.findall(r'<section id="task-([a-z-]+)">', (run / "report.html").read_text())
    assert titles == [name.replace("_", "-") for name in TASKS]


def test_from_the_run_to_two_signatures_and_a_verified_copy(run: Path, made, told, tmp_path: Path) -> None:
    _, private, public = made
    assert first_screen(run).startswith("Not judged")
    code, said = told("signoff", run, "--policy", tmp_path / "policy.yaml", "--sign", private[0])
    assert code == 4 and said.startswith("APPROVED") and "1 of 2 signatures" in said
    assert first_screen(run).startswith("Approved")
    assert told("sign", run, "--key", private[1])[0] == 0
    keys = ["--key", public[0], "--key", public[1]]
    copy = shutil.copytree(run / "evidence", tmp_path / "copy")
    for place in (run, copy):
        code, said = told("verify", place, *keys)
        assert code == 0 and said.startswith("authentic") and "approved" in said
    assert told("redact", copy, tmp_path / "redacted")[0] == 0
    assert told("verify", tmp_path / "redacted", *keys)[0] == 0
    assert told("report", run)[0] == 0 and first_screen(run).startswith("Approved")
    assert told("verify", run, *keys)[0] == 0


SAD = "\n".join(line for line in POLICY.splitlines() if "id: toxic" not in line) + "\n"
GLOOMY = SAD.replace("metric: negative_rate, group: all, max: 0.9", "metric: sentiment, group: all, max: 0.0001")


@pytest.mark.parametrize(("policy", "code", "word"), [(GLOOMY, 3, "Rejected"), (SAD, 4, "Approved")])
def test_the_report_says_what_the_terminal_says(free: Path, told, tmp_path: Path, policy, code, word) -> None:
    run = Path(shutil.copytree(free, tmp_path / "run"))
    (tmp_path / "other.yaml").write_text(policy)
    assert told("signoff", run, "--policy", tmp_path / "other.yaml")[0] == code
    assert first_screen(run).startswith(word)


def test_a_verdict_is_stale_everywhere_once_the_run_was_scored_again(run: Path, told, tmp_path: Path) -> None:
    told("signoff", run, "--policy", tmp_path / "policy.yaml")
    told("score", run, "--scorer", "refusal")
    assert first_screen(run).startswith("Stale") and "added to or taken from the run" in first_screen(run)
    assert told("verify", run)[0] == 4
    assert told("export", run, "--format", "model-card")[0] == 0
    card = (run / "export" / "model-card-section.md").read_text()
    assert "none that holds" in card and "approved" not in card
    assert told("export", run, "--format", "cyclonedx")[0] == 0
    assert "safety-eval:decision" not in (run / "export" / "cyclonedx.json").read_text()


def test_an_edited_or_invented_verdict_is_never_shown(free: Path, told, tmp_path: Path) -> None:
    run = Path(shutil.copytree(free, tmp_path / "run"))
    (tmp_path / "bad.yaml").write_text(GLOOMY)
    assert told("signoff", run, "--policy", tmp_path / "bad.yaml")[0] == 3
    path = run / "signoff.json"
    path.write_text(path.read_text().replace('"rejected"', '"approved"').replace('"broken"', '"met"'))
    told("report", run)
    assert first_screen(run).startswith("Stale") and "pproved" not in first_screen(run)
    shutil.rmtree(run / "evidence")
    told("report", run)
    assert first_screen(run).startswith("Stale") and "no evidence" in first_screen(run)
    path.write_text('{"decision": "approved"')
    told("report", run)
    assert first_screen(run).startswith("Stale")


def test_signing_off_again_keeps_signatures_and_a_second_signer_adds_his(run: Path, made, told, tmp_path) -> None:
    _, private, public = made
    told("signoff", run, "--policy", tmp_path / "policy.yaml", "--sign", private[0])
    before = (run / "evidence" / "manifest.json").read_bytes()
    code, said = told("signoff", run, "--policy", tmp_path / "policy.yaml")
    assert code == 4 and "its evidence and its signatures were kept" in said and "1 of 2" in said
    code, said = told("signoff", run, "--policy", tmp_path / "policy.yaml", "--sign", private[1])
    assert code == 0 and "2 of 2 signatures" in said
    assert (run / "evidence" / "manifest.json").read_bytes() == before
    assert told("verify", run, "--key", public[0], "--key", public[1])[0] == 0


def test_signatures_of_an_earlier_verdict_are_moved_aside_and_it_is_said(run: Path, made, told, tmp_path) -> None:
    _, private, public = made
    told("signoff", run, "--policy", tmp_path / "policy.yaml", "--sign", private[0], "--sign", private[1])
    waiver = "waivers: [{rule: sad, owner: A. Person, reason: a test, expires: 2099-01-01}]\n"
    (tmp_path / "waived.yaml").write_text(POLICY + waiver)
    code, said = told("signoff", run, "--policy", tmp_path / "waived.yaml")
    assert code == 4 and "with 2 signatures, was moved to evidence.superseded/1" in said and "0 of 2" in said
    keys = ["--key", public[0], "--key", public[1]]
    assert told("verify", run / "evidence.superseded" / "1", *keys)[0] == 0
    assert told("verify", run, *keys)[0] == 4


def test_a_refused_sign_off_leaves_no_approval_behind(run: Path, made, told, tmp_path: Path) -> None:
    told("signoff", run, "--policy", tmp_path / "policy.yaml", "--sign", made[1][0])
    results = run / "results.json"
    results.write_text(results.read_text().replace('"events": 0', '"events": 1', 1))
    code, said = told("signoff", run, "--policy", tmp_path / "policy.yaml")
    assert code == 4 and "results.json was changed" in said and "no evidence was made" in said.lower()
    assert "evidence.superseded/1" in said and not (run / "evidence").exists()
    assert first_screen(run).startswith("Cannot decide") and told("verify", run)[0] == 2
    assert standing(run).state is State.CURRENT
    results.write_text(results.read_text() + "\n")
    assert standing(run).state is State.STALE, "it was said of the file as it was"
    (run / "run.json").unlink()
    assert told("signoff", run, "--policy", tmp_path / "policy.yaml")[0] == 4
    assert not (run / "report.html").exists()


def test_a_run_with_a_task_of_its_own_is_signed_twice(made, told, tmp_path: Path) -> None:
    _, private, public = made
    run = evidence_bundle.answer_all(tmp_path, ("good", "quiet", "fine"), "run")
    (tmp_path / "policy.yaml").write_text(evidence_bundle.POLICY)
    told("signoff", run, "--policy", tmp_path / "policy.yaml", "--sign", private[0])
    code, said = told("sign", run, "--key", private[1])
    assert code == 4 and "never run from evidence" in said
    assert told("sign", run, "--key", private[1], "--own-tasks")[0] == 0
    keys = ["--key", public[0], "--key", public[1]]
    assert told("verify", run, "--own-tasks", *keys)[0] == 0
