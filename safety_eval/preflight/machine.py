"""What this machine has of what any run may need. Nothing here is a failure: it says what cannot be used."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from safety_eval.core import packages
from safety_eval.preflight.checks import Check, Kind, State

GIB = 2**30
_LISTED = [m for m in packages.PACKAGES if m not in ("torch", "tokenizers", "safetensors", "pyarrow")]
"""torch is looked at above; the others come with transformers and with datasets."""
ROOM = 2 * GIB
"""Free space below which a run folder may not fit: the longest suite writes some hundred MB."""


def checks(data: Path | None = None) -> Iterator[Check]:
    """Python, torch and its devices, packages, disk, the data mirror, and whether the Hub may be asked."""
    yield Check(Kind.MACHINE, "python", State.READY, platform.python_version())
    yield from _torch()
    yield from map(_package, _LISTED)
    free = shutil.disk_usage(Path.cwd()).free
    enough = free > ROOM
    yield Check(
        Kind.DISK,
        "disk",
        State.READY if enough else State.CAUTION,
        f"{free / GIB:.0f} GiB free here",
        "" if enough else "Free some space: a full disk stops a run (it continues afterwards).",
    )
    yield _mirror(data)
    yield _hub()


def offline() -> bool:
    """Whether the user forbids asking the Hub (HF_HUB_OFFLINE)."""
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")


def _torch() -> Iterator[Check]:
    """The version of torch and the driver's cards, without the seconds that importing torch takes."""
    try:
        build = version("torch")
    except PackageNotFoundError:
        detail = f"not installed; for {packages.PACKAGES['torch'].use}"
        yield Check(Kind.MACHINE, "torch", State.ABSENT, detail, packages.advice("torch"))
        build = ""
    else:
        yield Check(Kind.MACHINE, "torch", State.READY, f"{build}, {os.cpu_count()} processors")
    cards, advice = _cards(), ""
    state = State.READY if cards else State.ABSENT
    if cards and build.endswith("+cpu"):
        state, advice = State.CAUTION, f"torch {build} cannot use it: install a build of torch for this driver."
    elif not cards:
        advice = "Small models run on the processor; larger ones need a GPU and a build of torch for it."
    yield Check(Kind.MACHINE, "gpu", state, ", ".join(cards) or "no NVIDIA driver (nvidia-smi) here", advice)


def _cards() -> list[str]:
    """Names and memory of the graphics cards, by the driver's own tool; [] without one."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    asked = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in told.splitlines() if line.strip()]


def _package(module: str) -> Check:
    package = packages.PACKAGES[module]
    if not packages.installed(module):
        detail = f"not installed; for {package.use}"
        return Check(Kind.PACKAGE, package.distribution, State.ABSENT, detail, packages.advice(module))
    try:
        number = version(package.distribution)
    except PackageNotFoundError:
        number = "installed"
    return Check(Kind.PACKAGE, package.distribution, State.READY, f"{number}, for {package.use}")


def _hub() -> Check:
    if offline():
        return Check(Kind.MACHINE, "hub", State.ABSENT, "not asked: HF_HUB_OFFLINE is set")
    token = "a token is set" if os.environ.get("HF_TOKEN") else "no HF_TOKEN; gated models and data need one"
    return Check(Kind.MACHINE, "hub", State.READY, token)


def _mirror(data: Path | None) -> Check:
    if data is None:
        return Check(Kind.DATA, "data", State.READY, "fetched from the public homes (no --data, no SAFETY_EVAL_DATA)")
    there = [d for d in ("hub", "github") if (data / d).is_dir()]
    return Check(
        Kind.DATA,
        "data",
        State.READY if there else State.ABSENT,
        f"{data}: {', '.join(there) or 'neither hub/ nor github/'}",
        "" if there else "Give a folder with hub/<org>/<name>/... and github/<org>/<repo>/...",
    )
