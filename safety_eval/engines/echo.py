"""Engine `echo`: the public fake. No model and no torch: answers and choice log-probabilities from a script.

Model names: `echo` answers with the prompt's own words; a path to a .json or .jsonl file is a script.
A script maps a prompt id, or a text that the prompt contains, to an answer:

    {"prompt-1": "an answer", "nurse": {"text": "another", "stop_reason": "length"},
     "mc-7": {"choice_logprobs": [-1.0, -3.5]}, "broken": {"error": "server down"}, "": "to anything else"}

In Python: `Echo({"prompt-1": "an answer"})`, or `Echo(function)` with function(prompt, settings) -> str or
Output.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from safety_eval.core import sampling
from safety_eval.core.errors import UserError
from safety_eval.core.interfaces import EngineEntry, ModelSpec, Settings
from safety_eval.core.records import Output, Prompt, digest, key

CAPABILITIES = frozenset({"generate", "choose", "prefill", "chat_template"})
_FIELDS = frozenset({"text", "reasoning", "stop_reason", "choice_logprobs", "error"})

Line = str | Mapping[str, Any]
Script = Mapping[str, Line] | Callable[[Prompt, Settings], "Line | Output"]


class Echo:
    """Answers from a script; the prompt's own words where the script says nothing.

    Stop strings and the token limit (counted in words) are applied as by any engine. Unscripted choices get
    log-probabilities that are a fixed function of (seed, task, prompt id, choice).

    Attributes:
        asked: (prompt id, settings) of every question so far, for tests.
    """

    def __init__(self, script: Script | None = None, identity: Mapping[str, Any] | None = None) -> None:
        self._script = script if script is not None else {}
        named = (
            self._script if isinstance(self._script, Mapping) else getattr(script, "__qualname__", "function")
        )
        self.identity: Mapping[str, Any] = identity or {
            "name": "echo", "model": "echo", "revision": "", "weights": digest(named), "tokenizer": "words",
            "chat_template": "", "dtype": "none", "device": "none", "versions": {},
        }  # fmt: skip
        self.capabilities = CAPABILITIES
        self.asked: list[tuple[str, Settings]] = []
        self.closed = False

    def generate(self, prompts: Iterable[Prompt], settings: Settings) -> Iterator[Output]:
        """One Output for each prompt, in order."""
        for prompt in prompts:
            yield self._output(prompt, settings, self._line(prompt, settings))

    def choose(self, prompts: Iterable[Prompt], settings: Settings) -> Iterator[Output]:
        """One Output for each prompt, with a log-probability for each of its choices."""
        for prompt in prompts:
            line = self._line(prompt, settings)
            if isinstance(line, Output):
                yield line
                continue
            scripted = dict(line) if isinstance(line, Mapping) else {}
            if not prompt.choices:
                scripted.setdefault("error", "the prompt has no choices")
            scripted.setdefault("choice_logprobs", _guess(prompt, settings))
            yield self._made(prompt, settings, {**scripted, "stop_reason": "choice", "text": None})

    def _line(self, prompt: Prompt, settings: Settings) -> Line | Output:
        if self.closed:
            raise UserError("the engine is closed", "Build it again.")
        self.asked.append((prompt.id, settings))
        if callable(self._script):
            return self._script(prompt, settings)
        if prompt.id in self._script:
            return self._script[prompt.id]
        found = next((w for w in self._script if w and w in prompt.asked), "")
        return self._script.get(found, prompt.asked)

    def _output(self, prompt: Prompt, settings: Settings, line: Line | Output) -> Output:
        if isinstance(line, Output):
            return line
        values: dict[str, Any] = {"text": line} if isinstance(line, str) else dict(line)
        if values.get("error"):
            return self._made(prompt, settings, values)
        return self._made(prompt, settings, _ended(values, settings))

    def _made(self, prompt: Prompt, settings: Settings, values: Mapping[str, Any]) -> Output:
        output = Output(prompt_key=key(prompt), prompt_id=prompt.id, sample=settings.sample)
        if values.get("error"):
            return replace(output, stop_reason="error", error=str(values["error"]))
        text = values.get("text")
        said = str(text) if text is not None else " ".join(prompt.choices)
        words = len(said.split())
        return replace(
            output, text=text, reasoning=str(values.get("reasoning", "")),
            stop_reason=str(values["stop_reason"]),
            choice_logprobs=tuple(float(v) for v in values.get("choice_logprobs", ())),
            prompt_tokens=len(prompt.asked.split()), output_tokens=words,
        )  # fmt: skip

    def close(self) -> None:
        """Nothing to free; afterwards it answers no more."""
        self.closed = True


def _ended(values: dict[str, Any], settings: Settings) -> dict[str, Any]:
    text, reason = str(values.get("text", "")), values.get("stop_reason", "eos")
    words = list(re.finditer(r"\S+", text))
    if len(words) > settings.max_new_tokens:
        text, reason = text[: words[settings.max_new_tokens - 1].end()], "length"
    found = [at for at in (text.find(s) for s in settings.stop if s) if at >= 0]
    if found:
        text, reason = text[: min(found)], "stop"
    return {**values, "text": text, "stop_reason": reason, "choice_logprobs": ()}


def _guess(prompt: Prompt, settings: Settings) -> tuple[float, ...]:
    key_of = [
        sampling.draw_key(settings.seed, settings.task, prompt.id, i) for i in range(len(prompt.choices))
    ]
    return tuple(-20.0 * (k + 0.5) / 2.0**63 for k in key_of)


def build(spec: ModelSpec) -> Echo:
    """The engine of a spec: model `echo`, or the path of a script.

    Raises:
        UserError: no such file, or a file that is not a script.
    """
    if spec.args:
        raise UserError(f"the echo engine has no model argument '{next(iter(spec.args))}'", "Leave it out.")
    if spec.model == "echo":
        return Echo()
    path = Path(spec.model)
    if not path.is_file():
        raise UserError(
            f"no such script: {path}", "Give --model echo, or the path of a .json or .jsonl script."
        )
    return Echo(read_script(path))


def read_script(path: Path) -> dict[str, Line]:
    """A script file: one JSON object, or (.jsonl) one object with an "id" on each line.

    Raises:
        UserError: not JSON, not an object, or an answer with a field that is not of an Output.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".jsonl":
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
            script = {str(row.pop("id")): row for row in rows}
        else:
            script = dict(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is not a script: {error}", "See the head of safety_eval/engines/echo.py."
        ) from error
    for name, line in script.items():
        fields = set(line) if isinstance(line, Mapping) else set() if isinstance(line, str) else {"?"}
        if fields - _FIELDS:
            raise UserError(f"{path}: the answer to '{name}' is not a text or an object of {sorted(_FIELDS)}")
    return script


ENGINE = EngineEntry(build, CAPABILITIES)
