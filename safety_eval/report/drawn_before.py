"""Charts that this program drew before: most of the time of `signoff` and `report` went into drawing them again.

They lie in the user's own cache and never in the run folder: whoever hands over a run cannot hand over pictures too.
A chart is taken again only for the very same numbers, by the very same code; whatever is odd about a file that lies
there, the charts are drawn.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import safety_eval
from safety_eval.core.errors import UserError
from safety_eval.core.fetch import cache_folder
from safety_eval.core.records import Estimate, canonical, plain
from safety_eval.core.store import write_atomic
from safety_eval.runs import answers
from safety_eval.runs.opened import RunFolder

RISK = "risk"
"""The score, 0 safe to 1 harmful, that is drawn as a density."""
_PNG = b"\x89PNG"
KEPT = 400
"""Most tasks of which charts lie in the cache, the latest ones: some 100 MB at most."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A chart of a run.

    Attributes:
        name: file name in RUN/charts, without suffix. png: the chart, for slides. svg: the same for the page.
        words: what it shows, for readers who cannot see it.
    """

    name: str
    png: bytes
    svg: str
    words: str


Draw = Callable[[RunFolder, Sequence[Estimate]], Iterable[Drawn]]


def charts(run: RunFolder, mine: Sequence[Estimate], draw: Draw) -> list[Drawn]:
    """The charts of one task's estimates: as they were drawn before, else drawn by `draw` and kept."""
    task = mine[0].task
    place = cache_folder() / "charts" / f"{_key(run, mine)}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        return [_read(task, row) for row in _rows(place)]
    drawn = list(draw(run, mine))
    held = [{"name": p.name, "png": base64.b64encode(p.png).decode(), "svg": p.svg, "words": p.words} for p in drawn]
    with suppress(OSError, UserError):
        write_atomic(place, json.dumps(held))
        for old in sorted(place.parent.glob("*.json"), key=lambda p: p.stat().st_mtime)[:-KEPT]:
            old.unlink(missing_ok=True)
    return drawn


def _rows(place: Path) -> list[Any]:
    rows = json.loads(place.read_bytes())
    if not isinstance(rows, list):
        raise TypeError("not a list of charts")
    return rows


def _read(task: str, row: Any) -> Drawn:
    drawn = Drawn(row["name"], base64.b64decode(row["png"], validate=True), str(row["svg"]), str(row["words"]))
    if not drawn.name.startswith(f"{task}.") or "/" in drawn.name or not drawn.png.startswith(_PNG):
        raise ValueError("not a chart of this task")
    return drawn


def _key(run: RunFolder, mine: Sequence[Estimate]) -> str:
    """Of all that the charts of a task are drawn from: its numbers, what run.json says, records, and the code."""
    rows = [plain(e) for e in mine]
    found = hashlib.sha256(canonical([_code(), run.file.to_json(), rows]).encode())
    for path in _sources(run, mine[0].task):
        with path.open("rb") as content:
            found.update(hashlib.file_digest(content, "sha256").digest())
    return found.hexdigest()


@cache
def _code() -> str:
    """Digest of this package's code: a chart is a function of all of it, from the metric to the colour."""
    home = Path(safety_eval.__file__).parent
    found = hashlib.sha256(version("matplotlib").encode())
    for path in sorted(home.rglob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()


def _sources(run: RunFolder, task: str) -> list[Path]:
    """The record files of a task that its pictures are drawn from, beside its estimates."""
    if not has_risk(run, task):
        return []
    return [answers.prompts_file(run.folder, task), *sorted((run.folder / task / "scores").glob("*.jsonl"))]


def has_risk(run: RunFolder, task: str) -> bool:
    """Whether a task's answers get risk scores, of which densities are drawn."""
    return any(RISK in metric.needs for metric in run.task(task).metrics)
