"""Some fourteen requests before the first prompt: what this server does, and what it takes and then ignores.

Real servers answer with 200 to a temperature, a seed or log-probabilities that they never look at. So nothing is read
off a version number: every answer is compared with what it would be if the parameter worked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from safety_eval.core.errors import UserError
from safety_eval.core.interfaces import Settings
from safety_eval.core.records import digest
from safety_eval.engines._server.asking import CHAT, TEXT, Read, StrangeReplyError, read
from safety_eval.engines._server.dialect import DIALECTS, Dialect
from safety_eval.engines._server.wire import LostError, RefusedError, Wire

PROBE = "Once upon a time there was a small village by the sea, and"
LISTED_SECONDS = 30.0
"""For the list of models: a server that is starting may take a while."""
EMPTY_SECONDS = 5.0
"""For an empty prompt: a server that breaks at it does so for ever."""
_TOKENS = 16
_HOT = 1.5
_TOGETHER = 3
_LEAST_SAID = 12
"""Characters of a probe's answer below which it says nothing about stopping or lengths."""


class Draws(StrEnum):
    """What becomes of temperature and seed."""

    SEEDED = "seeded"
    SEEDED_ALONE = "seeded, one request at a time"
    UNSEEDED = "unseeded"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class Handshake:
    """What a server was seen to do.

    Attributes:
        model, version, owner: as it names itself. context: the longest sequence, where it tells.
        dialect: how it is asked. draws: see Draws.
        repeats: a greedy answer comes again. limits: `max_tokens` shortens an answer. stops: a stop string ends one.
        counts: it counts tokens. chat: it takes chat turns. prefill: it continues a turn that was begun.
        empty: it takes an empty prompt.
        witness: digest of what another model would hardly give as well.
    """

    model: str
    version: str
    owner: str
    context: int | None
    dialect: str
    draws: Draws
    repeats: bool
    limits: bool
    stops: bool
    counts: bool
    chat: bool
    prefill: bool
    empty: bool
    witness: str


class Shaking:
    """The requests of one handshake."""

    def __init__(self, wire: Wire, model: str, seconds: float) -> None:
        """`seconds`: for all tries of one request, as for a prompt."""
        self._wire, self._model, self._seconds = wire, model, seconds

    def run(self, dialect: str = "") -> Handshake:
        """Ask everything.

        Args:
            dialect: of DIALECTS; '' = the first under which sampling works.

        Raises:
            UserError: there is no such server or model, or it does not take the simplest request.
        """
        try:
            about = self._listed()
        except (RefusedError, LostError) as error:
            hint = "Check base_url (it ends in /v1) and api_key."
            raise UserError(f"no model server answers: {error}", hint) from error
        tried = [DIALECTS[dialect]] if dialect else list(DIALECTS.values())
        taken = [d for d in tried if self._takes(d)]
        if not taken:
            raise UserError(
                f"the server takes no plain request for '{self._model}': {self._why(tried[-1])}",
                "It has to offer /v1/completions; see its own log.",
            )
        seen = [(d, self._draws(d)) for d in taken]
        chosen, draws = min(seen, key=lambda pair: list(Draws).index(pair[1]))
        greedy, again = (self._said(chosen) for _ in range(2))
        return Handshake(
            model=self._model,
            version=self._version(),
            owner=str(about.get("owned_by", "")),
            context=_whole(about.get("max_model_len")),
            dialect=chosen.name,
            draws=draws,
            repeats=greedy.text == again.text,
            limits=self._limits(chosen, greedy),
            stops=self._stops(chosen, greedy),
            counts=greedy.prompt_tokens > 0 and greedy.output_tokens > 0,
            chat=self._works(lambda: self._chat(chosen)),
            prefill=self._prefills(chosen),
            empty=self._works(lambda: self._empty(chosen)),
            witness=self._witness(about, greedy.text if greedy.text == again.text else ""),
        )

    def _listed(self) -> dict[str, Any]:
        """What the server lists of the model; {} where it lists nothing.

        Raises:
            UserError: it has other models, and not this one.
        """
        rows = self._wire.get("/models", min(self._seconds, LISTED_SECONDS)).body.get("data")
        known = {str(row["id"]): dict(row) for row in rows or [] if isinstance(row, dict) and "id" in row}
        if known and self._model not in known:
            raise UserError(f"the server has no model '{self._model}'", f"It has: {', '.join(sorted(known))}.")
        return known.get(self._model, {})

    def again(self, before: Handshake) -> str:
        """What differs from an earlier handshake, by three requests; '' = nothing.

        Raises:
            UserError: it lists no such model any more. RefusedError, LostError: it answers no more.
        """
        about = self._listed()
        said = self._said(DIALECTS[before.dialect]).text if before.repeats else ""
        return "" if self._witness(about, said) == before.witness else "it is another model, or another version of it"

    def _version(self) -> str:
        try:
            return str(self._wire.get(self._wire.origin + "/version", 10.0).body.get("version", ""))
        except (RefusedError, LostError):
            return ""

    def _witness(self, about: dict[str, Any], said: str) -> str:
        lasting = {k: about.get(k) for k in ("id", "root", "owned_by", "max_model_len")}
        return digest([self._version(), lasting, said])

    def _body(self, dialect: Dialect, settings: Settings, seed: int = 1) -> dict[str, Any]:
        return {"model": self._model, **dialect.parameters(settings, settings.max_new_tokens, seed)}

    def _empty(self, dialect: Dialect) -> Read:
        body = {"prompt": "", **self._body(dialect, Settings("handshake", max_new_tokens=2))}
        return read(self._wire.post(TEXT, body, EMPTY_SECONDS).body, chat=False)

    def _said(self, dialect: Dialect, seed: int = 1, **settings: Any) -> Read:
        asked = replace(Settings("handshake", max_new_tokens=_TOKENS), **settings)
        stop = {"stop": list(asked.stop)} if asked.stop else {}
        body = {"prompt": PROBE, **stop, **self._body(dialect, asked, seed)}
        return read(self._wire.post(TEXT, body, self._seconds).body, chat=False)

    def _chat(self, dialect: Dialect, begun: str = "", how: Mapping[str, Any] | None = None) -> Read:
        turns = [{"role": "user", "content": "Say yes."}]
        turns += [{"role": "assistant", "content": begun}] if begun else []
        body = {"messages": turns, **(how or {}), **self._body(dialect, Settings("handshake", max_new_tokens=8))}
        return read(self._wire.post(CHAT, body, self._seconds).body, chat=True)

    def _prefills(self, dialect: Dialect) -> bool:
        """Whether a turn that was begun is continued: it is read without the marks that would end it and open another,
        so it has fewer tokens. A server that takes the flag and ignores it counts as many as without."""
        if dialect.prefill is None:
            return False
        try:
            ended, open_ = (self._chat(dialect, "Well,", how) for how in (None, dialect.prefill))
        except (RefusedError, LostError, StrangeReplyError):
            return False
        return 0 < open_.prompt_tokens < ended.prompt_tokens

    def _takes(self, dialect: Dialect) -> bool:
        return self._works(lambda: self._said(dialect, max_new_tokens=1))

    def _why(self, dialect: Dialect) -> str:
        try:
            self._said(dialect, max_new_tokens=1)
        except (RefusedError, LostError, StrangeReplyError) as error:
            return str(error)
        return "it did a moment later"

    @staticmethod
    def _works(ask: Callable[[], object]) -> bool:
        try:
            ask()
        except (RefusedError, LostError, StrangeReplyError):
            return False
        return True

    def _draws(self, dialect: Dialect) -> Draws:
        """Seeds 1, 1 and 2 at a high temperature, then seed 1 beside others at once."""

        def drawn(seed: int) -> str:
            return self._said(dialect, seed=seed, temperature=_HOT).text

        first, same, other = drawn(1), drawn(1), drawn(2)
        if first == same == other:
            return Draws.IGNORED
        if first != same:
            return Draws.UNSEEDED
        with ThreadPoolExecutor(_TOGETHER) as crowd:
            beside = list(crowd.map(drawn, [1, *range(3, 2 + _TOGETHER)]))
        return Draws.SEEDED if beside[0] == first else Draws.SEEDED_ALONE

    def _limits(self, dialect: Dialect, whole: Read) -> bool:
        short = self._said(dialect, max_new_tokens=2)
        if short.output_tokens:
            return short.output_tokens <= 2
        return len(short.text) < len(whole.text)

    def _stops(self, dialect: Dialect, whole: Read) -> bool:
        middle = whole.text[len(whole.text) // 2 :].strip()[:3]
        if len(whole.text) < _LEAST_SAID or not middle:
            return False
        return len(self._said(dialect, stop=(middle,)).text) < len(whole.text)


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
