"""Every answer of a run, packed into the page: an index that the page filters, and texts that it opens when asked.

Both are JSON, deflated, in base64, inside script elements of a type that no browser runs: no text of a model or data
set can end the element or be read as code. The page's own script (explorer.js) unpacks them and puts every text into
the page as text.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from safety_eval.compare.comparable import common_ground
from safety_eval.core.records import Estimate, Part, Prompt, key, parted
from safety_eval.core.task import ANSWERED, Measured
from safety_eval.measure.against import Counted, against, rates
from safety_eval.measure.metrics import STATUS_RATES
from safety_eval.report.answers import answer_text, clipped, rate_name, score_words
from safety_eval.runs.answers import Asked
from safety_eval.runs.opened import RunFolder
from safety_eval.show import words
from safety_eval.show.selection import WHOLE

MOST_ROWS = 400_000
"""Answers that a page lists; a browser cannot draw a longer scroll bar."""
MOST_CHARACTERS = 150_000_000
"""Characters of prompts and answers that a page carries, those counted against the model first."""
CHUNK = 500
"""Answers whose texts are unpacked together."""
SHORTEST_KEY = 12
"""Digits of an answer's key in a link; more where two answers of a run share them."""

Judged = tuple[Measured, tuple[Counted, ...]]
"""An answer and the rates that it made worse."""


@dataclass(frozen=True, slots=True)
class TaskAnswers:
    """A task's answers with what they were counted for.

    Attributes:
        title: of the task. judged: every owed answer. rates: (metric, scorer) that single answers count for.
        before: the same prompts' answers in the run that this one is compared with.
    """

    title: str
    judged: Sequence[Judged]
    rates: Sequence[Counted] = ()
    before: Mapping[Asked, Judged] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Explorer:
    """What the page needs to show every answer.

    Attributes:
        index, texts: packed; see the module.
        owed, listed, told: answers of the run, in the list, and in the list with their texts.
        baseline: the model of the run beside; '' = none.
    """

    index: str
    texts: tuple[str, ...]
    owed: int
    listed: int
    told: int
    baseline: str = ""


def packed(tasks: Mapping[str, TaskAnswers], baseline: str = "") -> Explorer:
    """Pack the answers of a run. Within a task those counted against the model come first.

    Args:
        tasks: by name, in the order of the report.
        baseline: the model whose answers stand beside; '' = none.
    """
    rows = [
        (number, judged)
        for number, task in enumerate(tasks.values())
        for judged in sorted(task.judged, key=lambda one: not one[1])
    ]
    owed = len(rows)
    if owed > MOST_ROWS:
        kept = sorted(range(owed), key=lambda i: not rows[i][1][1])[:MOST_ROWS]
        rows = [rows[i] for i in sorted(kept)]
    held = list(tasks.values())
    told = _with_texts(rows)
    index = {
        "chunk": CHUNK,
        "answered": sorted(ANSWERED),
        "baseline": words.printable(baseline),
        "tasks": [_task(name, task) for name, task in tasks.items()],
        **_columns(rows, held),
    }
    texts = [_texts(number, one, held[number], i in told) for i, (number, one) in enumerate(rows)]
    chunks = tuple(_packed(texts[i : i + CHUNK]) for i in range(0, len(texts), CHUNK))
    return Explorer(_packed(index), chunks, owed, len(rows), len(told), baseline)


def of_run(run: RunFolder, judged: Mapping[str, Sequence[Judged]], baseline: RunFolder | None = None) -> Explorer:
    """Pack the answers of a run folder, beside those of a baseline.

    Args:
        judged: by task, every owed answer with the rates that it made worse.

    Raises:
        UserError: the two runs may not be compared.
    """
    shared = common_ground(run, baseline).tasks if baseline else ()
    tasks = {}
    for name, rows in judged.items():
        before: list[Measured] = baseline.measured(name) if baseline and name in shared else []
        counted = against(run.task(name), before)
        tasks[name] = TaskAnswers(
            title=run.file.tasks[name].title or words.name(name),
            judged=rows,
            rates=rates(run.task(name), [measured for measured, _ in rows]),
            before={_asked(m): (m, c) for m, c in zip(before, counted, strict=True)},
        )
    return packed(tasks, words.facts(baseline.file).model if baseline else "")


def query(estimate: Estimate, counting: Sequence[Counted]) -> str:
    """What the list of answers is asked for by a click on a number: 'task=..&against=metric|scorer&group=axis|name'.

    The answers of a rate that counts single answers are those counted against the model; of any other number, all
    those of its group, and so of a number of thoughts: of all, or of those behind refusals.

    Args:
        counting: rates of the number's task that count single answers.
    """
    asked = {"task": estimate.task}
    rate = (parted(estimate.metric)[0], estimate.scorer)
    if rate in counting and not estimate.part.thinks:
        asked["against"] = "|".join(rate)
    elif estimate.metric in STATUS_RATES:
        asked["status"] = STATUS_RATES[estimate.metric]
    elif estimate.part is Part.LEAK:
        asked["status"] = "refuse"
    if estimate.part is Part.ANSWERED:
        asked["status"] = "answered"
    if estimate.axis not in WHOLE:
        asked["group"] = f"{estimate.axis}|{estimate.group}"
    return "&".join(f"{name}={quote(words.printable(value), safe='')}" for name, value in asked.items())


def _with_texts(rows: Sequence[tuple[int, Judged]]) -> frozenset[int]:
    """Rows whose texts the page carries: those counted against the model first, until MOST_CHARACTERS."""
    left, told = MOST_CHARACTERS, []
    for i in sorted(range(len(rows)), key=lambda i: not rows[i][1][1]):
        measured = rows[i][1][0]
        left -= len(measured.prompt.asked) + len(answer_text(measured))
        if left < 0:
            break
        told.append(i)
    return frozenset(told)


def _task(name: str, task: TaskAnswers) -> dict[str, Any]:
    """A task's names: what can be filtered by."""
    values: dict[str, None] = {}
    for measured, _ in task.judged:
        for scorer, given in measured.values.items():
            values |= {f"{scorer}.{value}": None for value, x in given.items() if isinstance(x, int | float)}
    return {
        "name": words.printable(name),
        "title": words.printable(task.title),
        "rates": [
            {"name": words.printable(f"{metric}|{scorer}"), "words": rate_name((metric, scorer))}
            for metric, scorer in task.rates
        ],
        "scores": list(map(words.printable, values)),
    }


class _Words:
    """Words named by number, so that a column of them is a column of small numbers."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}

    def number(self, word: Any) -> int:
        return self._numbers.setdefault(word, len(self._numbers))

    def all(self) -> list[Any]:
        return list(self._numbers)


def _columns(rows: Sequence[tuple[int, Judged]], tasks: Sequence[TaskAnswers]) -> dict[str, Any]:
    """The index: one list for each column, in the order of the rows."""
    statuses, groups, rates, pairs = _Words(), _Words(), _Words(), _Words()
    before = [tasks[number].before.get(_asked(m)) for number, (m, _) in rows]
    places = [{rate: i for i, rate in enumerate(task.rates)} for task in tasks]

    def counted(number: int, against: Sequence[Counted]) -> int:
        return rates.number(tuple(places[number][rate] for rate in against if rate in places[number]))

    columns = {
        "task": [number for number, _ in rows],
        "id": [words.printable(m.prompt.id) for _, (m, _) in rows],
        "sample": [m.output.sample for _, (m, _) in rows],
        "keys": _short([key(m.output) for _, (m, _) in rows]),
        "status": [statuses.number(words.printable(_status(m))) for _, (m, _) in rows],
        "missing": [int(bool(m.output.error or m.errors)) for _, (m, _) in rows],
        "group": [groups.number(_groups(m.prompt)) for _, (m, _) in rows],
        "against": [counted(number, against) for number, (_, against) in rows],
        "pair": [pairs.number(words.printable(m.prompt.pair)) for _, (m, _) in rows],
        "was": [-1 if b is None else counted(number, b[1]) for (number, _), b in zip(rows, before, strict=True)],
        "values": _values(rows),
    }
    return {
        "columns": columns,
        "statuses": statuses.all(),
        "groups": groups.all(),
        "counted": rates.all(),
        "pairs": pairs.all(),
    }


def _values(rows: Sequence[tuple[int, Judged]]) -> dict[str, list[float | None]]:
    """Numbers by 'scorer.value', one place for each row; None where there is none."""
    values: dict[str, list[float | None]] = {}
    for i, (_, (measured, _)) in enumerate(rows):
        for scorer, given in measured.values.items():
            for name, value in given.items():
                if isinstance(value, int | float):
                    column = values.setdefault(words.printable(f"{scorer}.{name}"), [None] * len(rows))
                    column[i] = float(f"{value:.4g}")
    return values


def _asked(measured: Measured) -> Asked:
    return measured.prompt.id, measured.output.sample


def _status(measured: Measured) -> str:
    return measured.status or measured.output.stop_reason


def _groups(prompt: Prompt) -> tuple[tuple[str, str], ...]:
    """(axis, group) of a prompt, its design factors among them, ready to be shown."""
    named = [(axis, group) for axis, groups in prompt.groups.items() for group in groups]
    named += [factor for factor in prompt.factors.items() if factor[0] not in prompt.groups]
    return tuple((words.printable(axis), words.printable(group)) for axis, group in named)


def _short(keys: Sequence[str]) -> list[str]:
    """The beginning of each key, as long as it takes to tell all of them apart."""
    for length in range(SHORTEST_KEY, 32):
        if len({name[:length] for name in keys}) == len(set(keys)):
            return [name[:length] for name in keys]
    return list(keys)


def _texts(number: int, judged: Judged, task: TaskAnswers, told: bool) -> list[str]:
    """Prompt, answer and scores; then the answer and the scores of the run beside, where it has them."""
    measured, _ = judged
    shown = [*_told(measured, told), score_words(measured)]
    before = task.before.get(_asked(measured))
    if before is not None:
        shown += [_told(before[0], told)[1], score_words(before[0])]
    return [words.printable(text, keep="\n\t") for text in shown]


def _told(measured: Measured, told: bool) -> tuple[str, str]:
    if told:
        return clipped(measured.prompt.asked), clipped(answer_text(measured))
    return "(this page has no room for it: see prompts.jsonl)", "(this page has no room for it: see outputs.jsonl)"


def _packed(value: Any) -> str:
    content = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return base64.b64encode(zlib.compress(content.encode("ascii"), 6)).decode("ascii")
