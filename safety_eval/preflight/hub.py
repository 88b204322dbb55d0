"""What is known of a model's files without loading them: a folder, the Hub's cache, or the Hub itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from safety_eval.core.requires import ModelNeed
from safety_eval.core.store import parsed
from safety_eval.preflight.machine import offline

TIMEOUT_SECONDS = 10.0
_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")
_GATED = ("meta-llama/", "google/gemma", "google/shieldgemma", "allenai/wildguard")
"""Publishers whose models ask for an accepted licence, for the case that the Hub cannot be asked."""
_HTTP_LIBRARIES = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3")


class Answer(Enum):
    """What the Hub says of a repository."""

    FOUND = "found"
    REFUSED = "refused"
    """Gated, and this token has not accepted its terms."""
    UNKNOWN = "unknown"
    """No such repository or revision, or a private one."""
    SILENT = "silent"
    """Out of reach, or forbidden to be asked."""


@dataclass(frozen=True, slots=True)
class Remote:
    """What the Hub says. `size`: bytes that would be downloaded, 0 = unknown. `why`: the reason in words."""

    answer: Answer
    size: int = 0
    gated: bool = False
    why: str = ""


def folder_of(need: ModelNeed) -> Path | None:
    """Where the files of a model are on this machine: the folder given, or the Hub's cache; None = not here."""
    local = Path(need.model).expanduser()
    if local.is_dir():
        return local
    if is_path(need.model):
        return None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        kept = try_to_load_from_cache(need.model, "config.json", revision=need.revision or None)
    except HFValidationError:
        return None
    return Path(kept).parent if isinstance(kept, str) else None


def is_path(model: str) -> bool:
    """Whether a model's name can only be a path."""
    return model.startswith((".", "/", "~")) or model.count("/") > 1


def complete(folder: Path) -> bool:
    """Whether a folder holds weights, and all files that their index names."""
    for index in (*folder.glob("*.safetensors.index.json"), *folder.glob("*.bin.index.json")):
        if all((folder / file).is_file() for file in set(_json(index).get("weight_map", {}).values())):
            return True
    indexed = any(folder.glob("*.index.json"))
    return not indexed and any(file.is_file() for pattern in _WEIGHTS for file in folder.glob(pattern))


def config_of(folder: Path) -> Mapping[str, Any] | None:
    """config.json as a mapping, None where it is missing or cannot be read."""
    return _json(folder / "config.json") or None


def _json(path: Path) -> dict[str, Any]:
    try:
        value = parsed(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def ask(need: ModelNeed) -> Remote:
    """Ask the Hub for a model; never raises for what a network or a repository can do."""
    guess = need.gated or need.model.startswith(_GATED)
    if offline():
        return Remote(Answer.SILENT, need.least, guess, "HF_HUB_OFFLINE is set")
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    hub = HfApi()
    try:
        info = hub.model_info(need.model, revision=need.revision or None, files_metadata=True, timeout=TIMEOUT_SECONDS)
        if info.gated:
            hub.auth_check(need.model)
    except GatedRepoError:
        return Remote(Answer.REFUSED, need.least, True, "its terms are not accepted with this token")
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        return Remote(Answer.UNKNOWN, gated=guess, why=type(error).__name__)
    except (HfHubHTTPError, OSError) as error:
        return Remote(Answer.SILENT, need.least, guess, _first_line(error))
    except Exception as error:
        # The Hub's client lets errors of its HTTP library through, and that library is another in each version.
        if type(error).__module__.partition(".")[0] not in _HTTP_LIBRARIES:
            raise
        return Remote(Answer.SILENT, need.least, guess, _first_line(error))
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    return Remote(Answer.FOUND, _download(sizes, need), bool(info.gated))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _download(sizes: Mapping[str, int], need: ModelNeed) -> int:
    """Bytes of what would be fetched: top-level files, safetensors rather than PyTorch's."""
    top = {name: size for name, size in sizes.items() if "/" not in name}
    small = sum(size for name, size in top.items() if name.endswith((".json", ".txt", ".model", ".jinja")))
    if need.kind == "tokenizer":
        return small
    for ending in (".safetensors", ".bin"):
        weights = [size for name, size in top.items() if name.endswith(ending) and "consolidated" not in name]
        if weights:
            return small + sum(weights)
    return small
