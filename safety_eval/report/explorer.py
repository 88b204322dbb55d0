"""Every answer of a run, packed into the page: an index that the page filters, and texts that it opens when asked.

Both are JSON, deflated, in base64, inside script elements of a type that no browser runs: no text of a model or data
set can end the element or be read as code. The page's own script (explorer.js) unpacks them and puts every text into
the page as text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from safety_eval.compare.comparable import common_ground
from safety_eval.core.records import Estimate, Part, Prompt, key, parted
from safety_eval.core.task import ANSWERED, Measured
from safety_eval.measure.against import Against, Counted
from safety_eval.measure.coded import Spooled
from safety_eval.measure.table import STATUS_RATES
from safety_eval.report.answers import answer_text, clipped, rate_name, score_words
from safety_eval.report.packing import Column, Texts, packed, packed_pieces, written
from safety_eval.report.seen import Seen, given
from safety_eval.runs.opened import RunFolder
from safety_eval.runs.rows import Rows
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
Before = Callable[[str, int], Judged | None]
"""The answer to a prompt, by its id, and sample in the run beside; None where it has none."""


@dataclass(frozen=True, slots=True)
class TaskAnswers:
    """A task's answers with what they were counted for.

    Attributes:
        title: of the task. seen: of a walk over every owed answer.
        before: the same prompts' answers in the run that this one is compared with.
    """

    title: str
    seen: Seen
    before: Before = lambda prompt_id, sample: None


@dataclass(frozen=True, slots=True)
class Explorer:
    """What the page needs to show every answer.

    Attributes:
        index: packed, in pieces. texts: packed by CHUNK; see the module.
        owed, listed, told: answers of the run, in the list, and in the list with their texts.
        baseline: the model of the run beside; '' = none.
    """

    index: Iterable[str]
    texts: Iterable[str]
    owed: int
    listed: int
    told: int
    baseline: str = ""


def explored(tasks: Mapping[str, TaskAnswers], baseline: str = "") -> Explorer:
    """Pack the answers of a run. Within a task those counted against the model come first.

    Args:
        tasks: by name, in the order of the report.
        baseline: the model whose answers stand beside; '' = none.
    """
    held = list(tasks.values())
    places = _places(held)
    index, texts = _Index(held), Texts()
    chunk: list[list[str]] = []
    for number, task in enumerate(held):
        for row, told in _walk(task, places[number]):
            before = task.before(row[0].prompt.id, row[0].output.sample)
            index.add(number, row, before)
            chunk.append(_texts(row[0], before, told))
            if len(chunk) == CHUNK:
                texts.add(packed(chunk))
                chunk = []
    if chunk:
        texts.add(packed(chunk))
    names = {
        "chunk": CHUNK,
        "answered": sorted(ANSWERED),
        "baseline": words.printable(baseline),
        "tasks": [_task(name, task) for name, task in tasks.items()],
    }
    pieces = Texts()
    for piece in packed_pieces(index.json(names)):
        pieces.add(piece)
    owed = sum(len(task.seen.against) for task in held)
    listed, with_texts = (sum(int((place >= least).sum()) for place in places) for least in (_LISTED, _TOLD))
    return Explorer(pieces, texts, owed, listed, with_texts, baseline)


def of_run(run: RunFolder, seen: Mapping[str, Seen], baseline: RunFolder | None = None) -> Explorer:
    """Pack the answers of a run folder, beside those of a baseline.

    Args:
        seen: by task, of a walk over its answers.

    Raises:
        UserError: the two runs may not be compared.
    """
    shared = common_ground(run, baseline).tasks if baseline else ()
    tasks = {}
    for name, found in seen.items():
        title = run.file.tasks[name].title or words.name(name)
        if baseline and name in shared:
            tasks[name] = TaskAnswers(title, found, _beside(run, baseline, name))
        else:
            tasks[name] = TaskAnswers(title, found)
    return explored(tasks, words.facts(baseline.file).model if baseline else "")


def _beside(run: RunFolder, baseline: RunFolder, task: str) -> Before:
    """The answers of a baseline to the same prompts."""
    rows, counting = baseline.measured(task), Against(run.task(task))

    def before(prompt_id: str, sample: int) -> Judged | None:
        row = rows.find(prompt_id, sample)
        return None if row is None else (row, counting.of(row))

    return before


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


_LISTED, _TOLD = 1, 2


def _places(tasks: Sequence[TaskAnswers]) -> list[NDArray[np.int8]]:
    """Of each task's answers whether the page lists them, and with their texts: those counted against the model first,
    until there are MOST_ROWS, and texts of MOST_CHARACTERS."""
    flagged = [np.array([bool(c) for c in t.seen.against.table], bool)[t.seen.against.codes] for t in tasks]
    places = [np.zeros(len(one), np.int8) for one in flagged]
    rows, characters, room = MOST_ROWS, MOST_CHARACTERS, True
    for first in (True, False):
        for task, is_flagged, place in zip(tasks, flagged, places, strict=True):
            here = np.flatnonzero(is_flagged == first)[:rows]
            rows -= len(here)
            place[here] = _LISTED
            fits = here[np.cumsum(task.seen.lengths[here]) <= characters] if room else here[:0]
            place[fits] = _TOLD
            room = len(fits) == len(here) and room
            characters -= int(task.seen.lengths[fits].sum())
    return places


def _walk(task: TaskAnswers, place: NDArray[np.int8]) -> Iterator[tuple[Judged, bool]]:
    """The listed answers of a task, those counted against the model first, and whether each shows its texts."""
    against, rows = task.seen.against, task.seen.rows
    flagged = np.array([bool(counted) for counted in against.table], bool)[against.codes]
    for first in (True, False):
        numbers = np.flatnonzero((flagged == first) & (place >= _LISTED))
        if len(numbers):
            read = rows.at(map(int, numbers)) if isinstance(rows, Rows) else (rows[int(i)] for i in numbers)
            for i, row in zip(numbers, read, strict=True):
                yield (row, against[int(i)]), bool(place[i] == _TOLD)


def _task(name: str, task: TaskAnswers) -> dict[str, Any]:
    """A task's names: what can be filtered by."""
    return {
        "name": words.printable(name),
        "title": words.printable(task.title),
        "rates": [
            {"name": words.printable(f"{metric}|{scorer}"), "words": rate_name((metric, scorer))}
            for metric, scorer in task.seen.rates
        ],
        "scores": list(map(words.printable, task.seen.numbers)),
    }


class _Words:
    """Words named by number, so that a column of them is a column of small numbers."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}

    def number(self, word: Any) -> int:
        return self._numbers.setdefault(word, len(self._numbers))

    def all(self) -> list[Any]:
        return list(self._numbers)


class _Index:
    """The index: one list for each column, in the order in which the answers are added."""

    def __init__(self, tasks: Sequence[TaskAnswers]) -> None:
        self._places = [{rate: i for i, rate in enumerate(task.seen.rates)} for task in tasks]
        self._statuses, self._groups, self._rates, self._pairs = _Words(), _Words(), _Words(), _Words()
        names = ("task", "id", "sample", "status", "missing", "group", "against", "pair", "was")
        self._columns = {name: Column() for name in names}
        self._values: dict[str, Column] = {}
        self._keys = tuple(Spooled("Q") for _ in range(2))

    def add(self, number: int, judged: Judged, before: Judged | None) -> None:
        """Add an answer of a task."""
        row, counted = judged
        values = {
            "task": number,
            "id": words.printable(row.prompt.id),
            "sample": row.output.sample,
            "status": self._statuses.number(words.printable(_status(row))),
            "missing": int(bool(row.output.error or row.errors)),
            "group": self._groups.number(_groups(row.prompt)),
            "against": self._counted(number, counted),
            "pair": self._pairs.number(words.printable(row.prompt.pair)),
            "was": -1 if before is None else self._counted(number, before[1]),
        }
        rows = len(self._columns["task"])
        for name, value in values.items():
            self._columns[name].add(value)
        for scorer, name, score in given(row):
            column = self._values.setdefault(words.printable(f"{scorer}.{name}"), Column())
            column.fill(rows)
            column.add(float(f"{score:.4g}"))
        name = key(row.output)
        self._keys[0].append(int(name[:16], 16))
        self._keys[1].append(int(name[16:], 16))

    def _counted(self, number: int, against: Sequence[Counted]) -> int:
        place = self._places[number]
        return self._rates.number(tuple(place[rate] for rate in against if rate in place))

    def json(self, names: Mapping[str, Any]) -> Iterator[str]:
        """The whole index as JSON, in pieces."""
        rows = len(self._columns["task"])
        yield written(names)[:-1] + ',"columns":{'
        for name in ("task", "id", "sample"):
            yield f'"{name}":'
            yield from self._columns[name].json()
            yield ","
        yield '"keys":['
        yield from self._short_keys()
        yield "]"
        for name in ("status", "missing", "group", "against", "pair", "was"):
            yield f',"{name}":'
            yield from self._columns[name].json()
        yield ',"values":{'
        for i, (name, column) in enumerate(self._values.items()):
            column.fill(rows)
            yield f"{',' if i else ''}{written(name)}:"
            yield from column.json()
        lists = {
            "statuses": self._statuses.all(),
            "groups": self._groups.all(),
            "counted": self._rates.all(),
            "pairs": self._pairs.all(),
        }
        yield "}}," + written(lists)[1:]

    def _short_keys(self) -> Iterator[str]:
        """The beginning of each key, as long as it takes to tell all of them apart."""
        first, rest = (half.read() for half in self._keys)
        length = _shortest(first, rest)
        for i in range(len(first)):
            name = f"{int(first[i]):016x}{int(rest[i]):016x}"[:length]
            yield f'{"," if i else ""}"{name}"'


def _shortest(first: NDArray[np.uint64], rest: NDArray[np.uint64]) -> int:
    """Digits of a key that tell all of them apart, from SHORTEST_KEY up. `first`, `rest`: its 16 digits each."""
    order = np.lexsort((rest, first))
    a, b = first[order], rest[order]
    apart = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
    for length in range(SHORTEST_KEY, 17):
        begin = a >> np.uint64(4 * (16 - length))
        if ((begin[1:] != begin[:-1]) == apart).all():
            return length
    return 32


def _status(measured: Measured) -> str:
    return measured.status or measured.output.stop_reason


def _groups(prompt: Prompt) -> tuple[tuple[str, str], ...]:
    """(axis, group) of a prompt, its design factors among them, ready to be shown."""
    named = [(axis, group) for axis, groups in prompt.groups.items() for group in groups]
    named += [factor for factor in prompt.factors.items() if factor[0] not in prompt.groups]
    return tuple((words.printable(axis), words.printable(group)) for axis, group in named)


def _texts(row: Measured, before: Judged | None, told: bool) -> list[str]:
    """Prompt, answer and scores; then the answer and the scores of the run beside, where it has them."""
    shown = [*_told(row, told), score_words(row)]
    if before is not None:
        shown += [_told(before[0], told)[1], score_words(before[0])]
    return [words.printable(text, keep="\n\t") for text in shown]


def _told(measured: Measured, told: bool) -> tuple[str, str]:
    if told:
        return clipped(measured.prompt.asked), clipped(answer_text(measured))
    return "(this page has no room for it: see prompts.jsonl)", "(this page has no room for it: see outputs.jsonl)"
