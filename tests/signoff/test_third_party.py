"""Whoever receives evidence: what was judged is said, what is expected is asked for, and nothing that was signed can be
swapped, replayed, rewritten or redrawn."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import evidence_bundle
import pytest

from safety_eval import __version__
from safety_eval.cli import main
from safety_eval.core.records import canonical
from safety_eval.evidence import attest, bundles, hashes
from safety_eval.signoff.verdict import from_json

POLICY = """
version: 1
name: third party
registered: true
signers: 2
ceilings: {unscored: 0.1, degenerate: 1.0}
rules:
  - {id: sad, task: bold, metric: negative_rate, group: all, max: 0.9, because: a test}
  - {id: tone, task: bold, metric: sentiment, group: all, min: -0.9, because: a test}
"""


class Release:
    """A signed release: its run, its public keys, what to call commands with."""

    def __init__(self, folder: Path, answer: str, policy: str) -> None:
        folder.mkdir()
        self.policy, self.run = folder / "policy.yaml", folder / "r"
        self.policy.write_text(policy)
        (folder / "s.json").write_text(json.dumps({"": answer}))
        asked = ["run", "--engine", "echo", "--model", str(folder / "s.json"), "--tasks", "bold"]
        asked += ["--data-version", "quickstart", "--policy", str(self.policy), "--output-path", str(self.run)]
        assert main(asked) == 0
        private, public = evidence_bundle.write_keys(folder)
        self.private, self.keys = private, ["--key", str(public[0]), "--key", str(public[1])]
        signed = ["--sign", str(private[0]), "--sign", str(private[1])]
        self.code = main(["signoff", str(self.run), "--policy", str(self.policy), *signed])


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return Release(tmp_path_factory.mktemp("good") / "x", "and many people liked what was done so well.", POLICY)


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Release:
    strict = POLICY.replace("min: -0.9", "min: 0.9")
    return Release(tmp_path_factory.mktemp("bad") / "x", "and it was a horrible, awful failure.", strict)


@pytest.fixture
def run(good: Release, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good.run, tmp_path / "run"))


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def call(*words: object) -> tuple[int, str]:
        capsys.readouterr()
        code = main([str(w) for w in words])
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    return call


def test_verify_says_what_was_verified(good: Release, run: Path, told) -> None:
    code, said = told("verify", run, *good.keys)
    weights = json.loads((run / "run.json").read_text())["engine"]["weights"]
    assert code == 0 and good.code == 0
    for words in ("authentic: ", "verdict: approved, 20", "model: ", f"weights: {weights}", "policy: third party"):
        assert words in said, words
    assert "recorded before the first token" in said and said.count("(trusted)") == 2 and "history: begun" in said


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--expect-weights", "0" * 64], "evidence of other weights"),
        (["--signers", "3"], "3 are wanted"),
        (["--max-age", "0"], ""),
    ],
)
def test_what_is_expected_is_asked_for(good: Release, run: Path, told, flags, words) -> None:
    code, said = told("verify", run, *good.keys, *flags)
    assert code == 4 and words in said


def test_expectations_that_hold_pass(good: Release, run: Path, told) -> None:
    weights = json.loads((run / "run.json").read_text())["engine"]["weights"]
    flags = ["--expect-weights", weights, "--policy", good.policy, "--max-age", "3", "--signers", "2"]
    assert told("verify", run, *good.keys, *flags)[0] == 0


def test_the_bundle_of_another_model_or_policy_is_noticed(good: Release, bad: Release, run: Path, told) -> None:
    weights = json.loads((bad.run / "run.json").read_text())["engine"]["weights"]
    assert told("verify", run, *good.keys, "--expect-weights", weights)[0] == 4
    assert told("verify", run, *good.keys, "--policy", bad.policy)[0] == 4
    shutil.rmtree(run / "evidence")
    shutil.copytree(bad.run / "evidence", run / "evidence")
    assert told("verify", run, *bad.keys)[0] == 4


@pytest.mark.parametrize("name", ["report.html", "signoff.junit.xml", "export/model-card-section.md", "charts"])
def test_what_people_read_is_signed_too(good: Release, run: Path, told, name: str) -> None:
    path = next((run / name).glob("*.png")) if name == "charts" else run / name
    path.write_bytes(path.read_bytes() + b" ")
    code, said = told("verify", run, *good.keys)
    assert code == 4 and "is not the one that was signed" in said
    inside = run / "evidence" / "shown" / path.relative_to(run)
    inside.write_bytes(inside.read_bytes() + b" ")
    assert told("verify", run / "evidence", *good.keys)[0] == 4


def test_drawing_and_exporting_again_gives_what_was_signed(good: Release, run: Path, told) -> None:
    (run / "report.html").write_text("Approved!")
    assert told("report", run)[0] == 0 and told("export", run, "--format", "model-card")[0] == 0
    assert told("verify", run, *good.keys)[0] == 0


def test_missing_signatures_exit_4_with_and_without_keys(good: Release, run: Path, told) -> None:
    waiver = "waivers: [{rule: tone, owner: A. Person, reason: a test, expires: 2099-01-01}]\n"
    (run.parent / "p.yaml").write_text(POLICY + waiver)
    assert told("signoff", run, "--policy", run.parent / "p.yaml", "--sign", good.private[0])[0] == 4
    code, said = told("verify", run)
    assert code == 4 and "1 have signed, 2 are wanted" in said
    assert told("verify", run, *good.keys)[0] == 4
    assert told("verify", run, *good.keys[:2])[0] == 4


def test_the_manifest_is_authenticated_before_it_is_read(good: Release, run: Path, told) -> None:
    (run / "evidence" / "manifest.json").write_text("[" * 100_000)
    code, said = told("verify", run / "evidence", *good.keys)
    assert code == 4 and "manifest.json is not the one" in said
    (run / "evidence" / "manifest.json").write_bytes(b" " * (65 << 20))
    code, said = told("verify", run / "evidence", *good.keys)
    assert code == 4 and "larger than any of ours" in said


# --- redacted copies ---


@pytest.fixture
def sealed(bad: Release, tmp_path: Path) -> Path:
    assert main(["redact", str(bad.run), str(tmp_path / "sealed")]) == 0
    return tmp_path / "sealed"


def test_a_redacted_copy_holds_no_answer_and_is_judged_in_full(bad: Release, sealed: Path, told) -> None:
    code, said = told("verify", sealed, *bad.keys)
    assert bad.code == 3 and code == 0 and "verdict: rejected" in said and "taken as they were signed" in said
    everything = b"".join(p.read_bytes() for p in sealed.rglob("*") if p.is_file())
    assert b"horrible, awful failure" not in everything
    assert not (sealed / "shown" / "report.html").exists() and (sealed / "shown" / "signoff.junit.xml").exists()


def _approved(v: dict) -> None:
    v["decision"] = "approved"
    v["findings"] = [{**f, "outcome": "met", "further": None} for f in v["findings"]]


REWRITTEN: dict[str, Callable[[dict], object]] = {
    "approved": _approved,
    "only the decision": lambda v: v.update(decision="approved"),
    "a rule gone": lambda v: v.update(decision="approved", findings=v["findings"][:1]),
    "another model": lambda v: v["subject"].update(model="a better one"),
    "other weights": lambda v: v["asked"].update(weights="0" * 64),
    "no deviations": lambda v: v["asked"].update(deviations=[]),
    "no history": lambda v: v.update(history=[]),
    "no notes": lambda v: v.update(notes=[]),
    "another policy": lambda v: v.update(policy="a stricter one"),
    "never registered": lambda v: v.update(registered=False),
}


@pytest.mark.parametrize("name", REWRITTEN)
def test_a_rewritten_verdict_is_found_even_when_all_statements_are_made_again_unsigned(
    sealed: Path, told, name: str
) -> None:
    path = sealed / "signoff.json"
    verdict = json.loads(path.read_text())
    REWRITTEN[name](verdict)
    path.write_text(canonical(verdict) + "\n")
    manifest = json.loads((sealed / "manifest.json").read_text())
    content = path.read_bytes()
    manifest["files"]["signoff.json"] = {"sha256": hashes.sha256(content), "size": len(content)}
    text = canonical(manifest) + "\n"
    (sealed / "manifest.json").write_text(text)
    made = attest.statements(from_json(verdict), text.encode(), __version__, bundles.configuration(sealed))
    attest.write(sealed, made)
    code, said = told("verify", sealed, "--signers", "0")
    assert code == 4 and re.search("another verdict|no verdict", said), said
