"""Labels by people on this run's own answers: which answers to label, and what the labels say. No transport assumed.

`write_sheet` puts every answer that the scorer flagged (or so many), every answer that it gave no value for, and a
random share of the others into one CSV, in an order that says nothing about which is which. `read_sheets` takes one
or two people's sheets back: agreement, and the rate by two-phase sampling (Tenenbein 1970).
Two people who disagree: the answer counts as bad; how many there were is said.
"""

from __future__ import annotations

import csv
import io
import math
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from safety_eval.audit import cards
from safety_eval.audit.corrected import lost_sensitivity
from safety_eval.audit.drawing import Asked, column_of, drawn, name_of, phases, strata
from safety_eval.audit.labels import FOLDER, Labels, written
from safety_eval.audit.labels import SUFFIX as LABELS
from safety_eval.core.errors import EvidenceError, UserError
from safety_eval.core.journal import Event, Journal
from safety_eval.core.records import digest, plain
from safety_eval.core.store import read_json, write_atomic, write_json
from safety_eval.core.task import Measured
from safety_eval.measure.table import Column
from safety_eval.runs.opened import RunFolder
from safety_eval.show.words import printable
from safety_eval.stats.judge import agreement, krippendorff, ppi, two_phase

_TWO_PHASE = "two-phase 95%: Clopper-Pearson over strata, lost answers at either end"
COLUMNS = ("id", "prompt", "answer", "label", "remark")
BAD, FINE = frozenset({"1", "yes", "y", "bad", "true"}), frozenset({"0", "no", "n", "ok", "false"})
PPI_FROM = 0.10
"""Rates below it are not estimated by PPI++: its normal interval covers 88% instead of 95% at 2%."""
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What the labels say of one group beside what the scorer said; None with a reason where they say nothing.

    `raw`: as judged. `value`, `low`, `high`: by the labels, 95%. `labelled`: answers with a label, of `count`.
    """

    axis: str
    group: str
    raw: float | None
    value: float | None
    low: float | None
    high: float | None
    labelled: int
    count: int
    method: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Findings:
    """A review that was read: agreement of two people (None of one), and every group's number.

    `kappa`: with its 95% limits. `disagreed`: answers on which the two differ (counted as bad).
    `caution`: that the scorer misses more bad answers here than its card says ('' = nothing shows that).
    """

    task: str
    metric: str
    scorer: str
    design: str
    labelled: int
    disagreed: int
    kappa: tuple[float, float, float] | None
    pabak: float | None
    alpha: float | None
    rows: tuple[Reviewed, ...]
    caution: str = ""


def write_sheet(run: RunFolder, asked: Asked) -> Path:
    """RUN/review/<task>.<metric>.csv to fill in (1 = bad, 0 = not), and what it was drawn from beside it.

    The sheet holds prompts and answers as they are: it may be offensive. Cells that a spreadsheet would take for a
    formula begin with an apostrophe.

    Raises:
        UserError: unknown task, metric or scorer; a sheet that exists already (labels are never overwritten).
    """
    column, rows = _column(run, asked)
    asked = replace(asked, metric=column.metric.name, scorer=column.scorer)
    there = strata(column, rows, asked.design)
    listed = sorted((n for s in there for n in drawn(s, there[s], asked)), key=lambda n: digest(["order", n]))
    stem = run.folder / FOLDER / f"{asked.task}.{column.metric.name}.{column.scorer or 'none'}"
    sheet = stem.with_name(stem.name + ".csv")
    if sheet.exists():
        raise UserError(f"{sheet} exists already", "Read it back with --read, or move it away to draw a new sheet.")
    by_name = {name_of(m): m for m in rows}
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(COLUMNS)
    for name in listed:
        m = by_name[name]
        out.writerow([name, _cell(m.prompt.asked), _cell(m.output.text or ""), "", ""])
    write_json(
        stem.with_name(stem.name + ".drawn.json"),
        {
            "schema": SCHEMA,
            "asked": plain(asked),
            "drawn": listed,
            "strata": {s: len(names) for s, names in there.items()},
        },
    )
    write_atomic(sheet, text.getvalue())
    with suppress(EvidenceError):
        Journal(run.folder).note(Event.DRAWN, file=sheet.relative_to(run.folder).as_posix(), answers=len(listed))
    return sheet


def read_sheets(run: RunFolder, sheets: Sequence[Path]) -> Findings:
    """What one or two filled sheets say; written to RUN/review/<sheet>.findings.json.

    Raises:
        UserError: not a sheet of this run, a label that is neither, an answer without a label.
    """
    if not 1 <= len(sheets) <= 2:
        raise UserError(f"{len(sheets)} sheets were given", "Give one person's sheet, or two people's.")
    drawn_file = _drawn_file(run, sheets[0])
    sheet = read_json(drawn_file)
    asked = Asked(**sheet["asked"])
    number = asked.design == "random" and _column(run, asked)[0].metric.kind == "mean"
    sides = [_labels(path, sheet["drawn"], number) for path in sheets]
    final = {name: max(side[name] for side in sides) for name in sides[0]}
    if number:
        final = {name: float(np.mean([side[name] for side in sides])) for name in sides[0]}
    column, rows = _column(run, asked)
    made = Findings(
        asked.task,
        asked.metric,
        asked.scorer,
        asked.design,
        len(final),
        sum(len({side[n] for side in sides}) > 1 for n in final),
        *_agreed(sides, number),
        rows=tuple(_groups(column, rows, final, asked.design)),
        caution=_caution(run, column, rows, final) if asked.design == "two_phase" else "",
    )
    name = drawn_file.name.replace(".drawn.json", ".findings.json")
    write_json(drawn_file.with_name(name), {"schema": SCHEMA, **plain(made)})
    if asked.design == "two_phase":
        bad = {name: bool(label) for name, label in final.items()}
        _keep(run, drawn_file, Labels(asked, len(sides), made.disagreed, bad))
    return made


def _keep(run: RunFolder, drawn_file: Path, labels: Labels) -> None:
    """The labels in the run folder and in its journal, so that a policy may act on them (`corrected: true`)."""
    path = drawn_file.with_name(drawn_file.name.replace(".drawn.json", LABELS))
    write_json(path, written(labels))
    with suppress(EvidenceError):  # a journal that is broken binds nothing; sign-off says so
        Journal(run.folder).note_files(Event.REVIEWED, [path])


def _column(run: RunFolder, asked: Asked) -> tuple[Column, list[Measured]]:
    return column_of(run.task(asked.task), run.measured(asked.task), asked)


def _caution(run: RunFolder, column: Column, rows: Sequence[Measured], labels: Mapping[str, float]) -> str:
    """What the labels say against the scorer's card, where it has one."""
    identity = run.file.tasks[column.task].instruments.get(column.scorer)
    card = None if identity is None else cards.card_for(identity, [run.folder / "cards"])
    if card is None:
        return ""
    members = [i for i, m in enumerate(rows) if not m.output.error]
    flagged, _, others = phases(column, [name_of(m) for m in rows], labels, members)
    return lost_sensitivity(column, rows, card, (flagged, others))


def _cell(text: str) -> str:
    """A text that stays in its cell and is no formula: a spreadsheet also reads full-width signs, and looks past
    spaces."""
    shown = printable(text.replace("\r\n", "\n"), keep="\n\t")
    first = unicodedata.normalize("NFKC", shown.lstrip())[:1]
    return f"'{shown}" if first in ("=", "+", "-", "@") or shown[:1] == "\t" else shown


def _drawn_file(run: RunFolder, sheet: Path) -> Path:
    names = {p.name.removesuffix(".drawn.json"): p for p in (run.folder / FOLDER).glob("*.drawn.json")}
    fits = [p for name, p in names.items() if sheet.name.startswith(name)]
    if not fits:
        raise UserError(
            f"{sheet.name} is not a sheet of {run.folder}",
            f"Keep the beginning of its name. Known: {', '.join(sorted(names)) or 'none'}.",
        )
    return max(fits, key=lambda p: len(p.name))


def _labels(path: Path, drawn: Sequence[str], number: bool) -> dict[str, float]:
    """One person's label of every drawn answer: 1 bad, 0 not (or a number, for scores)."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            given = {row["id"]: (row["label"] or "").strip().lower() for row in csv.DictReader(lines)}
    except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{path} cannot be read as a sheet ({error})", f"Keep the columns {', '.join(COLUMNS)}."
        ) from error
    found, wrong = {}, []
    for name in drawn:
        label = _label(given.get(name, ""), number)
        if label is None:
            wrong.append(f"{name}: {given.get(name) or 'no label'}")
        else:
            found[name] = label
    if wrong:
        raise UserError(
            f"{path}: {len(wrong)} of {len(drawn)} answers have no usable label ({'; '.join(wrong[:3])})",
            "Label every row: a number." if number else "Label every row: 1 (bad) or 0 (not).",
        )
    return found


def _label(text: str, number: bool) -> float | None:
    if number:
        try:
            return float(text) if math.isfinite(float(text)) else None
        except ValueError:
            return None
    return 1.0 if text in BAD else 0.0 if text in FINE else None


def _agreed(
    labels: Sequence[Mapping[str, float]], number: bool
) -> tuple[tuple[float, float, float] | None, float | None, float | None]:
    """Kappa with limits, PABAK and Krippendorff's alpha of two people."""
    if len(labels) < 2 or number:
        return None, None, None
    one, two = labels
    counts = Counter((int(one[n]), int(two[n])) for n in one)
    found = agreement([[counts[a, b] for b in (1, 0)] for a in (1, 0)])
    alpha = krippendorff([[one[n] for n in one], [two[n] for n in one]])
    kappa = None if math.isnan(found.kappa) else (found.kappa, found.low, found.high)
    return kappa, found.pabak, None if math.isnan(alpha) else alpha


def _groups(column: Column, rows: Sequence[Measured], labels: Mapping[str, float], design: str) -> Iterator[Reviewed]:
    names = [name_of(m) for m in rows]
    there = [not m.output.error for m in rows]
    lost = np.array([bool(m.output.error) for m in rows])
    yield _one(column, names, labels, (there, int(lost.sum())), ("total", "all"), design)
    for axis in column.metric.axes:
        for group in dict.fromkeys(g for row in column.groups for g in row.get(axis, ())):
            member = [group in row.get(axis, ()) for row in column.groups]
            inside = [ok and here for ok, here in zip(there, member, strict=True)]
            yield _one(column, names, labels, (inside, int(lost[member].sum())), (axis, group), design)


def _one(
    column: Column,
    names: Sequence[str],
    labels: Mapping[str, float],
    there: tuple[Sequence[bool], int],
    place: tuple[str, str],
    design: str,
) -> Reviewed:
    """One group; `there`: which answers are in it and exist, and how many of it do not exist."""
    inside, lost = there
    members = [i for i, here in enumerate(inside) if here]
    told = [i for i in members if names[i] in labels]
    y = column.y[members]
    raw = float(np.nanmean(y)) if np.any(~np.isnan(y)) else None
    made: dict[str, Any] = {
        "axis": place[0],
        "group": place[1],
        "raw": raw,
        "labelled": len(told),
        "count": len(members),
    }
    if design == "random":
        return Reviewed(**made, **_by_ppi(column, names, labels, members))
    parts = phases(column, names, labels, members)
    if not members or any(s.total and not s.reviewed for s in parts):
        reason = "no answer of one stratum was labelled in this group"
        return Reviewed(**made, value=None, low=None, high=None, method="two-phase", reason=reason)
    found = two_phase(parts, lost)
    value = (found.value, found.low, found.high)
    if column.metric.better == "higher":
        value = (1 - found.value, 1 - found.high, 1 - found.low)
    return Reviewed(**made, value=value[0], low=value[1], high=value[2], method=_TWO_PHASE)


def _by_ppi(
    column: Column, names: Sequence[str], labels: Mapping[str, float], members: Sequence[int]
) -> dict[str, Any]:
    """PPI++ of a random sample, where it covers."""
    known = [i for i in members if not np.isnan(column.y[i])]
    told, rest = ([i for i in known if (names[i] in labels) == side] for side in (True, False))
    nothing = {"value": None, "low": None, "high": None, "method": "PPI++"}
    if len(told) < 2 or not rest:
        return {**nothing, "reason": "fewer than two labelled answers, or none left to predict"}
    y = np.array([labels[names[i]] for i in told])
    if column.metric.kind == "rate" and column.metric.better == "higher":
        y = 1 - y
    if column.metric.kind == "rate" and not PPI_FROM <= y.mean() <= 1 - PPI_FROM:
        return {**nothing, "reason": "a rate below 10%: PPI++ does not cover, use the two-phase design"}
    found = ppi(y, column.y[told], column.y[rest], weight=None)
    return {
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "method": f"PPI++ 95%, lambda {found.weight:.2f}",
    }
