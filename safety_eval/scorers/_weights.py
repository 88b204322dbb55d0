"""Find the weights of an instrument and name them: a local folder, or a Hub id at a revision.

Nothing in a weights file can execute: safetensors, or PyTorch's loader with `weights_only=True`. An
instrument is never replaced silently: what cannot be had is an error that names the alternatives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from safety_eval.core.errors import UserError
from safety_eval.core.records import digest

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_REST = ("*.json", "*.txt", "*.model", "*.tiktoken", "1_Pooling/*")


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
            "model": self.model, "revision": self.revision, "weights": self.digest, "settings_digest":
            self.settings_digest,
        }  # fmt: skip


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def find(model: str, revision: str = "", hint: str = "", tokenizer_only: bool = False) -> Weights:
    """The weights of `model`.

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
        raise UserError(
            f"no such model folder: {model}", hint or "Give a folder with config.json and weights."
        )
    else:
        folder, name = _download(model, revision, hint, tokenizer_only), model
        commit = folder.name
    return Weights(folder, name, commit, *_digests(folder, hint, tokenizer_only))


def _digests(folder: Path, hint: str, tokenizer_only: bool) -> tuple[str, str]:
    weights = [] if tokenizer_only else weight_files(folder)
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} holds no config.json: it is no model folder", hint)
    if not weights and not tokenizer_only:
        raise UserError(f"{folder} holds no weights (*.safetensors or pytorch_model.bin)", hint)
    if empty := [f.name for f in weights if f.stat().st_size == 0]:
        raise UserError(f"{folder}: weights file {empty[0]} is empty", "Copy or download it again.")
    rest = {f for pattern in _REST for f in folder.glob(pattern) if f.is_file()}
    rest = {f for f in rest if not f.name.endswith(".index.json")}
    return _digest_of(folder, weights), _digest_of(folder, rest)


def _digest_of(folder: Path, files: Iterable[Path]) -> str:
    return digest({str(f.relative_to(folder)): file_digest(f) for f in files})


def weight_files(folder: Path) -> list[Path]:
    """The weight files of a folder: safetensors where there are any, else PyTorch's."""
    for pattern in _WEIGHTS:
        if found := sorted(folder.glob(pattern)):
            return found
    return []


def _download(model: str, revision: str, hint: str, tokenizer_only: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    patterns = [*_REST] if tokenizer_only else [*_REST, _WEIGHTS[0]]
    try:
        folder = Path(snapshot_download(model, revision=revision or None, allow_patterns=patterns))
        if not tokenizer_only and not weight_files(folder):
            patterns.append(_WEIGHTS[1])
            folder = Path(snapshot_download(model, revision=revision or None, allow_patterns=patterns))
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        at = f" at revision {revision}" if revision else ""
        raise UserError(
            f"the model '{model}'{at} cannot be had: {type(error).__name__}: {str(error).splitlines()[0]}",
            hint or "Give a local folder instead, or set HF_TOKEN if the model is gated.",
        ) from error
    return folder
