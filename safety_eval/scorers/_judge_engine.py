"""A judge asked through an engine: the same spelling for every scorer that has one.

`engine=NAME` chooses it, and arguments that are none of the scorer's own go to it: `refusal:judge=openai/NAME,
base_url=http://HOST:8000/v1,api_key=env:VARIABLE`. A model `openai/NAME` with a base_url asks that server.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from safety_eval.core import plugins
from safety_eval.core.errors import UserError, nearest
from safety_eval.core.interfaces import Engine, EngineEntry, ModelSpec, Particular, ScorerSpec, Settings
from safety_eval.core.records import Output, Prompt, key
from safety_eval.core.requires import Requires

ENGINE, SERVER = "engine", "openai_server"
_OF_SERVERS = "openai"
_LOCAL = "transformers"


@dataclass(frozen=True, slots=True)
class Through:
    """Which engine a judge is asked through. `args` may hold what the environment gave: they are never written down."""

    engine: str
    model: str
    args: Mapping[str, str] = field(default_factory=dict, repr=False)

    def requires(self) -> Requires:
        """What the engine needs.

        Raises:
            UserError: an engine that is not here, or an argument that it does not have.
        """
        entry: EngineEntry = plugins.find("engines", self.engine)
        if not entry.asks:
            raise UserError(f"engine={self.engine} asks nobody, so no judge can answer through it", "Choose another.")
        return entry.requires(ModelSpec(self.model, self.args))


def through(scorer: str, args: Mapping[str, str], own: Collection[str], model: str, always: bool) -> Through | None:
    """The engine that the arguments name, None = the scorer loads the model itself.

    Args:
        own: names of the scorer's arguments. always: it loads none itself; without a name it is transformers.

    Raises:
        UserError: an argument that is nobody's.
    """
    rest = {name: value for name, value in args.items() if name not in own and name != ENGINE}
    named = {"yes": _LOCAL, "no": ""}.get(args.get(ENGINE, "no"), args.get(ENGINE, ""))
    head, slash, inner = model.partition("/")
    served = bool(slash) and head == _OF_SERVERS and not Path(model).exists()
    if not named and "base_url" in rest:
        named = SERVER
    if not named and rest:
        first = next(iter(rest))
        raise UserError(f"scorer '{scorer}' has no argument '{first}'", nearest(first, {*own, ENGINE, "base_url"}))
    if not named and not always:
        return None
    return Through(named or _LOCAL, inner if named == SERVER and served else model, rest)


class Asked:
    """The engine of one judge: opened when it is needed, and never asked again once it has failed.

    Args:
        spec: of the scorer. kind, settings: what the judge will be asked, which the engine has to honour.
    """

    def __init__(self, spec: ScorerSpec, way: Through, kind: Literal["generate", "choose"], settings: Settings) -> None:
        if spec.engine is None:
            raise UserError(f"{spec.name}: this run offers no engine to a judge", "Load the judge here: omit engine=.")
        self._make = spec.engine
        args = {**way.args, ENGINE: way.engine}
        # --device is about this process: an engine that lives elsewhere has its own, and refuses to be given one.
        device = spec.device if way.engine == _LOCAL else "auto"
        self._spec = ModelSpec(way.model, args, spec.dtype, device)
        self._kind, self.settings, self._name = kind, settings, spec.name
        self._engine: Engine | None = None
        self._dead = ""

    def identity(self) -> Mapping[str, Any]:
        """What the engine says of itself and of the judge: after the handshake, where there is one."""
        return dict(self._open().identity)

    def ask(self, prompts: Sequence[Prompt]) -> Iterator[Output]:
        """One output for each prompt. An engine that fails in the middle leaves an error for all that are left."""
        left = {key(prompt): prompt for prompt in prompts}
        if not self._dead:
            try:
                engine = self._open()
                ask = engine.generate if self._kind == "generate" else engine.choose
                for output in ask(prompts, self.settings):
                    left.pop(output.prompt_key, None)
                    yield output
            except UserError as error:
                self._dead = error.message
        for name, prompt in left.items():
            yield Output(name, prompt.id, stop_reason="error", error=self._dead or "no answer came")

    def _open(self) -> Engine:
        if self._engine is None:
            engine = self._make(self._spec)
            try:
                self._check(engine)
            except UserError:
                engine.close()
                raise
            self._engine = engine
        return self._engine

    def _check(self, engine: Engine) -> None:
        if self._kind not in engine.capabilities:
            what = "log-likelihoods of choices" if self._kind == "choose" else "texts"
            raise UserError(
                f"{self._name}: the engine '{engine.identity.get('name')}' gives no {what}, which this judge needs",
                "With openai_server, tokenizer= (the judge's own) may be missing; or load the judge here.",
            )
        if isinstance(engine, Particular):
            engine.check(self._kind, self.settings)

    def close(self) -> None:
        """Free the judge; it may be opened again."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None


def behind(judge: Asked, texts: Sequence[str], words: Sequence[str], forced: str) -> list[tuple[float, ...] | str]:
    """Log-likelihood of each word right behind each text, or why there is none.

    Args:
        forced: what all words begin with; it is taken for granted, as are blanks at a text's end (engines give them to
            the choice): both are weighed by themselves and taken off.
    """
    prompts = []
    for number, text in enumerate(texts):
        bare = text.rstrip()
        granted = text[len(bare) :] + forced
        choices = tuple(text[len(bare) :] + word for word in words)
        prompts.append(Prompt("judge", str(number), bare, choices=(granted, *choices) if granted else choices))
    found: list[tuple[float, ...] | str] = ["no answer came"] * len(texts)
    for output in judge.ask(prompts):
        values = output.choice_logprobs
        if output.error or not values:
            found[int(output.prompt_id)] = f"the judge failed: {output.error or 'no log-likelihoods'}"
        else:
            many = len(values) > len(words)
            found[int(output.prompt_id)] = tuple(v - values[0] for v in values[1:]) if many else values
    return found
