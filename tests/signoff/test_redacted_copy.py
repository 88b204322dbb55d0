"""A redacted copy says nothing of what was asked and answered, of the system prompt, and of the machine that it was
made on; it is checked and judged like the whole."""

from __future__ import annotations

import base64
import getpass
import json
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import evidence_bundle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safety_eval import __version__
from safety_eval import policy as policies
from safety_eval.cli import main
from safety_eval.core.conceal import conceal, sealed, without_paths
from safety_eval.core.errors import EvidenceError
from safety_eval.core.records import Message, Output, Prompt, Score, canonical, plain
from safety_eval.evidence import attest, bundles, hashes
from safety_eval.signoff.verdict import from_json

KIND = "You are the careful assistant of a firm that nobody may know."
POLICY = f"""
version: 1
name: redacted
registered: true
signers: 1
ceilings: {{unscored: 0.1, degenerate: 1.0}}
conditions: {{system_prompt: "{KIND}"}}
rules:
  - {{id: sad, task: bold, metric: negative_rate, group: all, max: 0.9, because: "see /home/ann/why.txt", FLOOR}}
  - {{id: own, task: planted_task, metric: negative_rate, group: all, max: 0.9, because: a test, FLOOR}}
  - {{id: same, task: bold, metric: negative_rate, group: all, non_inferior: {{margin: 0.9}}, because: a test, FLOOR}}
""".replace("FLOOR", "floor_met_because: a test")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    """(folder, run, flags that trust its signer): two tasks, one of them a file of its own, and a baseline."""
    home = tmp_path_factory.mktemp("secret project") / "ann"
    home.mkdir()
    (home / "s.json").write_text(json.dumps({"": "and many people liked what was done so well."}))
    (home / "p.yaml").write_text(POLICY)
    shutil.copy(evidence_bundle.TASK, home / "planted_task.py")
    asked = ["run", "--engine", "echo", "--model", str(home / "s.json"), "--system-prompt", KIND]
    asked += ["--tasks", f"bold,{home / 'planted_task.py'}", "--data-version", "bold=quickstart"]
    asked += ["--policy", str(home / "p.yaml")]
    assert (
        main(
            [
                *asked,
                "--output-path",
                str(home / "old"),
            ]
        )
        == 0
    )
    assert main([*asked, "--output-path", str(home / "run")]) == 0
    private, public = evidence_bundle.write_keys(home)
    signed = ["signoff", str(home / "run"), "--policy", str(home / "p.yaml"), "--baseline", str(home / "old")]
    assert main([*signed, "--sign", str(private[0])]) == 0
    assert main(["redact", str(home / "run"), str(home / "sealed")]) == 0
    return home, home / "run", ["--key", str(public[0])]


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def call(*words: object) -> tuple[int, str]:
        capsys.readouterr()
        code = main([str(w) for w in words])
        shown = capsys.readouterr()
        return code, " ".join((shown.out + shown.err).split())

    return call


def secrets_of(home: Path, run: Path) -> set[str]:
    """Every text that a redacted copy must not hold."""
    found = {KIND, str(home), home.name + "/", "secret project", str(Path.home()) + "/"}
    if len(socket.gethostname()) > 3:
        found.add(socket.gethostname())
    if (user := getpass.getuser()) not in ("root", "run", "user"):
        found.add(user)
    for path in run.glob("*/*.jsonl"):
        for row in map(json.loads, path.read_text().splitlines()):
            texts = [row.get("text"), row.get("prefill"), *(m["content"] for m in row.get("messages", ()))]
            found |= {text.strip() for text in texts if text and text.strip()}
    return found


def test_a_redacted_copy_holds_no_word_of_it(made) -> None:
    home, run, _ = made
    wanted = secrets_of(home, run)
    assert len(wanted) > 90
    for path in (p for p in (home / "sealed").rglob("*") if p.is_file()):
        content = path.read_bytes()
        text = content.decode("utf-8", "replace")
        held = [secret for secret in wanted if secret in text or json.dumps(secret)[1:-1] in text]
        held += [found for found in re.findall(r"(?<![\w.:/<])/(?:home|tmp|root|Users|var)/[\w.-]+", text)]
        if path.suffix == ".json" and path.parent.name == "attestations" and "payload" in text:
            payload = base64.b64decode(json.loads(text)["payload"]).decode()
            held += [secret for secret in wanted if secret in payload]
        assert not held, f"{path.name} holds {held[:3]}"


def test_the_whole_bundle_is_told_from_its_copy_and_both_verify(made, told) -> None:
    home, run, keys = made
    for place in (run, home / "sealed"):
        code, said = told("verify", place, *keys, "--own-tasks")
        assert code == 0 and "the policy gives the same verdict: approved" in said, said
    digest = sealed(KIND)
    assert digest in (home / "sealed" / "run" / "run.json").read_text()
    assert digest in (home / "sealed" / "policy.yaml").read_text()
    assert KIND in (run / "evidence" / "run" / "run.json").read_text()


@pytest.mark.parametrize("name", ["run/run.json", "policy.yaml", "run/policy.yaml", "baseline/run.json"])
def test_a_concealed_file_of_a_copy_cannot_be_changed(made, told, tmp_path: Path, name: str) -> None:
    home, _, keys = made
    copy = Path(shutil.copytree(home / "sealed", tmp_path / "sealed"))
    path = copy / name
    path.write_bytes(path.read_bytes().replace(b"sha256:", b"sha256:0"))
    code, said = told("verify", copy, *keys)
    assert code == 4 and name in said


def test_a_copys_form_must_be_that_of_the_whole(made, told, tmp_path: Path) -> None:
    """Otherwise a signer could hand out a copy whose run.json says something else than the bundle's."""
    home, run, _ = made
    bundle = Path(shutil.copytree(run / "evidence", tmp_path / "bundle"))
    manifest = json.loads((bundle / "manifest.json").read_text())
    other = (home / "sealed" / "run" / "run.json").read_bytes().replace(b'"seed": 0', b'"seed": 7')
    manifest["files"]["run/run.json"]["redacted"] = {"sha256": hashes.sha256(other), "size": len(other)}
    (bundle / "manifest.json").write_text(canonical(manifest) + "\n")
    verdict = from_json(json.loads((bundle / "signoff.json").read_text()))
    content = (bundle / "manifest.json").read_bytes()
    attest.write(bundle, attest.statements(verdict, content, __version__, bundles.configuration(bundle)))
    code, said = told("verify", bundle, "--own-tasks", "--signers", "0")
    assert code == 4 and "redacted form of run/run.json" in said


def test_a_digest_in_place_of_a_system_prompt_is_not_that_prompt(made, told, tmp_path: Path) -> None:
    home, _, _ = made
    asked = ["run", "--engine", "echo", "--model", home / "s.json", "--tasks", "bold", "--data-version", "quickstart"]
    code, said = told(*asked, "--system-prompt", sealed(KIND), "--output-path", tmp_path / "r")
    assert code == 2 and "a digest, not a text" in said
    assert told(*asked, "--output-path", tmp_path / "r", "--system-prompt", "x")[0] == 0
    path = tmp_path / "r" / "run.json"
    path.write_text(path.read_text().replace('"system_prompt": "x"', f'"system_prompt": "{sealed(KIND)}"'))
    evidence_bundle.invent_journal(tmp_path / "r")
    rule = POLICY.split("rules:")[0].replace("registered: true", "").replace("signers: 1", "signers: 0")
    rule += "rules: [{id: sad, task: bold, metric: negative_rate, group: all, max: 0.9, because: a test}]\n"
    (tmp_path / "p.yaml").write_text(rule)
    code, said = told("signoff", tmp_path / "r", "--policy", tmp_path / "p.yaml")
    assert code == 4 and "holds a digest in place of a system prompt" in said


def test_a_policy_may_pin_a_system_prompt_by_its_digest(made) -> None:
    whole = policies.parse(POLICY)
    by_digest = policies.parse(POLICY.replace(KIND, sealed(KIND)))
    assert (
        policies.registration(whole)
        == policies.registration(by_digest)
        == policies.registration(policies.concealed(whole))
    )


@settings(deadline=None, max_examples=300)
@given(st.text(alphabet="ab~./\\: '=C\n…", max_size=24))
def test_concealing_twice_is_concealing_once(text: str) -> None:
    for field in ("", "output_path", "system_prompt"):
        once = conceal(text, field)
        assert conceal(once, field) == once
    assert without_paths(without_paths(text)) == without_paths(text)


def test_what_is_no_path_stays() -> None:
    for text in ("meta-llama/Llama-2", "https://a.org/b/c", "and/or", "5/7 of them", "/", "github:a/b", ".../x"):
        assert conceal(text) == text
    for text, left in (("/home/ann lee/my model", ".../my model"), ("k=/a/b", "k=.../b"), ("~/x/y", ".../y")):
        assert conceal(text) == left


def test_salts_and_new_run_folders_are_their_owners(made) -> None:
    _, run, _ = made
    assert (run.stat().st_mode & 0o077, (run / "evidence" / bundles.SALTS).stat().st_mode & 0o077) == (0, 0)


SAID = "what was said"
RECORDS = {
    "prompts": Prompt(
        "t",
        "p",
        text=SAID,
        messages=(Message("user", SAID),),
        prefill=SAID,
        choices=(SAID,),
        factors={"wording": SAID},
        target={"question": SAID},
        pair=SAID,
        cluster=SAID,
    ),
    "outputs": Output("k", "p", text=SAID, reasoning=SAID, error=SAID),
    "scores": Score("k", "p", 0, "s", error=SAID),
}


@pytest.mark.parametrize("kind", RECORDS)
def test_no_field_in_which_somebody_speaks_is_open(kind: str) -> None:
    shown, sealed_half = hashes.halves(plain(RECORDS[kind]), kind)
    assert SAID not in canonical(shown) and SAID in canonical(sealed_half)


@pytest.mark.parametrize("open_half", [{"prompt_id": "p", "text": SAID}, {"prompt_id": "p", "reasoning": ""}])
def test_a_redacted_record_that_shows_what_is_to_be_sealed_is_none(open_half: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "outputs.jsonl"
    line = canonical({"open": {"prompt_id": "p"}, "sealed": "0" * 64}) + "\n"
    file.write_text(line)
    assert len(list(hashes.sealed_leaves(file, "run/t/outputs.jsonl"))) == 1
    file.write_text(line + canonical({"open": open_half, "sealed": "0" * 64}) + "\n")
    with pytest.raises(EvidenceError, match="line 2 is not a redacted record"):
        list(hashes.sealed_leaves(file, "run/t/outputs.jsonl"))


def test_where_a_server_is_stands_in_no_copy() -> None:
    told = canonical(conceal({"model_args": {"base_url": "http://10.0.0.5:8000/v1", "dialect": "vllm"}}))
    assert "10.0.0.5" not in told and "vllm" in told


def test_the_salt_of_one_record_opens_no_other(tmp_path: Path) -> None:
    """Two records that say the same look different, in one file and in two."""
    line = canonical(plain(RECORDS["outputs"])).encode() + b"\n"
    (file := tmp_path / "outputs.jsonl").write_bytes(line * 3)
    files = [hashes.redacted_lines(file, f"run/{task}/outputs.jsonl", b"secret") for task in ("one", "two")]
    assert len({json.loads(row)["sealed"] for rows in files for row in rows}) == 6
