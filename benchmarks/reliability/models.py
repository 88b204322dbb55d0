"""Disturbances of a real, tiny model in the transformers engine: too little memory at load and in generation, weights
that give NaN, a model that ends at once or never, a signal while it generates. A process of its own for each command.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import scene
from disturb import Trial, running
from scene import How

_ASK = ("run", "--tasks", "bold", "--data-version", "quickstart", "--limit", "12", "--gen-kwargs", "max_new_tokens=4")


def _model(trial: Trial, spoil: str = "") -> Path:
    """A random model of two layers, written by a process of its own (a fork must not have met torch)."""
    trial.step, trial.alone = "run", True
    folder, tests = trial.home / "model", Path(__file__).resolve().parents[2] / "tests"
    code = f"""
import sys; sys.path.insert(0, {str(tests)!r})
import torch
from pathlib import Path
from tiny_models import causal_lm
from safetensors.torch import load_file, save_file
causal_lm(Path({str(folder)!r}))
file = {str(folder)!r} + "/model.safetensors"
weights = load_file(file)
{spoil}
save_file(weights, file, {{"format": "pt"}})
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=scene.environment(), capture_output=True)
    return folder


def _ask(trial: Trial, model: Path, run: str, *more: str) -> tuple[str, ...]:
    return (*_ASK, "--model", str(model), "--output-path", str(trial.home / run), *more)


def _same(trial: Trial, words: tuple[str, ...]) -> None:
    """Undisturbed in another folder: the answers have to be the same."""
    other = tuple(str(trial.home / "whole") if w == str(trial.home / "run") else w for w in words)
    ended, again = trial.do(other, How(cold=True)), trial.do(words, How(cold=True))
    lines = [sorted((trial.home / r / "bold" / "outputs.jsonl").read_text().splitlines()) for r in ("run", "whole")]
    if again.code != 0 or ended.code != 0:
        trial.marks.append(f"stuck: {again.code}, undisturbed {ended.code}")
    elif lines[0] != lines[1]:
        trial.marks.append("answers differ from those of an undisturbed run")


def model_killed(trial: Trial) -> None:
    """SIGKILL or SIGINT in a run of a real model, now and then at another batch size afterwards."""
    words = _ask(trial, _model(trial), "run")
    number = trial.chance.choice([signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
    at = trial.chance.uniform(0, 1)

    def send(pid: int) -> None:
        began, outputs = time.monotonic(), trial.home / "run" / "bold" / "outputs.jsonl"
        while running(pid) and not outputs.exists() and time.monotonic() - began < scene.PATIENCE:
            time.sleep(0.005)
        time.sleep(at * 0.3)
        if running(pid):
            os.kill(pid, number)

    trial.first = trial.do(words, How(cold=True, meanwhile=send))
    _same(trial, (*words, "--batch-size", trial.chance.choice(["1", "3", "auto"])))


def model_memory(trial: Trial) -> None:
    """An address space that holds python, torch, or a part of the model."""
    words = _ask(trial, _model(trial), "run")
    limit = trial.chance.randrange(100, 2600) << 20
    trial.first = trial.do(words, How(cold=True, limits={resource.RLIMIT_AS: limit}))
    _same(trial, words)


def _spoilt(trial: Trial, spoil: str, *more: str) -> None:
    words = _ask(trial, _model(trial, spoil), "run", *more)
    trial.first = trial.do(words, How(cold=True))


def model_nan(trial: Trial) -> None:
    """Some or all weights are NaN: the model is refused, or its answers are failures."""
    share = trial.chance.choice(["1.0", "0.01"])
    spoil = f"""
torch.manual_seed(0)
for name, w in weights.items():
    if w.dim() == 2:
        weights[name] = torch.where(torch.rand(w.shape) < {share}, torch.nan, w)
"""
    _spoilt(trial, spoil)
    counted = [r for r in scene._lines(trial.home / "run" / "bold" / "outputs.jsonl") if not r["error"]]
    if trial.first is not None and trial.first.code == 0 and counted:
        trial.marks.append("silent: a model of NaN answers")


def model_ends(trial: Trial) -> None:
    """A model whose every answer is empty (it ends at once): each is degenerate or without a value, none is good."""
    zeroed = "weights = {k: w * 0 if 'embed' in k or 'lm_head' in k else w for k, w in weights.items()}"
    _spoilt(trial, zeroed)
    if trial.first is None or trial.first.code not in (0, 2, 4):
        trial.marks.append("it does not end well")


MODEL_KINDS: dict[str, tuple[Callable[[Trial], Any], int]] = {
    "a real model: SIGKILL, SIGINT, SIGTERM": (model_killed, 1),
    "a real model: memory limit": (model_memory, 1),
    "a real model: NaN weights": (model_nan, 1),
    "a real model: every token alike": (model_ends, 1),
}
"""Each with its share of the trials: they take seconds of torch."""
