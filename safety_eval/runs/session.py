"""What a run holds while it is written: its folder and run.json, and the engine and scorers that it has loaded.

Both are loaded when first needed, and closed between stages, so that the model and a judge never share the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from safety_eval.core import plugins, secrets
from safety_eval.core.conceal import bound
from safety_eval.core.errors import UserError
from safety_eval.core.interfaces import Engine, Particular, Scorer, ScorerSpec, Settings
from safety_eval.core.journal import Event, Journal
from safety_eval.core.records import digest, plain
from safety_eval.runs import answers, run_file, start
from safety_eval.runs.answers import Records
from safety_eval.runs.before import model_spec
from safety_eval.runs.config import RunConfig
from safety_eval.runs.run_file import RunFile


class Progress(Protocol):
    """What a caller is told while a run goes on. Counts are prompts (or answers) of the current stage."""

    def stage(self, name: str, total: int, done: int) -> None: ...
    def advance(self, count: int = 1) -> None: ...
    def note(self, text: str) -> None: ...


class Silent:
    """Progress of which nobody is told."""

    def stage(self, name: str, total: int, done: int) -> None: ...
    def advance(self, count: int = 1) -> None: ...
    def note(self, text: str) -> None: ...


@dataclass(slots=True)
class Session:
    """One writer's hold of a run folder. `file` is what run.json says; `asks` is what its tasks ask of an engine, as
    (kind, settings)."""

    folder: Path
    config: RunConfig
    file: RunFile
    progress: Progress = field(default_factory=Silent)
    again: Event = Event.RESUMED
    asks: Sequence[tuple[str, Settings]] = ()
    journal: Journal = field(init=False)
    worked: bool = False
    _old: bool = field(init=False)
    _records: dict[str, Records] = field(default_factory=dict)
    _engine: Engine | None = None
    _scorers: dict[str, Scorer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.journal = Journal(self.folder)
        self._old = any(self.folder.glob("*/outputs.jsonl"))

    def works(self, **facts: Any) -> None:
        """Something is owed and will be done now. The first time, the journal is told that an old run goes on."""
        if self._old and not self.worked:
            self.journal.note(self.again, **facts)
        self.worked = True

    def records(self, task: str) -> Records:
        """A task's records, each file read once while the session lasts."""
        if task not in self._records:
            frozen = self.file.tasks[task].prompts_digest if task in self.file.tasks else ""
            self._records[task] = Records(self.folder, task, frozen)
        return self._records[task]

    def engine(self) -> Engine:
        """The engine, loaded once.

        Raises:
            UserError: it cannot be loaded, is not the model that the run was begun with, or cannot do what a task asks.
        """
        if self._engine is None:
            self.progress.note(f"loading {self.config.model}")
            spec = model_spec(self.config, self.file.started)
            engine: Engine = plugins.find("engines", self.config.engine).build(spec)
            try:
                if isinstance(engine, Particular):
                    for kind, settings in self.asks:
                        engine.check(kind, settings)
                self.file = start.bind(self.folder, plain(engine.identity), self.file, self.journal)
            except UserError:
                engine.close()
                raise
            self._engine = engine
        return self._engine

    def scorer(self, spec: ScorerSpec) -> Scorer:
        """A scorer, loaded once for all tasks that it serves."""
        name = digest([spec.name, spec.args])
        if name not in self._scorers:
            self.progress.note(f"loading scorer {spec.name}")
            given = replace(spec, args=secrets.opened(spec.args))
            self._scorers[name] = plugins.find("scorers", spec.name).build(given)
        return self._scorers[name]

    def instrument(self, task: str, spec: ScorerSpec, identity: Mapping[str, Any]) -> None:
        """Write into run.json and the journal which instrument scores a task, before its first score."""
        record, name = self.file.tasks[task], answers.instrument(spec.name)
        arguments = dict(spec.args)
        instruments = {**record.instruments, name: dict(identity)}
        given = {**record.arguments, name: arguments}
        self.save(self.file.changed_task(task, instruments=instruments, arguments=given))
        self.journal.once(
            Event.INSTRUMENT,
            task=task,
            scorer=name,
            identity=bound(identity),
            arguments=bound(arguments),
        )

    def save(self, file: RunFile) -> None:
        """Replace run.json."""
        self.file = file
        run_file.write(self.folder, file)

    def close(self) -> None:
        """Free what was loaded; the session can go on and load again."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None
        for scorer in self._scorers.values():
            scorer.close()
        self._scorers.clear()
