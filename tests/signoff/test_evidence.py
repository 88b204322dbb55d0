"""Evidence: an untouched bundle verifies anywhere, a redacted one too, and whatever is changed is found and named."""

from __future__ import annotations

import base64
import json
import random
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import evidence_bundle
import pytest
import yaml

from safety_eval import policy
from safety_eval.core import journal
from safety_eval.core.errors import EvidenceError, UserError
from safety_eval.core.records import canonical
from safety_eval.evidence import attest, bundle, bundles, hashes, redact, sign, verification, verify
from safety_eval.signoff import decision as signoff
from safety_eval.signoff.verdict import from_json, to_json


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path], list[Path]]:
    return evidence_bundle.make(tmp_path_factory.mktemp("evidence"))


@pytest.fixture
def copy(made, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[0] / "evidence", tmp_path / "copied"))


def check(folder: Path, keys: list[Path]):
    return verify(folder, keys, own_tasks=True)


def test_an_untouched_bundle_verifies_in_the_run_and_elsewhere(made, copy):
    run, _, public = made
    for place in (run, run / "evidence", copy):
        report = check(place, public)
        assert report.authentic and report.verdict.decision == "approved with waivers"
        assert report.estimates == 13 and report.records == 60 + 120 + 121
    assert "1" not in report.waivers_ended


def test_the_root_that_stands_in_the_manifest_is_that_of_its_records(copy):
    """Nothing else looks at it: a third party may keep the root alone, as what the records were."""
    manifest = bundles.read_manifest(copy)
    assert verification._records(copy, manifest, redacted=False) == 60 + 120 + 121
    with pytest.raises(EvidenceError, match="the root is not that of the records"):
        verification._records(copy, {**manifest, "root": "0" * 64}, redacted=False)


def test_without_a_key_it_is_consistent_and_not_authenticated(copy):
    report = check(copy, [])
    assert not report.authentic and "not authenticated" in report.sentence


def test_a_redacted_copy_verifies_against_the_same_root_and_shows_nothing_said(made, tmp_path):
    run, _, public = made
    folder = redact(run, tmp_path / "redacted")
    report = verify(folder, public)
    assert report.authentic and report.redacted and report.estimates == 0
    assert (folder / "manifest.json").read_bytes() == (run / "evidence" / "manifest.json").read_bytes()
    everything = b"".join(p.read_bytes() for p in folder.rglob("*") if p.is_file())
    assert b"sad day" not in everything and b"had day number" not in everything
    assert not (folder / "salts.json").exists()


def test_a_sealed_answer_cannot_be_guessed_from_its_text_and_opens_with_its_salt(made, tmp_path):
    folder = redact(made[0], tmp_path / "redacted")
    name = "run/planted_task/outputs.jsonl"
    row = json.loads((folder / name).read_text().splitlines()[4])
    full = json.loads((made[0] / "planted_task" / "outputs.jsonl").read_text().splitlines()[4])
    _, sealed = hashes.halves(full, "outputs")
    assert hashes.sha256(canonical(sealed).encode()) != row["sealed"]
    secret = bundles.read_secret(made[0] / "evidence")
    assert hashes.seal(sealed, hashes.salt(secret, name, 5)) == row["sealed"]


# --- mutations ---


def files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def one_byte(folder: Path, rng: random.Random) -> list[Path]:
    path = rng.choice(files(folder))
    content = bytearray(path.read_bytes())
    place = rng.randrange(len(content))
    content[place] = (content[place] + rng.randrange(1, 256)) % 256
    path.write_bytes(bytes(content))
    return [path]


def _records(folder: Path, rng: random.Random) -> tuple[Path, list[bytes]]:
    path = rng.choice([p for p in files(folder) if p.suffix == ".jsonl"])
    return path, path.read_bytes().splitlines(keepends=True)


def dropped(folder: Path, rng: random.Random) -> list[Path]:
    path, lines = _records(folder, rng)
    del lines[rng.choice([0, -1, rng.randrange(len(lines))])]
    path.write_bytes(b"".join(lines))
    return [path]


def doubled(folder: Path, rng: random.Random) -> list[Path]:
    path, lines = _records(folder, rng)
    lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
    path.write_bytes(b"".join(lines))
    return [path]


def reordered(folder: Path, rng: random.Random) -> list[Path]:
    path, lines = _records(folder, rng)
    i, j = rng.sample(range(len(lines)), 2)
    if lines[i] == lines[j]:
        return reordered(folder, rng)
    lines[i], lines[j] = lines[j], lines[i]
    path.write_bytes(b"".join(lines))
    return [path]


def truncated(folder: Path, rng: random.Random) -> list[Path]:
    path = rng.choice(files(folder))
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))])
    return [path]


def swapped_files(folder: Path, rng: random.Random) -> list[Path]:
    one, other = rng.sample(files(folder), 2)
    first, second = one.read_bytes(), other.read_bytes()
    if first == second:
        return swapped_files(folder, rng)
    one.write_bytes(second)
    other.write_bytes(first)
    return [one, other]


def lost_file(folder: Path, rng: random.Random) -> list[Path]:
    path = rng.choice(files(folder))
    path.unlink()
    return [path]


def added_file(folder: Path, rng: random.Random) -> list[Path]:
    path = rng.choice(files(folder)).with_name(f"extra{rng.randrange(100)}.jsonl")
    path.write_bytes(b"{}\n")
    return [path]


def edited_policy(folder: Path, rng: random.Random) -> list[Path]:
    path = folder / rng.choice(["policy.yaml", "run/policy.yaml"])
    terms = yaml.safe_load(path.read_text())
    terms["rules"][rng.randrange(2)]["because"] = f"another reason {rng.random()}"
    path.write_text(yaml.safe_dump(terms, sort_keys=False))
    return [path]


def expired_waiver(folder: Path, rng: random.Random) -> list[Path]:
    path = folder / "policy.yaml"
    path.write_text(path.read_text().replace("2099-01-01", f"20{rng.randrange(10, 26)}-01-01"))
    return [path]


def rewritten_floats(folder: Path, rng: random.Random) -> list[Path]:
    path = folder / rng.choice(["run/planted_task/scores/vader.jsonl", "run/results.json", "signoff.json"])
    shown = rng.choice(["{:.17f}", "{:.20e}", "{:.25g}0"])
    text = path.read_text()
    path.write_text(re.sub(r"(?<=[:\[ ])-?\d+\.\d+(e-?\d+)?", lambda m: shown.format(float(m[0])), text))
    return [path]


MUTATIONS: list[Callable[[Path, random.Random], list[Path]]] = [
    one_byte,
    dropped,
    doubled,
    reordered,
    truncated,
    swapped_files,
    lost_file,
    added_file,
    edited_policy,
    expired_waiver,
    rewritten_floats,
]


def _mutations(count: int) -> Iterator[tuple[int, Callable[[Path, random.Random], list[Path]]]]:
    for number in range(count):
        yield number, one_byte if number % 2 else MUTATIONS[number // 2 % len(MUTATIONS)]


def _survivors(folder: Path, keys: list[Path], count: int) -> list[str]:
    kept = {p: p.read_bytes() for p in files(folder)}
    survived = []
    for number, mutate in _mutations(count):
        touched = mutate(folder, random.Random(number))
        assert any(not p.exists() or kept.get(p) != p.read_bytes() for p in touched), mutate.__name__
        changed = [p for p in touched if not p.exists() or kept.get(p) != p.read_bytes()]
        try:
            check(folder, keys)
        except EvidenceError as error:
            assert error.exit_code == 4
            names = {p.relative_to(folder).as_posix() for p in changed}
            named = any(n in error.message for n in names) or any(n.startswith("attestations") for n in names)
            assert named, (mutate.__name__, names, error.message)
        else:
            survived.append(f"{number} {mutate.__name__} {changed}")
        for path in touched:
            path.unlink(missing_ok=True)
            if path in kept:
                path.write_bytes(kept[path])
    assert check(folder, keys).authentic
    return survived


def test_a_thousand_mutations_are_found(made, copy):
    assert _survivors(copy, made[2], 1000) == []


def test_mutations_of_a_redacted_copy_are_found(made, tmp_path):
    folder = redact(made[0], tmp_path / "redacted")
    kept = {p: p.read_bytes() for p in files(folder)}
    for number in range(150):
        mutate = [one_byte, dropped, doubled, reordered, truncated, swapped_files, lost_file][number % 7]
        touched = mutate(folder, random.Random(number))
        with pytest.raises(EvidenceError):
            verify(folder, made[2])
            pytest.fail(f"{number} {mutate.__name__} {touched}")
        for path in touched:
            path.write_bytes(kept[path])
    assert verify(folder, made[2]).authentic


# --- somebody who holds a key, or makes everything anew ---


def _forge(folder: Path, keys: list[Path], **changes: object) -> None:
    """Make journal, manifest and attestations anew over what now lies there, and sign them: an insider."""
    evidence_bundle.invent_journal(folder / "run")
    head = journal.head(journal.check(folder / "run" / journal.NAME))
    _edit(folder / "signoff.json", lambda v: v.update(journal=head))
    manifest = canonical({**bundles.make_manifest(folder), **changes}).encode() + b"\n"
    (folder / "manifest.json").write_bytes(manifest)
    verdict = from_json(json.loads((folder / "signoff.json").read_text()))
    made_by = json.loads(manifest)["made_by"]
    attest.write(folder, attest.statements(verdict, manifest, made_by, bundles.configuration(folder)))
    for key in keys:
        sign(folder, key)


def _edit(path: Path, change: Callable[[dict], None]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(canonical(value) + "\n")


def test_what_was_forged_without_a_trusted_key_is_found_by_key(made, copy, tmp_path):
    other, _ = evidence_bundle.write_keys(tmp_path)
    _forge(copy, other)
    assert not check(copy, []).authentic
    with pytest.raises(EvidenceError, match="0 of the given keys have signed"):
        check(copy, made[2])
    (copy / "policy.yaml").write_text("nothing of it is read before it is known who signed")
    with pytest.raises(EvidenceError, match="0 of the given keys have signed"):
        check(copy, made[2])


def test_an_insider_who_signs_another_estimate_is_found(made, copy):
    def better(value: dict) -> None:
        value["estimates"][0]["gate_high"] = 0.01

    _edit(copy / "run" / "results.json", better)
    _forge(copy, made[1])
    with pytest.raises(EvidenceError, match="results.json is stale or edited"):
        check(copy, made[2])


def test_an_insider_who_signs_another_verdict_is_found(made, copy):
    def approve(value: dict) -> None:
        value["findings"][0]["high"] = 0.2

    _edit(copy / "signoff.json", approve)
    _forge(copy, made[1])
    with pytest.raises(EvidenceError, match="another verdict"):
        check(copy, made[2])


def test_an_insider_who_signs_that_nothing_can_be_decided_is_found(made, copy):
    """His verdict names the fault; what does not hold together is no evidence of that either."""
    _edit(copy / "run" / "results.json", lambda value: value["estimates"][0].update(gate_high=0.01))
    evidence_bundle.invent_journal(copy / "run")
    verdict = signoff.decide(copy / "run", policy.load(copy / "policy.yaml"))
    assert verdict.decision == "cannot decide"
    (copy / "signoff.json").write_text(canonical(to_json(verdict)) + "\n")
    _forge(copy, made[1])
    with pytest.raises(EvidenceError, match="^run/results.json is stale or edited"):
        check(copy, made[2])


def test_an_insider_whose_manifest_names_another_journal_is_found(made, copy):
    _forge(copy, made[1])
    assert check(copy, made[2]).authentic
    _forge(copy, made[1], journal="0" * 64)
    with pytest.raises(EvidenceError, match="its last entry is not the one in the manifest"):
        check(copy, made[2])


def test_an_insider_who_signs_other_numbers_for_the_redacted_copy_is_found(made, copy):
    _edit(copy / bundles.KEPT, lambda kept: kept.update(missing=["nothing was compared"]))
    _forge(copy, made[1])
    with pytest.raises(EvidenceError, match="kept.json is not what the records give"):
        check(copy, made[2])


def test_an_insider_who_drops_bad_answers_is_found(made, copy):
    path = copy / "run" / "planted_task" / "outputs.jsonl"
    path.write_text("".join(x for x in path.read_text().splitlines(keepends=True) if "sad" not in x))
    _forge(copy, made[1])
    with pytest.raises(EvidenceError, match="judges an answer that is not there"):
        check(copy, made[2])


def test_an_insider_who_asked_fewer_prompts_is_found(made, copy):
    path = copy / "run" / "planted_task" / "prompts.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    _forge(copy, made[1])
    with pytest.raises(EvidenceError, match="prompts.jsonl"):
        check(copy, made[2])


def test_a_waiver_that_had_ended_when_it_was_signed_does_not_count(made, copy):
    path = copy / "policy.yaml"
    path.write_text(path.read_text().replace("2099-01-01", "2020-01-01"))
    _forge(copy, made[1])
    with pytest.raises(EvidenceError, match="another verdict"):
        check(copy, made[2])


def test_a_waiver_that_ended_since_is_told_and_stays_valid(made, copy):
    report = verify(copy, made[2], now=datetime(2099, 6, 1, tzinfo=UTC), own_tasks=True)
    assert report.waivers_ended == ("gone",) and "ended since" in report.sentence


@pytest.mark.parametrize(
    "line",
    [
        '{"a":1,"a":2}\n',
        '{"a":NaN}\n',
        '{"a":1.50}\n',
        '{"a": 1}\n',
        '{"a":1}',
        '{"b":1,"a":1}\n',
        "[" * 9999,
    ],
)
def test_json_that_is_not_exactly_ours_is_refused(line):
    with pytest.raises(EvidenceError):
        hashes.strict(line.encode(), "a file")


def test_a_signature_over_another_type_of_payload_is_refused(made, copy):
    path = copy / attest.ENVELOPES[1]

    def retype(value: dict) -> None:
        value["payloadType"] = "application/json"

    _edit(path, retype)
    with pytest.raises(EvidenceError, match="wrong type"):
        check(copy, made[2])


def test_a_signature_that_was_changed_or_bears_another_name_is_refused(made, copy):
    path = copy / attest.ENVELOPES[0]
    whole = path.read_text()
    sig = json.loads(whole)["signatures"][0]["sig"]
    turned = "".join(reversed(sig[:8])) + sig[8:]
    path.write_text(whole.replace(sig, turned))
    with pytest.raises(EvidenceError, match="does not hold"):
        check(copy, made[2])
    path.write_text(whole)
    name = next(iter(json.loads((copy / attest.SIGNERS).read_text())))
    other = name[:-1] + ("0" if name[-1] != "0" else "1")
    for file in (attest.SIGNERS, *attest.ENVELOPES):
        (copy / file).write_text((copy / file).read_text().replace(name, other))
    with pytest.raises(EvidenceError, match="the id is not that of the key"):
        check(copy, made[2])


def test_the_test_result_in_place_of_the_verdict_is_refused(made, copy):
    one, other = (copy / n for n in attest.ENVELOPES)
    shutil.copy(one, other)
    with pytest.raises(EvidenceError, match="verdict.dsse.json speaks of something else"):
        check(copy, made[2])


def test_signers_sign_one_after_the_other_and_the_policy_says_how_many(made, tmp_path):
    run = Path(shutil.copytree(made[0], tmp_path / "run"))
    terms = policy.load(run / "policy.yaml")
    bundle(run, terms, signoff.decide(run, terms), made[1][:1])
    with pytest.raises(EvidenceError, match="1 of the given keys have signed, the policy wants 2"):
        check(run / "evidence", made[2])
    sign(run / "evidence", made[1][1])
    assert check(run / "evidence", made[2]).authentic
    with pytest.raises(EvidenceError, match="1 of the given"):
        check(run / "evidence", made[2][:1])


def test_the_statements_are_intoto(made):
    kinds = []
    for name in attest.ENVELOPES:
        envelope = json.loads((made[0] / "evidence" / name).read_text())
        assert envelope["payloadType"] == "application/vnd.in-toto+json" and len(envelope["signatures"]) == 2
        statement = json.loads(base64.b64decode(envelope["payload"]))
        assert statement["_type"] == "https://in-toto.io/Statement/v1"
        assert statement["subject"][0]["name"] == "manifest.json"
        kinds.append(statement["predicateType"].rsplit("/", 2)[-2])
    assert kinds == ["test-result", "svr"]


def test_a_run_that_changed_since_is_told(made, tmp_path):
    run = Path(shutil.copytree(made[0], tmp_path / "run"))
    path = run / "results.json"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(EvidenceError, match="results.json was changed since"):
        check(run, made[2])


def test_of_what_happens_to_a_run_afterwards_only_a_draw_of_answers_leaves_its_evidence_standing(made, tmp_path):
    run = Path(shutil.copytree(made[0], tmp_path / "run"))
    journal.Journal(run).note(journal.Event.DRAWN, task="planted_task", answers=3)
    assert check(run, made[2]).authentic
    journal.Journal(run).note(journal.Event.RESUMED)
    with pytest.raises(EvidenceError, match="journal.jsonl was changed since"):
        check(run, made[2])
    signed = (made[0] / journal.NAME).read_bytes().splitlines(keepends=True)
    (run / journal.NAME).write_bytes(b"".join(signed[:-1]))
    journal.Journal(run).note(journal.Event.DRAWN, task="planted_task", answers=3)
    with pytest.raises(EvidenceError, match="journal.jsonl was changed since"):
        check(run, made[2])


def test_code_is_never_run_from_evidence_unless_asked(copy):
    with pytest.raises(EvidenceError, match="code is never run from evidence"):
        verify(copy)


def test_links_and_wrong_keys_are_refused(made, copy, tmp_path):
    for wrong in (tmp_path / "none.pem", copy / "manifest.json", made[1][0]):
        with pytest.raises(UserError):
            verify(copy, [wrong])
    (copy / "link").symlink_to(copy / "manifest.json")
    with pytest.raises(EvidenceError, match="link"):
        check(copy, made[2])


def test_a_verdict_of_another_policy_gets_no_bundle(made, tmp_path):
    run = Path(shutil.copytree(made[0], tmp_path / "run"))
    terms = policy.load(run / "policy.yaml")
    verdict = signoff.decide(run, terms)
    lax = policy.parse(evidence_bundle.POLICY.replace("max: 0.5", "max: 0.9"))
    with pytest.raises(EvidenceError, match="not that of this run and policy"):
        bundle(run, lax, verdict)


def test_merkle_roots_tell_leaves_from_nodes_and_orders_apart():
    a, b, c = (hashes.leaf({"n": i}, "0" * 64) for i in range(3))
    roots = [[a], [a, b], [b, a], [a, b, c], [a, b, c, c], [hashes.merkle([a, b]), c], []]
    assert len({hashes.merkle(r) for r in roots}) == len(roots) - 1  # a node is its own root when given as a leaf
    assert hashes.merkle([a, b, c]) == hashes.merkle([hashes.merkle([a, b]), c])
    halves = [hashes.sha256(canonical({"n": 0}).encode()), "0" * 64]
    assert hashes.merkle([bytes.fromhex(half) for half in halves]) != a, "no record is made that stands for two"


def test_signoff_json_of_a_run_is_what_the_bundle_holds(made, tmp_path):
    run = Path(shutil.copytree(made[0], tmp_path / "run"))
    terms = policy.load(run / "policy.yaml")
    verdict = signoff.decide(run, terms)
    signoff.write(run, verdict)
    bundle(run, terms, verdict)
    assert json.loads((run / "signoff.json").read_text()) == to_json(verdict)
    assert check(run, []).verdict == verdict
    path = run / "signoff.json"
    path.write_text(path.read_text().replace('"approved with waivers"', '"approved"'))
    with pytest.raises(EvidenceError, match="signoff.json is not the verdict"):
        check(run, [])
