"""Engine `imported`: answers that were made elsewhere, adopted as they stand in a file. It asks nobody.

`safety-eval import` builds it: `--model` is the name of the model, each model argument `TASK=FILE`. Read are Inspect's
`.eval` logs, lm-eval's samples (`.jsonl`), and `.csv` or `.jsonl` files with the columns `id` or `prompt` (or both),
`text` (or `choice_logprobs`) and, where prompts were asked several times, `repeat` from 0.

A row belongs to a prompt if its wording is the prompt's, or, where it has no wording, if its id is. Nothing is made up:
a prompt without a row is an output with an error, a row without a prompt is counted and named, and what a file does
not say of how it was made is not known.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from safety_eval.core.errors import UserError
from safety_eval.core.interfaces import IMPORTED, Adopted, EngineEntry, ModelSpec, Settings
from safety_eval.core.records import Output, Prompt, Reason, key
from safety_eval.core.requires import FileNeed, Requires
from safety_eval.core.thoughts import Text, family_of, parted
from safety_eval.engines import _answer_files, _eval_log
from safety_eval.engines._answer_rows import SETTINGS, FaultError, Row, Source, refused

CAPABILITIES = frozenset({"generate", "choose", "prefill"})
_Matched = Mapping[tuple[str, int], Row]


@dataclass(frozen=True, slots=True)
class _Join:
    """Rows by (prompt id, repeat), and those that belong to no prompt."""

    rows: _Matched
    strangers: tuple[Row, ...]


class Imported:
    """Outputs from the files of a spec, by task."""

    def __init__(self, model: str, files: Mapping[str, Path]) -> None:
        self._sources = {task: read(path) for task, path in files.items()}
        named = {source.model for source in self._sources.values() if source.model}
        if len(named) > 1:
            raise UserError(
                f"the files are of different models: {', '.join(sorted(named))}",
                "Import each model into its own folder.",
            )
        self.identity: Mapping[str, Any] = {
            "name": IMPORTED,
            "model": model,
            "model_by_file": next(iter(named), ""),
            "sources": {
                task: {"file": files[task].name, "sha256": s.sha256, "form": s.form, "made_by": s.made_by}
                for task, s in sorted(self._sources.items())
            },
        }
        self.capabilities = CAPABILITIES
        self._joined: dict[str, _Join] = {}
        self._closed = False

    def adopt(self, kind: str, prompts: Sequence[Prompt], settings: Settings, samples: int) -> Adopted:
        """Match a task's prompts with its file, before the first answer is taken over.

        Raises:
            UserError: the file answers one prompt twice, fits none of them, or holds nothing of the kind.
        """
        source = self._source(settings.task)
        join = self._joined[settings.task] = joined(prompts, source, settings.task)
        wanted = {(p.id, sample) for p in prompts for sample in range(samples)}
        held = {place: row for place, row in join.rows.items() if place in wanted}
        has = [row for row in held.values() if (row.likelihoods if kind == "choose" else row.text is not None)]
        if not has:
            what = "log-likelihoods of its choices" if kind == "choose" else "text"
            raise UserError(
                f"the file for {settings.task} holds no {what} for any of its {len(prompts):,} prompts",
                "The wording must be that of RUN/TASK/prompts.jsonl, to the letter, or the id must be given alone. "
                "A task that weighs choices needs choice_logprobs, or lm-eval's samples of a multiple-choice task.",
            )
        strangers = [*join.strangers, *(row for place, row in join.rows.items() if place not in wanted)]
        unended = sum(1 for row in has if not row.stop_reason) if kind == "generate" else 0
        return Adopted(
            settings={name: source.settings.get(name) for name in SETTINGS},
            answers=len(has),
            without=len(wanted) - len(has),
            strangers=tuple(row.name for row in strangers),
            unended=unended,
            left=source.left,
        )

    def generate(self, prompts: Iterable[Prompt], settings: Settings) -> Iterator[Output]:
        """The text of each prompt, or why there is none."""
        for prompt, row in self._rows(prompts, settings):
            output = _output(prompt, settings, row)
            if row is None or output.error:
                yield output
            elif row.text is None:
                yield _without(output, "its row has no text")
            else:
                said = Text(row.text, row.reasoning, True) if row.reasoning else parted(row.text, family_of(row.text))
                ended = row.stop_reason
                yield replace(output, text=said.answer, reasoning=said.reasoning, stop_reason=ended)

    def choose(self, prompts: Iterable[Prompt], settings: Settings) -> Iterator[Output]:
        """The log-likelihoods of each prompt's choices, or why there are none."""
        for prompt, row in self._rows(prompts, settings):
            output = _output(prompt, settings, row)
            if row is None or output.error:
                yield output
                continue
            weighed = _weighed(prompt, row)
            if isinstance(weighed, str):
                yield _without(output, weighed)
            else:
                yield replace(output, choice_logprobs=weighed, stop_reason="choice")

    def _rows(self, prompts: Iterable[Prompt], settings: Settings) -> Iterator[tuple[Prompt, Row | None]]:
        if self._closed:
            raise UserError("the engine is closed", "Build it again.")
        asked = list(prompts)
        join = self._joined.get(settings.task) or joined(asked, self._source(settings.task), settings.task)
        for prompt in asked:
            yield prompt, join.rows.get((prompt.id, settings.sample))

    def _source(self, task: str) -> Source:
        if task not in self._sources:
            raise UserError(f"no file is given for {task}", f"Give {task}=FILE, or leave the task out.")
        return self._sources[task]

    def close(self) -> None:
        """Nothing to free; afterwards it answers no more."""
        self._closed = True


def joined(prompts: Sequence[Prompt], source: Source, task: str) -> _Join:
    """Rows with the prompts that they answer. Prompts of one wording take its rows in their order: the same was asked.

    Raises:
        UserError: more rows of one wording than prompts.
    """
    by_id = {prompt.id: prompt for prompt in prompts}
    waiting: dict[tuple[str, int], deque[Prompt]] = {}
    by_words: dict[str, list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        if not prompt.prefill:  # what an answer began with is no part of its wording: only an id can say
            by_words[_bare(prompt.asked)].append(prompt)
    found: dict[tuple[str, int], Row] = {}
    strangers: list[Row] = []
    loose: list[Row] = []
    for row in source.rows:
        mine = by_id.get(row.id)
        if mine is not None and (not row.prompt or _bare(row.prompt) == _bare(mine.asked)):
            found[mine.id, row.repeat] = row
        elif not row.prompt or _bare(row.prompt) not in by_words:
            strangers.append(row)
        else:
            loose.append(row)
    for row in loose:
        place = (_bare(row.prompt), row.repeat)
        if place not in waiting:
            waiting[place] = deque(p for p in by_words[place[0]] if (p.id, row.repeat) not in found)
        if not waiting[place]:
            raise UserError(
                f"{task}: {row.name} is another answer to a prompt that has one, repeat {row.repeat}",
                "Keep one of them, or number answers to the same prompt with `repeat` from 0.",
            )
        found[waiting[place].popleft().id, row.repeat] = row
    return _Join(found, tuple(strangers))


def _bare(text: str) -> str:
    """A wording without the ends of its lines and the blanks around it."""
    return text.replace("\r\n", "\n").strip()


def _output(prompt: Prompt, settings: Settings, row: Row | None) -> Output:
    output = Output(key(prompt), prompt.id, settings.sample)
    if row is None:
        return _without(output, "no row of the file belongs to it")
    if row.error:
        return replace(output, error=f"{Reason.ELSEWHERE}: {row.error}", stop_reason="error")
    return replace(output, prompt_tokens=row.prompt_tokens, output_tokens=row.output_tokens)


def _without(output: Output, why: str) -> Output:
    return replace(output, error=f"{Reason.NOT_IN_FILE}: {why}", stop_reason="error", prompt_tokens=0, output_tokens=0)


def _weighed(prompt: Prompt, row: Row) -> tuple[float, ...] | str:
    """The log-likelihoods in the order of a prompt's choices, or what is missing."""
    if not prompt.choices:
        return "the prompt has no choices"
    if not row.likelihoods:
        return "its row has no log-likelihoods"
    if not row.likelihoods[0][0]:
        values = tuple(value for _, value in row.likelihoods)
        missing = len(prompt.choices) != len(values)
        return f"{len(values)} log-likelihoods for {len(prompt.choices)} choices" if missing else values
    told = dict(row.likelihoods)
    left = sum(1 for choice in prompt.choices if choice not in told)
    return f"{left} of its choices have no log-likelihood" if left else tuple(told[choice] for choice in prompt.choices)


def read(path: Path) -> Source:
    """A file of answers, by its ending.

    Raises:
        UserError: another ending, no such file, or what is wrong with it.
    """
    path = path.expanduser()
    try:
        seen = path.stat()
        return _read(path, seen.st_size, seen.st_mtime_ns)
    except FaultError as error:
        raise refused(path, error) from None
    except OSError as error:
        raise refused(path, error.strerror or error) from None


@lru_cache(maxsize=16)
def _read(path: Path, size: int, changed: int) -> Source:
    """Read once, though preflight and the run both ask."""
    ending = path.suffix.lower()
    if ending == ".eval":
        return _eval_log.read(path)
    if ending in (".csv", ".jsonl"):
        return _answer_files.read(path)
    raise FaultError("its name ends in none of .eval, .jsonl and .csv")


def _files(spec: ModelSpec) -> dict[str, Path]:
    if not spec.args:
        raise UserError("the engine 'imported' has no file", "Use `safety-eval import TASK=FILE ...`.")
    return {task: Path(path) for task, path in spec.args.items()}


def build(spec: ModelSpec) -> Imported:
    """The engine of a spec.

    Raises:
        UserError: no files, a file that cannot be read, or files of different models.
    """
    return Imported(spec.model, _files(spec))


def requires(spec: ModelSpec) -> Requires:
    """The files, whole and readable; for Inspect's logs what unpacks them."""
    files = _files(spec)
    packed = any(p.suffix.lower() == ".eval" and _eval_log.needs_zstandard(p.expanduser()) for p in files.values())
    needs = Requires(packages=("zstandard",) if packed else (), files=tuple(FileNeed(str(p)) for p in files.values()))
    if all(p.expanduser().is_file() for p in files.values()) and not (packed and not _unpacks()):
        build(spec).close()
    return needs


def _unpacks() -> bool:
    from safety_eval.core.packages import installed

    return installed("zstandard")


ENGINE = EngineEntry(build, CAPABILITIES, requires=requires, asks=False)
