"""What exports of answers read of a run: its records, the model's name, and texts or their digests."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from safety_eval.core.records import Estimate, Prompt, digest
from safety_eval.core.task import Measured
from safety_eval.export import measured
from safety_eval.runs.opened import RunFolder
from safety_eval.runs.run_file import RunFile, TaskRecord

_OWNERS = {"smollm2": ("HuggingFaceTB", "SmolLM2-135M-Instruct")}
"""Models that we call by a name of our own."""
SERVED = frozenset({"openai_server"})
"""Engines that ask a model whose weights somebody else holds."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A finished run, for exporting its answers.

    Attributes:
        run: its records. estimates: every number.
        owner, name: of the model, as other tools want it: 'local' owns a folder.
        texts: whether prompts and answers are written, or their digests alone.
    """

    run: RunFolder
    estimates: tuple[Estimate, ...]
    owner: str
    name: str
    texts: bool

    @property
    def file(self) -> RunFile:
        """run.json."""
        return self.run.file

    @property
    def model(self) -> str:
        """'owner/name'."""
        return f"{self.owner}/{self.name}"

    def rows(self, task: str) -> Sequence[Measured]:
        """Every owed answer of a task."""
        return self.run.measured(task)

    def of(self, task: str) -> list[Estimate]:
        """The numbers of a task that have a value."""
        return [e for e in self.estimates if e.task == task and e.value is not None]

    def text(self, text: str) -> str:
        """A text, or its digest: 'sha256:...'."""
        return (
            text if self.texts or not text else f"sha256:{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()}"
        )

    def name_of(self, *parts: str) -> str:
        """22 hexadecimal digits that only this run gives for these words: the same in every export of it."""
        return digest([self.file.started, self.model, *parts])[:22]


def read(folder: Path, texts: bool) -> Opened:
    """A run folder, opened for exporting.

    Raises:
        UserError: nothing was measured yet.
    """
    numbers = measured.read(folder)
    owner, name = _owned(numbers.model)
    return Opened(RunFolder(folder), numbers.estimates, owner, name, texts)


def _owned(model: str) -> tuple[str, str]:
    if model in _OWNERS:
        return _OWNERS[model]
    owner, slash, name = model.partition("/")
    if slash and "/" not in name and not Path(model).exists() and owner not in (".", "..", "~"):
        return _portable(owner), _portable(name)
    return "local", _portable(Path(model).name)


def _portable(name: str) -> str:
    """A part of a path on every system."""
    return re.sub(r'[<>:"|?*\\/\x00-\x1f]+', "-", name).rstrip(". ") or "model"


def iso(moment: str) -> str:
    """A time of run.json as other tools write it."""
    return moment.replace("Z", "+00:00")


def seconds(moment: str) -> str:
    """A time of run.json in seconds since 1970."""
    return str(int(datetime.fromisoformat(iso(moment)).timestamp()))


def turns(prompt: Prompt) -> Sequence[tuple[str, str]]:
    """(role, content) of every turn of a prompt."""
    return [(m.role, m.content) for m in prompt.messages] or [("user", prompt.text)]


def facts(record: TaskRecord) -> Mapping[str, object]:
    """Decoding settings that a task was asked with; what was not given is left out."""
    return {name: value for name, value in record.settings.items() if value not in (None, [], "", ())}
