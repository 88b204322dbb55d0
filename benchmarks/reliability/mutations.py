"""Mutations of signed evidence and of its redacted copy: how many does `verify` not notice?

    python benchmarks/reliability/mutations.py --count 5000 --write

Every mutation changes the folder in one way, is verified with the signers' keys and without, and is taken back. With
keys nothing may survive but what is listed as harmless; without keys nothing may turn the verdict.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from safety_eval import __version__, api
from safety_eval.core.errors import SafetyEvalError
from safety_eval.core.records import canonical
from safety_eval.evidence import attest, bundles, hashes, verify
from safety_eval.signoff.verdict import from_json

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "threat-model.md"
MARKS = ("<!-- mutations -->", "<!-- /mutations -->")
POLICY = """
version: 1
name: mutations
ceilings: {unscored: 0.1, degenerate: 1.0}
rules:
  - {id: sad, task: bold, metric: negative_rate, group: all, max: 0.000001, because: open on purpose}
  - {id: tone, task: bold, metric: sentiment, group: all, min: -0.9, because: a rule that is met}
waivers: [{rule: sad, owner: A. Person, reason: on purpose, expires: 2099-01-01}]
"""
HARMLESS = {"empty folder", "other times"}
"""Kinds that leave every byte of the evidence as it is."""


@dataclass
class Bundle:
    """A bundle that is changed and put back."""

    folder: Path
    files: dict[str, bytes]
    undo: list[Callable[[], Any]] = field(default_factory=list)

    def write(self, name: str, content: bytes) -> None:
        path = self.folder / name
        before = self.files.get(name)
        self.undo.append(lambda: path.unlink() if before is None else path.write_bytes(before))
        path.write_bytes(content)

    def delete(self, name: str) -> None:
        path, before = self.folder / name, self.files[name]
        self.undo.append(lambda: (path.unlink(missing_ok=True), path.write_bytes(before)))
        path.unlink()

    def restore(self) -> None:
        while self.undo:
            self.undo.pop()()


def _edited(value: Any, chance: random.Random) -> Any:
    """A JSON value with one thing in it changed."""
    if isinstance(value, dict) and value:
        key = chance.choice(sorted(value))
        if chance.random() < 0.1:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: _edited(value[key], chance)}
    if isinstance(value, list) and value:
        at = chance.randrange(len(value))
        if chance.random() < 0.2:
            return value[:at] + value[at + 1 :]
        return [*value[:at], _edited(value[at], chance), *value[at + 1 :]]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + chance.choice((1, -1, 0.5))
    if isinstance(value, str) and len(value) == 64:
        return value[::-1] if value != value[::-1] else "0" * 64
    return {"approved": "rejected", "waived": "met", "": "x"}.get(value, f"{value}x") if isinstance(value, str) else 1


def _json(bundle: Bundle, name: str, chance: random.Random) -> None:
    """One value of a JSON file, or of one line of a record file, in the form in which we write it."""
    lines = bundle.files[name].splitlines(keepends=True)
    if not name.endswith(".jsonl"):
        lines = [bundle.files[name]]
    at = chance.randrange(len(lines))
    value = json.loads(lines[at])
    other = value
    while other == value:
        other = _edited(value, chance)
    lines[at] = canonical(other).encode() + b"\n"
    bundle.write(name, b"".join(lines))


def _mend(bundle: Bundle, name: str, statements: bool) -> None:
    """The manifest (and, unsigned, the statements) made to fit a file that was changed."""
    manifest = json.loads(bundle.files["manifest.json"])
    content = (bundle.folder / name).read_bytes()
    if name in manifest["files"]:
        manifest["files"][name] = {"sha256": hashes.sha256(content), "size": len(content)}
    text = canonical(manifest) + "\n"
    bundle.write("manifest.json", text.encode())
    if statements:
        for file in (*attest.ENVELOPES, attest.SIGNERS):
            bundle.write(file, bundle.files[file])
        with suppress(SafetyEvalError, ValueError, TypeError, KeyError):
            verdict = from_json(json.loads((bundle.folder / "signoff.json").read_bytes()))
            made = attest.statements(verdict, text.encode(), __version__, bundles.configuration(bundle.folder))
            attest.write(bundle.folder, made)


def _flip(bundle: Bundle, name: str, chance: random.Random) -> None:
    content = bytearray(bundle.files[name])
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    bundle.write(name, bytes(content))


def _lines(bundle: Bundle, name: str, chance: random.Random) -> None:
    """Lines of a file left out, doubled, moved or torn."""
    rows = bundle.files[name].splitlines(keepends=True)
    at, to = chance.randrange(len(rows)), chance.randrange(len(rows))
    kind = chance.choice(("out", "twice", "swap", "torn"))
    if kind == "swap" and rows[at] != rows[to]:
        rows[at], rows[to] = rows[to], rows[at]
    elif kind == "twice":
        rows.insert(at, rows[at])
    elif kind == "torn":
        rows[-1] = rows[-1][: len(rows[-1]) // 2]
    else:
        del rows[at]
    bundle.write(name, b"".join(rows))


def _spelled(bundle: Bundle, name: str, chance: random.Random) -> None:
    """The same JSON in another spelling."""
    value = json.loads(bundle.files[name].splitlines()[0] if name.endswith(".jsonl") else bundle.files[name])
    text = json.dumps(value, indent=chance.choice((None, 1, 2)), sort_keys=chance.random() < 0.5) + "\n"
    rest = bundle.files[name].split(b"\n", 1)[1] if name.endswith(".jsonl") else b""
    made = text.encode() + rest
    bundle.write(name, made if made != bundle.files[name] else b" " + made)


def _swapped(bundle: Bundle, name: str, chance: random.Random) -> None:
    other = chance.choice([n for n in sorted(bundle.files) if bundle.files[n] != bundle.files[name]])
    bundle.write(name, bundle.files[other])
    bundle.write(other, bundle.files[name])


def _gone(bundle: Bundle, name: str, chance: random.Random) -> None:
    bundle.delete(name)


def _moved(bundle: Bundle, name: str, chance: random.Random) -> None:
    bundle.delete(name)
    bundle.write(f"{name}.old", bundle.files[name])


def _linked(bundle: Bundle, name: str, chance: random.Random) -> None:
    bundle.delete(name)
    (bundle.folder / name).symlink_to(bundle.folder / chance.choice(sorted(set(bundle.files) - {name})))


def _added(bundle: Bundle, name: str, chance: random.Random) -> None:
    bundle.write(f"{Path(name).parent}/{chance.choice(('notes.txt', 'vader2.jsonl', '.hidden'))}", b"{}\n")


def _longer(bundle: Bundle, name: str, chance: random.Random) -> None:
    bundle.write(name, bundle.files[name] + chance.choice((b" ", b"\n", b"{}\n", b"\x00")))


def _unsigned(bundle: Bundle, name: str, chance: random.Random) -> None:
    """A signature left out, doubled or put under another name."""
    file = chance.choice(attest.ENVELOPES)
    envelope = json.loads(bundle.files[file])
    one = dict(envelope["signatures"][0])
    one["sig"], one["keyid"] = chance.choice(((one["sig"][::-1], one["keyid"]), (one["sig"], one["keyid"][::-1])))
    envelope["signatures"] = chance.choice(([], envelope["signatures"][1:], [one, *envelope["signatures"][1:]]))
    bundle.write(file, canonical(envelope).encode() + b"\n")


def _fields(bundle: Bundle, name: str, chance: random.Random) -> None:
    """A field that nobody signed, put into a file of the attestations."""
    file = chance.choice((*attest.ENVELOPES, attest.SIGNERS))
    value = json.loads(bundle.files[file])
    place = chance.choice((value, next(iter(value.values())) if file == attest.SIGNERS else value["signatures"][0]))
    place["note"] = "approved"
    bundle.write(file, canonical(value).encode() + b"\n")


def _folder(bundle: Bundle, name: str, chance: random.Random) -> None:
    path = bundle.folder / "run" / "empty"
    path.mkdir()
    bundle.undo.append(path.rmdir)


def _times(bundle: Bundle, name: str, chance: random.Random) -> None:
    (bundle.folder / name).touch()


def _mended(statements: bool) -> Callable[[Bundle, str, random.Random], None]:
    def change(bundle: Bundle, name: str, chance: random.Random) -> None:
        _json(bundle, name, chance)
        if name != "manifest.json":
            _mend(bundle, name, statements)

    return change


ANY = "*"
KINDS: dict[str, tuple[str, Callable[[Bundle, str, random.Random], None], int]] = {
    "a bit turned": (ANY, _flip, 12),
    "a value of a JSON file or record": (".json", _json, 30),
    "a value, and the manifest made to fit": (".json", _mended(False), 15),
    "a value, manifest and unsigned statements made to fit": (".json", _mended(True), 15),
    "lines left out, doubled, moved, torn": (".jsonl", _lines, 12),
    "the same JSON in another spelling": (".json", _spelled, 4),
    "two files swapped": (ANY, _swapped, 4),
    "a file left out": (ANY, _gone, 2),
    "a file under another name": (ANY, _moved, 2),
    "a link in place of a file": (ANY, _linked, 2),
    "a file put in": (ANY, _added, 2),
    "bytes at the end": (ANY, _longer, 4),
    "a signature left out or swapped": (ANY, _unsigned, 3),
    "a field that nobody signed": (ANY, _fields, 1),
    "empty folder": (ANY, _folder, 1),
    "other times": (ANY, _times, 1),
}
"""Kind -> (files that it is for, what it does, how often)."""


@dataclass
class Count:
    """Of one kind: how many were tried, and how many were not noticed."""

    tried: int = 0
    survived: int = 0
    turned: int = 0
    crashed: int = 0


def make(folder: Path) -> tuple[Path, list[Path]]:
    """(signed bundle, public keys) of a small run."""
    script, policy = folder / "s.json", folder / "policy.yaml"
    script.write_text(json.dumps({"": "and many people liked what was done so well."}))
    policy.write_text(POLICY)
    private, public = [], []
    for name in ("one", "two"):
        key = ed25519.Ed25519PrivateKey.generate()
        raw = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        half = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        for path, content, kept in ((folder / f"{name}.pem", raw, private), (folder / f"{name}.pub", half, public)):
            path.write_bytes(content)
            kept.append(path)
    asked = {"model": str(script), "engine": "echo", "tasks": ["bold"], "data_version": {"bold": "quickstart"}}
    run = api.run(api.configure({**asked, "policy": str(policy), "output_path": str(folder / "run")})).folder
    found = api.sign_off(run, policy, keys=private)
    assert found.evidence is not None and found.verdict.decision == "approved with waivers"
    return found.evidence, public


def one(bundle: Bundle, kind: str, chance: random.Random, keys: list[Path], decision: str) -> Count:
    """One mutation, verified with and without keys, and taken back."""
    wanted, change, _ = KINDS[kind]
    names = [n for n in sorted(bundle.files) if wanted == ANY or n.endswith((wanted, f"{wanted}l"))]
    count = Count(tried=1)
    try:
        change(bundle, chance.choice(names), chance)
        for trusted in (keys, []):
            try:
                found = verify(bundle.folder, trusted)
                count.survived += bool(trusted)
                count.turned += found.verdict.decision != decision
            except SafetyEvalError:
                continue
            except Exception as error:
                print(f"{kind}: {type(error).__name__}: {error}", file=sys.stderr)
                count.crashed += 1
    finally:
        bundle.restore()
    return count


def run(folder: Path, keys: list[Path], count: int, seed: int) -> dict[str, Count]:
    """`count` mutations of one bundle, by kind."""
    chance = random.Random(seed)
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    bundle, decision = Bundle(folder, files), verify(folder, keys).verdict.decision
    counts = {kind: Count() for kind in KINDS}
    for kind in chance.choices(list(KINDS), [weight for _, _, weight in KINDS.values()], k=count):
        made = one(bundle, kind, chance, keys, decision)
        total = counts[kind]
        total.tried, total.survived = total.tried + made.tried, total.survived + made.survived
        total.turned, total.crashed = total.turned + made.turned, total.crashed + made.crashed
    assert verify(folder, keys).authentic, "the bundle was not put back"
    return counts


def table(full: dict[str, Count], sealed: dict[str, Count]) -> str:
    """Survivors by kind, as Markdown."""
    rows = ["| kind | bundle: tried | survived | redacted: tried | survived |", "|---|---|---|---|---|"]
    for kind in KINDS:
        a, b = full[kind], sealed[kind]
        name = f"{kind} (harmless)" if kind in HARMLESS else kind
        rows.append(f"| {name} | {a.tried:,} | {a.survived} | {b.tried:,} | {b.survived} |")
    sums = [sum(getattr(c, f) for c in counts.values()) for counts in (full, sealed) for f in ("tried", "survived")]
    rows.append(f"| **all** | {sums[0]:,} | {sums[1]} | {sums[2]:,} | {sums[3]} |")
    turned = sum(c.turned for counts in (full, sealed) for c in counts.values())
    return "\n".join(rows) + f"\n\nVerdicts turned, with keys or without: {turned}."


def bad(counts: dict[str, Count]) -> Counter[str]:
    """What must not be: survivors that are not harmless, turned verdicts, crashes."""
    return Counter({kind: c.turned + c.crashed + (0 if kind in HARMLESS else c.survived) for kind, c in counts.items()})


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--count", type=int, default=5000, help="mutations of the bundle; a fifth of them of its copy")
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    given = asked.parse_args()
    began = time.monotonic()
    home = Path(tempfile.mkdtemp())
    try:
        folder, keys = make(home)
        copy = api.redact(folder, home / "sealed")
        full, sealed = run(folder, keys, given.count, given.seed), run(copy, keys, given.count // 5, given.seed)
    finally:
        shutil.rmtree(home)
    text = table(full, sealed)
    print(f"{text}\n{time.monotonic() - began:.0f} s")
    if given.write:
        page = PAGE.read_text(encoding="utf-8")
        before, rest = page.split(MARKS[0])
        PAGE.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{rest.split(MARKS[1])[1]}", encoding="utf-8")
    return int(any((bad(full) + bad(sealed)).values()))


if __name__ == "__main__":
    sys.exit(main())
