"""Find a model's files and name them: a local folder, or a Hub id at a revision.

Nothing in a weights file can execute: safetensors, or PyTorch's loader with `weights_only=True`. A model is never
replaced silently: what is missing is an error that names the alternatives.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safety_eval.core.errors import UserError
from safety_eval.core.fetch import cache_folder
from safety_eval.core.records import digest

WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
"""Weight files in the order of preference: safetensors where there are any, else PyTorch's."""
SMALL = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken", "1_Pooling/*")
"""Configuration, tokenizer and template files."""
_OTHER_WEIGHTS = ("adapter", "consolidated")
"""Beginnings of weight files that transformers does not open as the model."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Where the weights lie and what they are.

    Attributes:
        folder: with config.json, weights and tokenizer files.
        model: as asked: Hub id or folder name. revision: Hub commit, '' for a local folder.
        digest: of the weight files. settings_digest: of config.json and the tokenizer's files.
    """

    folder: Path
    model: str
    revision: str
    digest: str
    settings_digest: str

    def identity(self) -> dict[str, str]:
        """What of it belongs into an instrument's identity."""
        return {
            "model": self.model,
            "revision": self.revision,
            "weights": self.digest,
            "settings_digest": self.settings_digest,
        }


def file_digest(path: Path) -> str:
    """SHA-256 of a file, remembered by path, size and modification time so that a big file is read once."""
    path = path.resolve()
    state = path.stat()
    name = hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    note = cache_folder() / "digests" / f"{name}.json"
    stamp = [str(path), state.st_size, state.st_mtime_ns]
    try:
        known = json.loads(note.read_text())
        if known["of"] == stamp:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    with path.open("rb") as file:
        value = hashlib.file_digest(file, "sha256").hexdigest()
    _remember(note, {"of": stamp, "sha256": value})
    return value


def _remember(note: Path, content: dict[str, object]) -> None:
    # A cache that cannot be written (read-only home, full disk) costs time, never the run.
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        draft = note.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(json.dumps(content))
        draft.replace(note)
    except OSError:
        return


def files_digest(paths: Iterable[Path]) -> str:
    """SHA-256 of one file, or of the lines '<sha256>  <name>' (sha256sum's form) of several, by name."""
    ordered = sorted(paths, key=lambda p: p.name)
    if len(ordered) == 1:
        return file_digest(ordered[0])
    lines = "".join(f"{file_digest(p)}  {p.name}\n" for p in ordered)
    return hashlib.sha256(lines.encode()).hexdigest()


def text_digest(text: str) -> str:
    """SHA-256 of a text in UTF-8."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def weight_files(folder: Path) -> list[Path]:
    """The weight files that transformers would open: safetensors, else PyTorch's."""
    for pattern in WEIGHTS:
        files = sorted(p for p in folder.glob(pattern) if not p.name.startswith(_OTHER_WEIGHTS))
        if files:
            return files
    return []


def find(model: str, revision: str = "", hint: str = "", tokenizer_only: bool = False) -> Weights:
    """The weights of `model`, an instrument's.

    Args:
        model: a local folder, or a Hub id (downloaded, or taken from the local cache when offline).
        revision: Hub commit or branch; '' = main. Means nothing for a folder.
        hint: what else the user could do, for the error.
        tokenizer_only: configuration and tokenizer, no weights.

    Raises:
        UserError: no such folder or model, no network, access denied, or nothing to load in it.
    """
    local = Path(model).expanduser()
    if local.is_dir():
        folder, commit, name = local, "", local.resolve().name
    elif local.exists() or model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise UserError(f"no such model folder: {model}", hint or "Give a folder with config.json and weights.")
    else:
        wanted = () if tokenizer_only else WEIGHTS
        folder, name = download(model, revision, SMALL, wanted, hint=hint), model
        commit = folder.name
    return Weights(folder, name, commit, *_digests(folder, hint, tokenizer_only))


def _digests(folder: Path, hint: str, tokenizer_only: bool) -> tuple[str, str]:
    weights = [] if tokenizer_only else weight_files(folder)
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} holds no config.json: it is not a model folder", hint)
    if not weights and not tokenizer_only:
        raise UserError(f"{folder} holds no weights (*.safetensors or pytorch_model.bin)", hint)
    if empty := [f.name for f in weights if f.stat().st_size == 0]:
        raise UserError(f"{folder}: weights file {empty[0]} is empty", "Copy or download it again.")
    rest = {f for pattern in SMALL for f in folder.glob(pattern) if f.is_file()}
    rest = {f for f in rest if not f.name.endswith(".index.json")}
    return _digest_of(folder, weights), _digest_of(folder, rest)


def _digest_of(folder: Path, files: Iterable[Path]) -> str:
    return digest({str(f.relative_to(folder)): file_digest(f) for f in files})


def download(
    model: str,
    revision: str,
    small: Sequence[str],
    weights: Sequence[str],
    ignore: Sequence[str] = (),
    hint: str = "",
) -> Path:
    """The folder of a Hub model's files, from the Hub or its local cache; its name is the commit.

    Args:
        small: patterns of the files that are always wanted.
        weights: patterns of weight files, by preference: the first that matches anything is taken.
        ignore: patterns of files that are left out.
        hint: what else the user could do, for the error.

    Raises:
        UserError: no such model or revision, gated, or out of reach and not in the cache.
    """
    asked = {"revision": revision or None, "ignore_patterns": list(ignore) or None}
    try:
        folder = _snapshot(model, [*small, *weights[:1]], asked)
        for pattern in weights[1:] if not any(folder.glob("*.safetensors")) else ():
            folder = _snapshot(model, [*small, pattern], asked)
    except OSError as error:  # the Hub's own errors among them
        at = f"'{model}'" + (f" at revision {revision}" if revision else "")
        raise UserError(_why_no_download(at, error), hint or "Try again, or give a local folder.") from error
    return folder


def _snapshot(model: str, patterns: Sequence[str], asked: dict[str, Any]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(model, allow_patterns=list(patterns), **asked))
    except HFValidationError as error:
        raise FileNotFoundError(str(error)) from error


def _why_no_download(model: str, error: OSError) -> str:
    from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, LocalEntryNotFoundError):
        return f"model {model} is neither a folder nor in the Hub cache, and the Hub is out of reach"
    if isinstance(error, RepositoryNotFoundError | RevisionNotFoundError) or type(error) is FileNotFoundError:
        return f"no model {model} on the Hub (or it is gated and needs a token: HF_TOKEN)"
    return f"the download of model {model} failed: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
