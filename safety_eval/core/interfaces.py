"""The two seams: Engine (prompts -> outputs) and Scorer (answers -> scores), and what a plugin file offers.

A plugin is one file. At its bottom stands `ENGINE = EngineEntry(...)` or `SCORER = ScorerEntry(...)`; the file
name is the plugin's name. Nothing heavy may be imported before it is needed by `build`... except at the top of
that one file, which is itself imported only when it was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from safety_eval.core.errors import UserError
from safety_eval.core.records import Output, Prompt, Score
from safety_eval.core.requires import NOTHING, Requires

Answer = tuple[Prompt, Output]
IMPORTED = "imported"
"""The engine that adopts answers which were made elsewhere. A policy has to allow it by this name."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How one task's prompts are asked. One value for the whole call.

    Attributes:
        task: keys the random draws (seed, task, prompt id, sample, step).
        max_new_tokens: token limit of an answer.
        max_thinking_tokens: of a thought before it, counted apart; 0 = thought and answer share max_new_tokens.
        temperature: 0 = greedy.
        top_p: nucleus; 1 = off.
        stop: strings that end an answer (removed from it).
        seed, sample: of the run, and which of the K samples this call makes.
        chat_template: apply the tokenizer's chat template.
        system_prompt: system turn, None = none. Given without a chat template it is put before the text and a
            blank line.
        chat_prefix: put before the prompt's text when the chat template is applied (tasks that continue text).
    """

    task: str
    max_new_tokens: int = 64
    max_thinking_tokens: int = 0
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0
    sample: int = 0
    chat_template: bool = False
    system_prompt: str | None = None
    chat_prefix: str = ""


@runtime_checkable
class Engine(Protocol):
    """Prompts -> outputs, as they finish, in any order. Failure of one prompt is an Output with `error`."""

    identity: Mapping[str, Any]
    """Name, model, revision, weights digest, tokenizer digest, chat template digest, precision, device, versions."""
    capabilities: frozenset[str]
    """Of: generate, choose, prefill, chat_template, token_logprobs."""

    def generate(self, prompts: Iterable[Prompt], settings: Settings) -> Iterator[Output]: ...

    def choose(self, prompts: Iterable[Prompt], settings: Settings) -> Iterator[Output]: ...

    def close(self) -> None: ...


@runtime_checkable
class Particular(Protocol):
    """An engine that cannot honour all settings, and says so before the first prompt of any task."""

    def check(self, kind: str, settings: Settings) -> None:
        """Raises UserError for settings that it would ignore. `kind`: 'generate' or 'choose'."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """What was found for a task among answers that were made elsewhere.

    Attributes:
        settings: how they were asked, as far as their file says; None = not known.
        answers, without: answers that are owed, with something to adopt and without.
        strangers: names of the file's rows that belong to nothing that is owed.
        unended: answers of which the file does not say how they ended, so that a cut one is not seen.
        left: the file's columns that were not read.
    """

    settings: Mapping[str, Any]
    answers: int
    without: int
    strangers: tuple[str, ...] = ()
    unended: int = 0
    left: tuple[str, ...] = ()


@runtime_checkable
class Adopting(Protocol):
    """An engine that asks nobody: it matches a task's prompts with answers that it holds, before it gives the first."""

    def adopt(self, kind: str, prompts: Sequence[Prompt], settings: Settings, samples: int) -> Adopted: ...


@runtime_checkable
class Scorer(Protocol):
    """Answers -> scores, one for each answer, in any order. Failure of one answer is a Score with `error`."""

    identity: Mapping[str, Any]
    """Instrument: name, version, revision, weights digest, settings that change its values."""

    def score(self, answers: Iterable[Answer]) -> Iterator[Score]: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What an engine is built from: `--model`, `--model-args`, `--dtype`, `--device`, `--batch-size`, and
    `--chat-template-args` with the date of the run (`template`)."""

    model: str
    args: Mapping[str, str] = field(default_factory=dict)
    dtype: str = "auto"
    device: str = "auto"
    batch_size: str = "auto"
    template: Mapping[str, str] = field(default_factory=dict)


def refuse(engine: str, asked: Mapping[str, str], reasons: Mapping[str, str]) -> None:
    """Refuse what other engines take and this one cannot, with the reason: it would be ignored in silence.

    Args:
        asked: what was given, 'auto' = nothing. reasons: by the name of what cannot be given.

    Raises:
        UserError: names the engine, what it cannot, and why.
    """
    for name, reason in reasons.items():
        if asked.get(name, "auto") != "auto":
            raise UserError(f"the {engine} engine takes no {name}: {reason}", "Leave it out.")


@dataclass(frozen=True, slots=True)
class ScorerSpec:
    """What a scorer is built from. `engine` makes a judge's engine from a ModelSpec (a judge gets its engine)."""

    name: str
    args: Mapping[str, str] = field(default_factory=dict)
    device: str = "auto"
    dtype: str = "auto"
    engine: Callable[[ModelSpec], Engine] | None = None


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """What an engine file offers.

    Attributes:
        build: makes the engine (may load weights).
        capabilities: checked before anything is loaded.
        default_model: the model where `--model ENGINE` names none; '' = it has to be given.
        requires: what a spec needs, without loading anything; raises UserError for arguments that it does not have.
        asks: False = its answers are there already, so that no setting can change how they are made.
    """

    build: Callable[[ModelSpec], Engine]
    capabilities: frozenset[str]
    default_model: str = ""
    requires: Callable[[ModelSpec], Requires] = lambda spec: NOTHING
    asks: bool = True


@dataclass(frozen=True, slots=True)
class ScorerEntry:
    """What a scorer file offers.

    Attributes:
        build: makes the scorer (may load weights).
        offers: names of the values that it gives, from its arguments, before anything is loaded.
        about: one line for `safety-eval ls scorers`.
        reads: what of a prompt and its answer it looks at, in a few words, for the list of all scorers.
        requires: what its arguments need, without loading anything; raises UserError for arguments that it does not
            have. A scorer that needs nothing is built at once by preflight, which checks its arguments.
        examples: arguments under which it gives other values than by default, for the list of all values.
        also: values that only some answers or models get -> when; for the list of all values (`*` in a name: any end).
    """

    build: Callable[[ScorerSpec], Scorer]
    offers: Callable[[Mapping[str, str]], frozenset[str]]
    about: str = ""
    reads: str = "the answer"
    requires: Callable[[Mapping[str, str]], Requires] = lambda args: NOTHING
    examples: tuple[Mapping[str, str], ...] = ({},)
    also: Mapping[str, str] = field(default_factory=dict)
