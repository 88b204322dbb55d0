"""A data set that is needed -> a Check: in the mirror, kept from before, or within reach?"""

from __future__ import annotations

import urllib.error
import urllib.request
from functools import lru_cache
from pathlib import Path

from safety_eval.core import fetch, packages
from safety_eval.core.requires import DataNeed, Home
from safety_eval.preflight.checks import Check, Kind, State
from safety_eval.preflight.machine import offline

_TIMEOUT_SECONDS = 10.0
_HUB_CLIENT = ("datasets", "huggingface_hub")
_INSTEAD = "Give --data (SAFETY_EVAL_DATA) a mirror of them, or ask our own small prompts: --data-version quickstart."


def data(need: DataNeed, mirror: Path | None, task: str) -> Check:
    """How a data set stands: a mirror, where one is given, is the only place that is looked at."""
    if mirror is not None:
        return _mirrored(need, mirror, task)
    reasons = []
    advice = _INSTEAD
    for home in (h for h in need.homes if h.revision):
        if home.host == "hub" and (lacking := packages.missing(_HUB_CLIENT)):
            reasons.append(f"{home.host}:{home.repo} needs the package '{packages.distribution(lacking[0])}'")
            advice = f"{packages.advice(lacking[0])} {_INSTEAD}"
            continue
        if _kept(home):
            return Check(Kind.DATA, need.name, State.READY, "fetched before", used_by=(task,))
        reason = _unreachable(home)
        if not reason:
            detail = f"would be fetched from {home.host}:{home.repo}"
            return Check(Kind.DATA, need.name, State.DOWNLOAD, detail, used_by=(task,))
        reasons.append(f"{home.host}:{home.repo} {reason}")
    why = "; ".join(reasons) or "no public home of it is pinned"
    detail = f"{why}. In a mirror: {_places(need)}"
    return Check(Kind.DATA, need.name, State.MISSING, detail, advice, used_by=(task,))


def _mirrored(need: DataNeed, mirror: Path, task: str) -> Check:
    state, detail, advice = _in_mirror(need, mirror)
    return Check(Kind.DATA, need.name, state, detail, advice, used_by=(task,))


def _in_mirror(need: DataNeed, mirror: Path) -> tuple[State, str, str]:
    """State, what was found and what to do."""
    if not mirror.is_dir():
        advice = "Give --data (or SAFETY_EVAL_DATA) a folder that holds hub/ and github/, or leave it out."
        return State.MISSING, f"the data folder {mirror} does not exist", advice
    for home in need.homes:
        here = [(mirror / home.folder / name).is_file() for name in home.files]
        if all(here):
            if any(name.endswith(".parquet") for name in home.files) and not packages.installed("pyarrow"):
                detail = f"in {mirror / home.folder}, as Parquet files; the package 'pyarrow' is not installed"
                return State.MISSING, detail, packages.advice("pyarrow")
            return State.READY, f"in {mirror / home.folder}", ""
        if any(here):
            lacking = [name for name, is_here in zip(home.files, here, strict=True) if not is_here]
            detail = f"{len(lacking)} of {len(here)} files are missing in {mirror / home.folder}: {lacking[0]} ..."
            return State.MISSING, detail, "Copy them there, or leave out --data to fetch them."
    advice = f"Copy it there ({_places(need)}), or leave out --data to fetch it."
    return State.MISSING, f"not in the data folder {mirror}", advice


def _places(need: DataNeed) -> str:
    return " or ".join(f"{home.folder}/{home.files[0]}" for home in need.homes)


def _kept(home: Home) -> bool:
    """Whether every file is in our own cache; the Hub's data sets are asked of its own client where it is offline."""
    if home.host == "github":
        folder = fetch.cache_folder() / "github" / home.repo / home.revision
        return all((folder / name).is_file() for name in home.files)
    if not offline():
        return False
    try:
        for name in home.files:
            fetch.from_hub(home.repo, home.revision, name)
    except (OSError, ValueError):
        return False
    return True


def _unreachable(home: Home) -> str:
    """Why a home cannot be reached; '' = it can."""
    if home.host == "github":
        return unreachable(f"{fetch.GITHUB}/{home.repo}/{home.revision}/{home.files[0]}")
    from huggingface_hub import constants

    return unreachable(f"{constants.ENDPOINT}/datasets/{home.repo}/resolve/{home.revision}/{home.files[0]}")


def unreachable(url: str) -> str:
    """Why a public file cannot be reached; '' = it can."""
    return "is not asked (HF_HUB_OFFLINE is set)" if offline() else _head(url)


@lru_cache(maxsize=64)
def _head(url: str) -> str:
    """Ask for a file's head only. A refusal of the Hub is left to its own client, which knows the user's token."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_TIMEOUT_SECONDS):
            return ""
    except urllib.error.HTTPError as error:
        return "" if error.code in (401, 403) else f"answers HTTP {error.code}"
    except OSError as error:
        return f"cannot be reached ({getattr(error, 'reason', error)})"
