"""What a command holds does not grow with the run: no prompt, answer or score is kept. Counted in bytes, not timed."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from safety_eval.compare.comparison import comparison
from safety_eval.evidence import bundles
from safety_eval.export import forms
from safety_eval.report import explorer
from safety_eval.report.seen import walk
from safety_eval.runs import own_code, pipeline
from safety_eval.runs.answers import Records
from safety_eval.runs.config import run_config
from safety_eval.runs.opened import RunFolder
from safety_eval.runs.unfinished import unfinished
from safety_eval.signoff.consistency import check_records

TASK, FEW, MANY = str(Path(__file__).with_name("long_task.py")), 50, 250
LEAST_HELD = 20_000
"""Characters that a prompt carries, and a thought before its answer: whoever holds either of all grows by more."""
ALLOWED = 8_000
"""Bytes by which what is held may grow with each answer: places, codes, numbers, and whatever stays in memory only as
long as it is little (temporary files begin at some hundred kilobytes)."""


def asked(folder: Path, prompts: int) -> Path:
    script = folder.with_suffix(".json")
    script.write_text(json.dumps({"": {"text": "He said that she had said so.", "reasoning": "x" * LEAST_HELD}}))
    values = {"model": str(script), "engine": "echo", "tasks": [TASK], "data_version": {"long_task": str(prompts)}}
    with own_code.allowed(True):
        return pipeline.run(run_config({**values, "output_path": str(folder)}))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    home = tmp_path_factory.mktemp("flat")
    return {prompts: asked(home / str(prompts), prompts) for prompts in (FEW, MANY)}


def peak(of: Callable[[], object]) -> int:
    """Most bytes that Python held while a function ran."""
    gc.collect()
    tracemalloc.start()
    try:
        of()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def grows_little(of: Callable[[int], object]) -> None:
    of(FEW)  # what is imported and cached once
    growth = (peak(lambda: of(MANY)) - peak(lambda: of(FEW))) / (MANY - FEW)
    assert growth < ALLOWED < LEAST_HELD, f"each answer takes {growth:.0f} bytes"


def test_a_run_holds_no_prompt_answer_or_score(tmp_path: Path) -> None:
    calls = iter(range(100))
    grows_little(lambda prompts: asked(tmp_path / str(next(calls)), prompts))


@pytest.mark.parametrize(
    "read",
    [
        lambda run: pipeline.measure(run.folder, pipeline.resolve.resolve(run.file.config)),
        lambda run: list(check_records(run.folder, "long_task", run.file.tasks["long_task"])),
        lambda run: explorer.of_run(run, {"long_task": walk(run.task("long_task"), run.measured("long_task"))}),
        lambda run: comparison(run, RunFolder(run.folder)),
        lambda run: unfinished(run),
        lambda run: forms.write(run.folder, "parquet", forms.Asked()),
        lambda run: [bundles.hashes.about_records(leaves(path)) for path in run.folder.rglob("outputs.jsonl")],
        lambda run: sum(1 for _ in Records(run.folder, "long_task").outputs()),
    ],
    ids=["measure", "check", "explorer", "compare", "unfinished", "parquet", "hashes", "outputs"],
)
def test_what_reads_a_run_holds_none_of_it(folders: dict[int, Path], read: Callable[[RunFolder], object]) -> None:
    with own_code.allowed(True):
        grows_little(lambda prompts: read(RunFolder(folders[prompts])))


def leaves(path: Path) -> object:
    return bundles.hashes.full_leaves(path, "run/long_task/outputs.jsonl", b"salt")
