"""RUN/results.json: every Estimate of a run as a flat list, which is what scripts read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from safety_eval.core.errors import EvidenceError, UserError
from safety_eval.core.records import Estimate, plain
from safety_eval.core.store import read_json, typed, write_json
from safety_eval.measure.add_up import problems
from safety_eval.measure.disparity import disparities

NAME = "results.json"
SCHEMA = 4
"""2: `standing` in place of `gateable`. 3: effective numbers by weights, limits for the list, `disparity`. 4: `sd`."""


def write(folder: Path, estimates: Sequence[Estimate]) -> Path:
    """Replace RUN/results.json."""
    path = folder / NAME
    apart = [plain(d) for d in disparities(estimates)]
    write_json(path, {"schema": SCHEMA, "estimates": [plain(e) for e in estimates], "disparity": apart})
    return path


def read(folder: Path) -> list[Estimate]:
    """Every Estimate, in the file's order; [] before anything was measured.

    Raises:
        UserError: it was measured by another version, with other fields. EvidenceError: damaged.
    """
    path = folder / NAME
    if not path.exists():
        return []
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("estimates"), list):
        raise EvidenceError(f"{path} is damaged: it holds no list of estimates")
    rows = content["estimates"]
    known = {f.name for f in fields(Estimate)}
    if content.get("schema") != SCHEMA or any(not isinstance(row, dict) or set(row) != known for row in rows):
        raise UserError(
            f"{path} was measured by another version of safety-eval: its estimates have other fields",
            f"Measure the same records again: safety-eval score {folder}",
        )
    try:
        estimates = [typed(Estimate, row) for row in rows]
    except ValueError as error:
        raise EvidenceError(f"{path} is damaged: {error}") from error
    for problem in problems(estimates):
        raise EvidenceError(
            f"{path}: numbers that do not add up: {problem}",
            f"Measure the same records again: safety-eval score {folder}",
        )
    return estimates
