"""Engine `openai_server`: any server of the OpenAI protocol (vLLM, transformers serve, SGLang, llama.cpp, an API).

    --model openai/NAME --model-args base_url=http://HOST:8000/v1

Before the first prompt a handshake asks the server some fourteen questions; what it takes and then ignores is refused
when a task needs it, and never asked for in vain. Arguments: base_url; api_key=env:VARIABLE; tokenizer=FOLDER|HUB_ID
(log-likelihoods of choices need the model's own); dialect=vllm|openai|transformers (default: the first under which
sampling works); concurrency (most requests at once, default 32; fewer while the server is full); deadline (seconds for
all tries of one prompt, default 600); unseeded=true (draws that cannot be repeated, where a server has no seeds).

Which weights a server holds nobody can tell from outside: the identity has its own names, and a greedy answer as a
witness that is asked for again at each task and after each lost connection.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

from safety_eval.core import packages
from safety_eval.core.errors import UserError, nearest
from safety_eval.core.interfaces import EngineEntry, ModelSpec, Settings, refuse
from safety_eval.core.records import Output, Prompt
from safety_eval.core.requires import ModelNeed, Requires
from safety_eval.engines._server.asking import StrangeReplyError, lost, output, output_tokens, read, request
from safety_eval.engines._server.crowd import Crowd
from safety_eval.engines._server.dialect import DIALECTS
from safety_eval.engines._server.handshake import Draws, Shaking
from safety_eval.engines._server.likelihood import Weigher
from safety_eval.engines._server.wire import LostError, RefusedError, Wire

CAPABILITIES = frozenset({"generate", "choose", "prefill", "chat_template"})
ARGS = frozenset({"base_url", "api_key", "tokenizer", "dialect", "concurrency", "deadline", "unseeded"})
"""Names that --model-args may give this engine."""
_CANNOT = {
    **dict.fromkeys(("dtype", "device"), "the server holds the model, in its own precision and place"),
    "quantization": "the server holds the model, quantised or not",
    "lora": "ask for the adapter by the name under which the server has it: --model openai/ADAPTER",
}
"""What other engines take -> why this one does not."""
_PASSING = frozenset({"empty", "stops", "counts", "witness"})
"""What of the handshake decides no answer, or stands in the identity by itself: a busy server may say otherwise when a
run is resumed."""
_AHEAD = 2
"""Requests that wait for a place, as a multiple of the most under way."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The arguments, read.

    Attributes:
        most: requests at once. deadline: seconds for all tries of a prompt. unseeded: draws need not be repeatable.
    """

    base_url: str
    key: str = field(repr=False)
    tokenizer: str
    dialect: str
    most: int
    deadline: float
    unseeded: bool


def terms(spec: ModelSpec) -> Terms:
    """What the arguments say.

    Raises:
        UserError: an argument or value that this engine does not know, or no base_url.
    """
    args = spec.args
    refuse("openai_server", {**args, "dtype": spec.dtype, "device": spec.device}, _CANNOT)
    for name in sorted(set(args) - ARGS):
        raise UserError(f"the openai_server engine has no model argument '{name}'", nearest(name, ARGS))
    url = args.get("base_url", "")
    if not url.startswith(("http://", "https://")):
        raise UserError(f"base_url is '{url}'", "Give --model-args base_url=http://HOST:PORT/v1.")
    if (dialect := args.get("dialect", "")) and dialect not in DIALECTS:
        raise UserError(f"unknown dialect '{dialect}'", nearest(dialect, DIALECTS))
    if args.get("unseeded", "false") not in ("true", "false"):
        raise UserError(f"unseeded is '{args['unseeded']}'", "Use true or false.")
    return Terms(
        url.rstrip("/"),
        args.get("api_key", ""),
        args.get("tokenizer", ""),
        dialect,
        min(int(_number(args, "concurrency", 32, 1, 4096)), _rows(spec.batch_size)),
        _number(args, "deadline", 600, 1, 86400),
        args.get("unseeded") == "true",
    )


def _rows(batch_size: str) -> int:
    """`--batch-size N` is the most requests at once as well."""
    return int(batch_size) if batch_size.isdigit() else 4096


def _number(args: Mapping[str, str], name: str, default: float, least: float, most: float) -> float:
    try:
        value = float(args.get(name, default))
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise UserError(f"{name} is '{args[name]}'", f"Use a number from {least:g} to {most:g}.")
    return value


class OpenaiServer:
    """One server, and one of its models."""

    def __init__(self, spec: ModelSpec) -> None:
        self._terms = terms(spec)
        self._wire: Wire | None = Wire(self._terms.base_url, self._terms.key, self._terms.most)
        self._shaking = Shaking(self._wire, spec.model, self._terms.deadline)
        self._crowd = Crowd(self._terms.most)
        try:
            self._seen = self._shaking.run(self._terms.dialect)
            self._refuse_ignored()
            self._weigher = Weigher(self._post, self._terms.tokenizer, self._seen)
        except UserError:
            self.close()
            raise
        self.identity: Mapping[str, Any] = {
            "name": "openai_server",
            "model": spec.model,
            "revision": "",
            "weights": "",
            "witness": self._seen.witness,
            "tokenizer": self._weigher.tokenizer,
            "chat_template": "the server's" if self._seen.chat else "",
            "dtype": "the server's",
            "device": "the server's",
            "handshake": {k: v for k, v in asdict(self._seen).items() if k not in _PASSING},
            "unseeded": self._terms.unseeded,
            "versions": {self._seen.owner or "server": self._seen.version},
        }
        does = {
            "chat_template": self._seen.chat,
            "prefill": self._seen.prefill,
            "choose": bool(self._terms.tokenizer and DIALECTS[self._seen.dialect].echo),
        }
        self.capabilities = frozenset(name for name in CAPABILITIES if does.get(name, True))

    def check(self, kind: str, settings: Settings) -> None:
        """Refuse, before the first prompt of any task, what the server would ignore.

        Raises:
            UserError: names what it ignores, and what to do.
        """
        if kind == "choose":
            self._weigher.check()
            return
        draws = self._seen.draws
        if settings.temperature == 0 and not self._seen.repeats and not self._terms.unseeded:
            raise UserError(
                f"{settings.task} asks greedily, and this server gives another answer each time",
                "Accept that with --model-args unseeded=true, or use another server.",
            )
        if settings.temperature > 0 and draws is Draws.IGNORED:
            raise UserError(
                f"{settings.task} draws at temperature {settings.temperature:g}, and this server ignores temperature "
                "and seed: every answer would be the greedy one",
                "Use another server, or ask greedily: --gen-kwargs temperature=0.",
            )
        if settings.temperature > 0 and draws is Draws.UNSEEDED and not self._terms.unseeded:
            raise UserError(
                f"{settings.task} draws at temperature {settings.temperature:g}, and this server ignores the seed: no "
                "answer could be had again",
                "Accept that with --model-args unseeded=true, or ask greedily: --gen-kwargs temperature=0.",
            )

    def generate(self, prompts: Iterable[Prompt], settings: Settings) -> Iterator[Output]:
        """Answers as they finish.

        Raises:
            UserError: the server ignores what the settings ask for, refuses every request, or is another one now.
        """
        self.check("generate", settings)
        alone = settings.temperature > 0 and self._seen.draws is Draws.SEEDED_ALONE
        yield from self._each(prompts, lambda prompt: self._answer(prompt, settings), 1 if alone else self._terms.most)

    def choose(self, prompts: Iterable[Prompt], settings: Settings) -> Iterator[Output]:
        """Log-likelihood of each choice after the prompt.

        Raises:
            UserError: the server cannot tell log-likelihoods, or is another one now.
        """
        self.check("choose", settings)
        yield from self._each(
            prompts, lambda p: self._told(p, settings, lambda: self._weigher.weigh(p, settings)), self._terms.most
        )

    def _each(self, prompts: Iterable[Prompt], ask: Any, most: int) -> Iterator[Output]:
        """Outputs in the order in which they end, a few requests ahead of the server."""
        self._same()
        stream, waiting = iter(prompts), set[Future[Output]]()
        with ThreadPoolExecutor(most) as threads:
            try:
                while True:
                    room = most * _AHEAD - len(waiting)
                    waiting |= {threads.submit(ask, prompt) for prompt in islice(stream, room)}
                    if not waiting:
                        return
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield future.result()
            finally:
                for future in waiting:
                    future.cancel()

    def _answer(self, prompt: Prompt, settings: Settings) -> Output:
        path, body = request(prompt, settings, DIALECTS[self._seen.dialect])
        if not settings.chat_template and not body["prompt"] and not self._seen.empty:
            return lost(prompt, settings, "the server takes no empty prompt")
        chat = settings.chat_template
        return self._told(prompt, settings, lambda: output(prompt, settings, read(self._post(path, body), chat)))

    def _told(self, prompt: Prompt, settings: Settings, ask: Callable[[], Output]) -> Output:
        """What `ask` gives, or why there is nothing. A server that still takes the handshake's request refuses this
        prompt alone (too long, most often); for one that refuses that too, the run stops."""
        try:
            return ask()
        except (LostError, StrangeReplyError) as error:
            why = f"no answer from the server: {error}"
        except RefusedError as error:
            why = f"the server refuses this prompt: {error}"
        self._same()
        return lost(prompt, settings, why)

    def _post(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """The server's reply to one request, when it has a place for it; after a break it is held to what it was."""
        with self._crowd.place():
            reply = self._open().post(path, {"model": self._seen.model, **body}, self._terms.deadline)
        self._crowd.told(reply.throttled, reply.seconds / max(output_tokens(reply.body), 1))
        if reply.broken:
            self._same()
        return reply.body

    def _same(self) -> None:
        """Hold the server to the handshake.

        Raises:
            UserError: it answers no more, or is another one.
        """
        self._open()
        try:
            changed = self._shaking.again(self._seen)
        except (LostError, RefusedError, StrangeReplyError) as error:
            raise UserError(
                f"the server no longer answers: {error}",
                "Nothing is lost: start it again, and the same command goes on.",
            ) from error
        if changed:
            raise UserError(f"the server has changed during the run: {changed}", "Start a new run folder with it.")

    def _refuse_ignored(self) -> None:
        if not self._seen.limits:
            raise UserError(
                "the server ignores max_tokens: its answers have no limit", "Use another server, or dialect=..."
            )

    def _open(self) -> Wire:
        if self._wire is None:
            raise UserError("the engine is closed", "Build it again.")
        return self._wire

    def close(self) -> None:
        """Close the connections. Repeating it does nothing."""
        if self._wire is not None:
            self._wire.close()
        self._wire = None


def build(spec: ModelSpec) -> OpenaiServer:
    """Shake hands with the server of `spec`.

    Raises:
        UserError: no server, no such model, an unknown argument, or a server that ignores max_tokens.
    """
    return OpenaiServer(spec)


def requires(spec: ModelSpec) -> Requires:
    """What a spec needs on this machine: the HTTP client, and the tokenizer where one is named."""
    tokenizer = terms(spec).tokenizer
    if tokenizer and (lacking := packages.missing(packages.MODELS)):
        return Requires(lacking)
    models = (ModelNeed(tokenizer, kind="tokenizer", whose="tokenizer"),) if tokenizer else ()
    return Requires(packages=("httpx2",), models=models)


ENGINE = EngineEntry(build, CAPABILITIES, requires=requires)
