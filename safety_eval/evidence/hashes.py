"""Strict JSON, file digests, and Merkle roots over records whose sensitive half can be sealed.

A record's leaf commits to its open half and, under a salt of its own, to its sealed half (what was asked and
answered, and the keys that are hashes of it). A redacted copy carries the open half and the salted digest
of the sealed one, so that it gives the same root while nothing can be guessed from it. Trees as in RFC
6962, section 2.1:
leaves and nodes hash with different first bytes.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from safety_eval.core import limits
from safety_eval.core.conceal import conceal
from safety_eval.core.errors import EvidenceError
from safety_eval.core.records import canonical

SEALED = {
    "prompts": ("text", "messages", "prefill", "choices", "target", "factors", "pair", "cluster"),
    "outputs": ("text", "reasoning", "prompt_key", "error"),
    "scores": ("output_key", "error"),
}
"""Fields of each kind of record that a redacted copy does not show."""


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def strict(content: bytes, name: str) -> Any:
    """JSON exactly as we write it: canonical, no doubled key, no NaN, one newline at the end.

    Raises:
        EvidenceError: anything else; `name` is the file, with its line if there is one.
    """
    try:
        limits.refuse_many(content)
        value = json.loads(content, object_pairs_hook=_once, parse_constant=_no_constant)
        same = canonical(value).encode() + b"\n" == content
    except (ValueError, RecursionError) as error:
        raise EvidenceError(f"{name} is damaged: {error}") from error
    if not same:
        raise EvidenceError(f"{name} was written again: it is not in canonical form")
    return value


def kind_of(path: str) -> str:
    """'prompts', 'outputs' or 'scores' for a record file of a run folder, '' for any other file."""
    parts = Path(path).parts
    if len(parts) >= 2 and parts[-1] in ("prompts.jsonl", "outputs.jsonl"):
        return parts[-1].removesuffix(".jsonl")
    return "scores" if len(parts) >= 3 and parts[-2] == "scores" and parts[-1].endswith(".jsonl") else ""


def lines(file: Path, name: str) -> Iterator[bytes]:
    """The lines of a record file, each with its newline, one by one. `name`: as messages call it.

    Raises:
        EvidenceError: the last line is torn, or one is longer than any of ours.
    """
    with file.open("rb") as content:
        for number, line in enumerate(iter(lambda: content.readline(limits.LINE_BYTES + 1), b""), 1):
            if len(line) > limits.LINE_BYTES:
                raise EvidenceError(f"{name}, line {number} is longer than {limits.LINE_BYTES >> 20} MB")
            if not line.endswith(b"\n"):
                raise EvidenceError(f"{name}, line {number} is torn: it has no end")
            yield line


def halves(row: Mapping[str, Any], kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(open, sealed) fields of a record; the header of a score file is open, but for folders that it names."""
    if kind == "scores" and "identity" in row:
        told = conceal(row)
        return told, {} if told == row else dict(row)
    fields = SEALED[kind]
    return {k: v for k, v in row.items() if k not in fields}, {k: v for k, v in row.items() if k in fields}


def salt(secret: bytes, path: str, number: int) -> bytes:
    """Salt of the record in line `number` of a file: telling it opens that record and no other."""
    return hmac.new(secret, f"{path}\n{number}".encode(), hashlib.sha256).digest()


def seal(sealed: Mapping[str, Any], salted: bytes) -> str:
    """Salted digest of the sealed half."""
    return sha256(salted + canonical(sealed).encode())


def leaf(open_half: Mapping[str, Any], sealed_digest: str) -> bytes:
    """Leaf of a record."""
    parts = hashlib.sha256(canonical(open_half).encode()).digest() + bytes.fromhex(sealed_digest)
    return hashlib.sha256(b"\x00" + parts).digest()


def full_leaves(file: Path, path: str, secret: bytes) -> Iterator[bytes]:
    """Leaves of a record file as it is. `path`: of the file in the bundle."""
    kind = kind_of(path)
    for number, line in enumerate(lines(file, path), 1):
        open_half, sealed = halves(_row(line, path, number), kind)
        yield leaf(open_half, seal(sealed, salt(secret, path, number)))


def redacted_lines(file: Path, path: str, secret: bytes) -> Iterator[bytes]:
    """A record file with every sealed half replaced by its salted digest."""
    kind = kind_of(path)
    for number, line in enumerate(lines(file, path), 1):
        open_half, sealed = halves(_row(line, path, number), kind)
        row = {"open": open_half, "sealed": seal(sealed, salt(secret, path, number))}
        yield canonical(row).encode() + b"\n"


def sealed_leaves(file: Path, path: str) -> Iterator[bytes]:
    """Leaves of a redacted record file.

    Raises:
        EvidenceError: a line that is not in redacted form, or shows a field that is to be sealed.
    """
    kind = kind_of(path)
    for number, line in enumerate(lines(file, path), 1):
        row = _row(line, path, number)
        shown = row.get("open")
        digest = row.get("sealed")
        fits = set(row) == {"open", "sealed"} and isinstance(shown, dict) and isinstance(digest, str)
        if not fits or not is_digest(digest) or halves(dict(shown or {}), kind)[1]:
            raise EvidenceError(f"{path}, line {number} is not a redacted record")
        yield leaf(dict(shown or {}), str(digest))


def about_records(leaves: Iterable[bytes]) -> dict[str, Any]:
    """How the manifest names the records of a file: how many there are, and their root."""
    count, tops = 0, list[tuple[int, bytes]]()
    for top in leaves:
        count, height = count + 1, 0
        while tops and tops[-1][0] == height:
            top, height = _node(tops.pop()[1], top), height + 1
        tops.append((height, top))
    root = tops.pop()[1] if tops else hashlib.sha256(b"").digest()
    while tops:
        root = _node(tops.pop()[1], root)
    return {"lines": count, "root": root.hex()}


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def merkle(leaves: Iterable[bytes]) -> bytes:
    """Root of a Merkle tree."""
    return bytes.fromhex(about_records(leaves)["root"])


def root_of(records: Mapping[str, Mapping[str, Any]]) -> str:
    """Root over all record files: {path: {"lines": n, "root": hex}}."""
    rows = [[path, about["lines"], about["root"]] for path, about in sorted(records.items())]
    return merkle([hashlib.sha256(b"\x00" + canonical(row).encode()).digest() for row in rows]).hex()


def _row(line: bytes, path: str, number: int) -> dict[str, Any]:
    row = strict(line, f"{path}, line {number}")
    if not isinstance(row, dict):
        raise EvidenceError(f"{path}, line {number} is damaged: not a JSON object")
    return row


def is_digest(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not a number")
