"""What runs in the process of a replica: the inner engine, and its errors on their way to the driver."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safety_eval.core import plugins
from safety_eval.core.errors import UserError
from safety_eval.core.interfaces import Engine, ModelSpec, Particular, Settings
from safety_eval.core.records import Output, Prompt, plain


@dataclass(frozen=True, slots=True)
class Problem:
    """A UserError on its way between processes."""

    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class Opened:
    """What a replica says of the engine that it has opened."""

    identity: Mapping[str, Any]
    capabilities: frozenset[str]


class Worker:
    """What runs in the process of a replica."""

    def open(self, inner: str, spec: ModelSpec, cpus: int, folder: str) -> Opened | Problem:
        os.environ["OMP_NUM_THREADS"] = str(cpus)
        if Path(folder).is_dir():
            os.chdir(folder)  # paths of models are the driver's
        try:
            self._engine: Engine = plugins.find("engines", inner).build(spec)
        except UserError as error:
            return Problem(error.message, error.hint)
        return Opened(plain(self._engine.identity), self._engine.capabilities)

    def check(self, kind: str, settings: Settings) -> Problem | None:
        try:
            if isinstance(self._engine, Particular):
                self._engine.check(kind, settings)
        except UserError as error:
            return Problem(error.message, error.hint)
        return None

    def ask(self, kind: str, prompts: list[Prompt], settings: Settings) -> Iterator[Output | Problem]:
        try:
            yield from getattr(self._engine, kind)(prompts, settings)
        except UserError as error:
            yield Problem(error.message, error.hint)


def raise_problem(told: object) -> None:
    """Raises:
    UserError: what was told is a problem.
    """
    if isinstance(told, Problem):
        raise UserError(told.message, told.hint)
