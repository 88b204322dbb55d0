"""Prompt sources: public data at a pinned revision, or a local mirror, checked by one digest.

The digest is taken over the canonical rows, not over the bytes, so that a parquet file of the Hub, the csv
file of a GitHub repository and a local mirror of either agree. A mirror is a folder with
DIR/hub/<org>/<name>/<file> and DIR/github/<org>/<repo>/<file>.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safety_eval.core import fetch, packages
from safety_eval.core.errors import UserError
from safety_eval.core.records import Prompt, digest, from_plain
from safety_eval.core.requires import DataNeed, Home, Requires
from safety_eval.core.task import PromptSet

OWN = Path(__file__).parents[1] / "_data"
Row = dict[str, Any]
Named = tuple[str, Path]
"""A file by the name that it has in its repository; in a cache its own name may say nothing."""


@dataclass(frozen=True, slots=True)
class Source:
    """A published data set, pinned.

    Attributes:
        name: for messages.
        homes: in order of preference; every home gives the same rows.
        read: (name in the home, local file) for each of a home's files -> canonical rows (JSON values only).
        rows: how many there are.
        sha256: `records.digest` of the rows; '' = pinned by `blob`.
        license: of the data.
        blob: git's own id of the one file, where a home is pinned by that: SHA-1 of 'blob <size>', a zero byte and the
            bytes.
    """

    name: str
    homes: tuple[Home, ...]
    read: Callable[[Sequence[Named]], list[Row]]
    rows: int
    sha256: str
    license: str
    blob: str = ""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Rows of a source that match its digest, and where they came from."""

    rows: list[Row]
    manifest: Mapping[str, Any]


def needed(*sources: Source) -> Requires:
    """What a task needs that reads these sources."""
    return Requires(data=tuple(DataNeed(source.name, source.homes) for source in sources))


def load(source: Source, mirror: Path | None) -> Loaded:
    """The rows of `source`, from the mirror if one is given, else from the first public home that has them.

    Raises:
        UserError: a missing, empty, truncated or altered file, or a public home gated or out of reach.
    """
    if mirror is not None:
        return _checked(source, *_mirrored(source, mirror))
    refusals = []
    for home in source.homes:
        if not home.revision:
            continue
        files: list[Path] = []
        try:
            files += (_fetched(source, home, name) for name in home.files)
            return _checked(source, home, files)
        except UserError as error:
            refusals.append(error)
            for file in files:
                fetch.forget(file)
    raise refusals[0]


def _checked(source: Source, home: Home, files: list[Path]) -> Loaded:
    if source.blob:
        _check_blob(source, home, files)
    rows = _read(source, home, files)
    found = digest(rows)
    if not source.blob and (len(rows) != source.rows or found != source.sha256):
        raise UserError(
            f"{source.name}: not the published data in {_listing(files)}: expected {source.rows} rows with "
            f"SHA-256 {source.sha256[:16]}..., found {len(rows)} rows with {found[:16]}...",
            f"Copy the files of {home.folder} again (revision {home.revision or 'any'}), or leave out "
            "--data to fetch them.",
        )
    manifest = {
        "source": f"{home.host}:{home.repo}",
        "revision": home.revision,
        "files": list(home.files),
        "sha256": found,
        "rows": len(rows),
        "license": source.license,
    }
    return Loaded(rows, manifest)


def _check_blob(source: Source, home: Home, files: Sequence[Path]) -> None:
    content = files[0].read_bytes()
    # Git's name of a file, no secret: SHA-1 is what the published commit holds.
    found = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    if found != source.blob:
        raise UserError(
            f"{source.name}: {files[0]} is not the published file: expected git blob {source.blob[:16]}..., found "
            f"{found[:16]}...",
            f"Copy it again from {home.folder} (revision {home.revision}), or leave out --data to fetch it.",
        )


def _mirrored(source: Source, mirror: Path) -> tuple[Home, list[Path]]:
    if not mirror.is_dir():
        raise UserError(
            f"the data folder {mirror} does not exist",
            "Give --data (or SAFETY_EVAL_DATA) a folder that holds hub/ and github/.",
        )
    for home in source.homes:
        files = [mirror / home.folder / name for name in home.files]
        if not any(file.is_file() for file in files):
            continue
        missing = [name for file, name in zip(files, home.files, strict=True) if not file.is_file()]
        if missing:
            raise UserError(
                f"{source.name}: {len(missing)} of {len(files)} files are missing in {mirror / home.folder}: "
                f"{', '.join(missing[:3])}{' ...' if len(missing) > 3 else ''}",
                "Copy them from the public home, or leave out --data to fetch them.",
            )
        return home, files
    wanted = " or ".join(f"{home.folder}/{home.files[0]}" for home in source.homes)
    raise UserError(
        f"{source.name} is not in the data folder {mirror}: expected {wanted}",
        "Copy it there from its public home, or leave out --data to fetch it.",
    )


def _fetched(source: Source, home: Home, name: str) -> Path:
    get = fetch.from_hub if home.host == "hub" else fetch.from_github
    try:
        return get(home.repo, home.revision, name)
    except (OSError, ValueError) as error:
        raise UserError(*_unreachable(source, home, name, error)) from error


def _unreachable(source: Source, home: Home, name: str, error: Exception) -> tuple[str, str]:
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    what = f"{source.name}: cannot fetch {name} of {home.host}:{home.repo} at {home.revision[:12]} ({said})"
    refused = any(sign in f"{type(error).__name__} {error}" for sign in ("Gated", "401", "403", "Unauthorized"))
    if refused and home.host == "hub":
        return what, (
            f"Accept the terms at huggingface.co/datasets/{home.repo} and log in with `hf auth login` or "
            f"set HF_TOKEN; or give --data a mirror that holds {home.folder}/{name}."
        )
    return what, (
        f"Check the connection (HF_HUB_OFFLINE forbids it), or give --data (SAFETY_EVAL_DATA) a mirror "
        f"that holds {home.folder}/{name}."
    )


def _read(source: Source, home: Home, files: Sequence[Path]) -> list[Row]:
    for file in files:
        if file.stat().st_size == 0:
            raise UserError(f"{source.name}: {file} is empty", "Copy it again from its public home.")
    try:
        return source.read(list(zip(home.files, files, strict=True)))
    except PermissionError as error:
        raise UserError(
            f"{source.name}: no permission to read {error.filename}", "Check its owner and mode."
        ) from error
    except (ValueError, KeyError, TypeError, OSError, csv.Error) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{source.name}: {_listing(files)} cannot be read: truncated or not the expected form ({said})",
            "Copy it again from its public home.",
        ) from error


def _listing(files: Sequence[Path]) -> str:
    return str(files[0]) if len(files) == 1 else f"{len(files)} files in {files[0].parent}"


def csv_rows(file: Path) -> list[Row]:
    """Rows of a csv file with a header; a byte-order mark is dropped."""
    with file.open(encoding="utf-8-sig", newline="") as lines:
        return [dict(row) for row in csv.DictReader(lines, strict=True)]


def json_rows(file: Path) -> list[Row]:
    """Rows of a JSON array."""
    rows: list[Row] = json.loads(file.read_text(encoding="utf-8"))
    return rows


def jsonl_rows(file: Path) -> list[Row]:
    """Rows of a JSON-lines file; empty lines are skipped."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]


def parquet_rows(file: Path) -> list[Row]:
    """Rows of a parquet file, as builtins."""
    packages.need("pyarrow", f"reading {file.name}")
    import pyarrow.parquet

    rows: list[Row] = pyarrow.parquet.read_table(file).to_pylist()
    return rows


def own_prompts(file: Path, task: str) -> list[Prompt]:
    """Prompts of a JSON-lines file whose lines are the fields of a Prompt (without `task`).

    Raises:
        UserError: the file is missing or empty, a line is not a prompt, or an id occurs twice.
    """
    if not file.is_file():
        raise UserError(f"no such prompt file: {file}", "Give the path of a JSON-lines file with one prompt a line.")
    prompts: list[Prompt] = []
    for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        try:
            prompts.append(from_plain(Prompt, {**json.loads(line), "task": task}))
        except (ValueError, TypeError) as error:
            raise UserError(
                f"{file}, line {number}: not a prompt ({error})",
                "Each line is a JSON object with at least `id` and `text`.",
            ) from error
    ids = [prompt.id for prompt in prompts]
    if not ids or len(set(ids)) != len(ids):
        twice = next((i for i in ids if ids.count(i) > 1), None)
        raise UserError(
            f"{file}: {f'the id {twice!r} occurs twice' if twice else 'no prompts'}",
            "Every prompt needs an id of its own.",
        )
    return prompts


def quickstart(task: str) -> PromptSet:
    """This project's own small prompt set for a task, packaged with it: not the benchmark."""
    prompts = own_prompts(OWN / "quickstart" / f"{task}.jsonl", task)
    manifest = {"source": "safety-eval quickstart", "sha256": digest(prompts), "rows": len(prompts)}
    note = "quickstart: our own small prompt set, written for this project; NOT the benchmark."
    return PromptSet(prompts, "quickstart", manifest | {"license": "Apache-2.0"}, (note,))


def wording(text: str) -> str:
    """A sentence's words alone, for finding duplicates: lower case, no punctuation, no `_x000D_` of Excel."""
    return " ".join(re.findall(r"\w+", text.replace("_x000D_", " ").lower()))


def near_duplicates(texts: Sequence[str], share: float = 0.8) -> list[int]:
    """For each text the index of the first text of its cluster.

    Two texts are near-duplicates when their sets of words have a Jaccard index of at least `share`; clusters
    are the connected components. Only pairs that share one of their rarest words are compared (prefix
    filtering, Bayardo et al. 2007), which finds every such pair.
    """
    sets = [frozenset(wording(text).split()) for text in texts]
    count: dict[str, int] = defaultdict(int)
    for words in sets:
        for word in words:
            count[word] += 1
    parent = list(range(len(texts)))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    index: dict[str, list[int]] = defaultdict(list)
    for i in sorted(range(len(sets)), key=lambda i: (len(sets[i]), i)):
        words = sets[i]
        rare = sorted(words, key=lambda word: (count[word], word))
        for word in rare[: len(words) - math.ceil(share * len(words)) + 1]:
            for j in index[word]:
                if len(words & sets[j]) >= share * len(words | sets[j]):
                    first, second = sorted((root(i), root(j)))
                    parent[second] = first
            index[word].append(i)
    return [root(i) for i in range(len(texts))]
