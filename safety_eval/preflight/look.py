"""Everything that a run will need, looked at before the first token, as one list."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from safety_eval.core import packages, plugins
from safety_eval.core.errors import UserError
from safety_eval.core.faults import told
from safety_eval.core.fetch import cache_folder
from safety_eval.core.interfaces import EngineEntry, ModelSpec, ScorerEntry, ScorerSpec
from safety_eval.core.requires import FileNeed, Requires
from safety_eval.core.task import ScorerChoice, Task, TaskOptions
from safety_eval.preflight.checks import Check, Kind, PreflightError, State, size_text
from safety_eval.preflight.data import data, unreachable
from safety_eval.preflight.hub import folder_of
from safety_eval.preflight.machine import GIB
from safety_eval.preflight.models import model

_RUN_ROOM = GIB // 2
"""Free space that a run folder gets: answers, scores and charts of the largest suite take about 200 MB."""


@dataclass(frozen=True, slots=True)
class WantedTask:
    """A task of a run, as far as it is still owed: `load` its prompts, and what scores its answers."""

    task: Task
    options: TaskOptions
    scorers: tuple[ScorerChoice, ...]
    load: bool = True


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a run will use. `engine` '' = nothing is asked any more. `folder`: of the run, None = nothing is written."""

    engine: str
    spec: ModelSpec | None
    tasks: tuple[WantedTask, ...]
    folder: Path | None = None


def look(wanted: Wanted) -> list[Check]:
    """Every check of what is wanted: the model, data, instruments, folder and disk, in the order of a run."""
    checks = [*_engine(wanted), *_data(wanted), *_instruments(wanted)]
    if wanted.folder is not None:
        checks += _room(wanted.folder, checks)
    return checks


def model_folder(wanted: Wanted) -> Path | None:
    """Where the files of the model are that will be asked; None where they are not here, or no folder of their own."""
    if not wanted.engine or wanted.spec is None:
        return None
    entry: EngineEntry = plugins.find("engines", wanted.engine)
    causal = [need for need in entry.requires(wanted.spec).models if need.kind == "causal"]
    return folder_of(causal[0]) if causal else None


def refuse(checks: Sequence[Check], predict_only: bool = False) -> None:
    """Stop a run that something is missing for, with all of it in one message.

    Raises:
        PreflightError: naming everything that is missing and what to do about each.
    """
    missing = [c for c in checks if c.state is State.MISSING]
    if not missing:
        return
    what = "one thing is missing" if len(missing) == 1 else f"{len(missing)} things are missing"
    lines = [f"nothing was asked, since {what}:"]
    for check, following in zip(missing, [*missing[1:], None], strict=True):
        used = f" (for {', '.join(check.used_by)})" if check.used_by else ""
        lines.append(f"  {check.kind.value} {check.name}{used}: {check.detail}")
        if check.advice and (following is None or following.advice != check.advice):
            lines.append(f"    -> {check.advice}")
    fetched = [c.size for c in checks if c.state is State.DOWNLOAD]
    if fetched:
        known = sum(size or 0 for size in fetched)
        lines.append(f"  {len(fetched)} more would be downloaded ({size_text(known) if known else 'size unknown'}).")
    if all(c.kind is Kind.INSTRUMENT for c in missing) and not predict_only:
        lines.append("  -> To ask now and score later, elsewhere: add --predict-only.")
    raise PreflightError("\n".join(lines), checks)


def _engine(wanted: Wanted) -> Iterator[Check]:
    if not wanted.engine or wanted.spec is None:
        return
    try:
        entry: EngineEntry = plugins.find("engines", wanted.engine)
        requires = entry.requires(wanted.spec)
    except UserError as error:
        yield _failed(Kind.ENGINE, wanted.engine, error)
        return
    found = [*_packages(requires, Kind.ENGINE), *_models(requires, Kind.MODEL), *_files(requires, Kind.MODEL)]
    yield from found or [Check(Kind.MODEL, wanted.spec.model, State.READY, f"engine {wanted.engine}")]


def _data(wanted: Wanted) -> Iterator[Check]:
    for each in (t for t in wanted.tasks if t.load):
        requires = each.task.requires(each.options)
        for need in requires.data:
            yield data(need, each.options.data, each.task.name)
        for check in _files(requires, Kind.DATA):
            yield replace(check, used_by=(each.task.name,))


def _instruments(wanted: Wanted) -> Iterator[Check]:
    """Each instrument once, with the tasks that it serves."""
    serves: dict[tuple[str, tuple[tuple[str, str], ...]], list[str]] = {}
    for each in wanted.tasks:
        for choice in each.scorers:
            serves.setdefault((choice.name, tuple(sorted(choice.args.items()))), []).append(each.task.name)
    for (name, args), tasks in serves.items():
        for check in _instrument(name, dict(args)):
            yield replace(check, used_by=tuple(tasks))


def _instrument(name: str, args: dict[str, str]) -> list[Check]:
    try:
        entry: ScorerEntry = plugins.find("scorers", name)
        with told(entry.build, f"scorer '{name}'"):
            requires = entry.requires(args)
            if requires.bare:
                entry.build(ScorerSpec(name, args)).close()
                return [Check(Kind.INSTRUMENT, name, State.READY, "here")]
    except UserError as error:
        return [_failed(Kind.INSTRUMENT, name, error)]
    parts = [
        *_packages(requires, Kind.INSTRUMENT),
        *_models(requires, Kind.INSTRUMENT),
        *_files(requires, Kind.INSTRUMENT),
    ]
    return [replace(part, name=f"{name}: {part.name}") for part in parts]


def _failed(kind: Kind, name: str, error: UserError) -> Check:
    return Check(kind, name, State.MISSING, error.message, error.hint)


def _packages(requires: Requires, kind: Kind) -> Iterator[Check]:
    for module in requires.packages:
        name = packages.distribution(module)
        if packages.installed(module):
            yield Check(kind, name, State.READY, "package installed")
        else:
            yield Check(kind, name, State.MISSING, "package not installed", packages.advice(module))


def _models(requires: Requires, kind: Kind) -> Iterator[Check]:
    for need in requires.models:
        yield model(need, kind, requires.instead)


def _files(requires: Requires, kind: Kind) -> Iterator[Check]:
    for need in requires.files:
        yield _file(need, kind, requires.instead)


def _file(need: FileNeed, kind: Kind, instead: str) -> Check:
    path = Path(need.path).expanduser()
    if path.is_file():
        readable = os.access(path, os.R_OK)
        state, detail = (State.READY, "here") if readable else (State.MISSING, "no permission to read it")
        return Check(kind, need.path, state, detail)
    if not need.url:
        return Check(kind, need.path, State.MISSING, "no such file", instead or "Check the path.")
    reason = unreachable(need.url)
    size = need.least or None
    taking = f", at least {size_text(size)}" if size else ""
    if reason:
        detail = f"not on this machine, and {need.url} {reason}{taking}"
        return Check(kind, path.name, State.MISSING, detail, instead, size)
    return Check(kind, path.name, State.DOWNLOAD, f"would be downloaded from {need.url}{taking}", size=size)


def _room(folder: Path, checks: Sequence[Check]) -> Iterator[Check]:
    """The run's folder can be written, and what is downloaded and written finds room."""
    above = next((p for p in (folder, *folder.absolute().parents) if p.exists()), Path("/"))
    if not above.is_dir():
        yield Check(
            Kind.FOLDER, str(folder), State.MISSING, f"{above} is a file, not a folder", "Choose another --output-path."
        )
        return
    if not os.access(above, os.W_OK | os.X_OK):
        yield Check(
            Kind.FOLDER,
            str(folder),
            State.MISSING,
            f"no permission to write in {above}",
            "Choose another --output-path.",
        )
        return
    yield Check(Kind.FOLDER, str(folder), State.READY, "can be written")
    yield _disk(above, _RUN_ROOM, "the run folder")
    fetched = sum(check.size or 0 for check in checks if check.state is State.DOWNLOAD)
    if fetched:
        yield _disk(_hub_folder(), fetched, "the downloads")


def _hub_folder() -> Path:
    if packages.installed("huggingface_hub"):
        from huggingface_hub import constants

        wanted = Path(constants.HF_HUB_CACHE)
    else:
        wanted = cache_folder()
    return next((p for p in (wanted, *wanted.parents) if p.exists()), Path("/"))


def _disk(place: Path, needed: int, what: str) -> Check:
    free = shutil.disk_usage(place).free
    detail = f"{size_text(free)} free in {place}, {what} may take {size_text(needed)}"
    if free >= needed:
        return Check(Kind.DISK, what, State.READY, detail)
    return Check(
        Kind.DISK,
        what,
        State.MISSING,
        detail,
        "Free some space, or choose another place (HF_HOME, --output-path).",
    )
