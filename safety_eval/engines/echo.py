"""Engine `echo`: the public fake. No model and no torch: answers and choice log-probabilities from a script.

Model names: `echo` answers with the prompt's own words; a path to a .json or .jsonl file is a script.
A script maps a prompt id, or a text that the prompt contains, to an answer:

    {"prompt-1": "an answer", "nurse": {"text": "another", "stop_reason": "length"},
     "mc-7": {"choice_logprobs": [-1.0, -3.5]}, "broken": {"error": "server down"}, "": "to anything else"}

or it is a list of rules, of which the first that fits a prompt answers, so that a model that fails one group, one task
or a tenth of the time can be planted:

    [{"task": "bold", "group": "domain/gender", "answer": "and everybody hated it."},
     {"task": "toxigen", "share": 0.1, "answer": {"error": "server down"}},
     {"task": "truthfulqa_choice", "answer": {"likeliest": 0}},
     {"seconds": 0.02, "answer": "to anything else, after 20 milliseconds"}]

A rule may ask for `task`, `id`, `group` (AXIS/NAME), `words` (that the prompt contains) and `share` (of the prompts and
samples that fit: which ones is a fixed function of task, id and sample); what it does not ask for fits everything.

In Python: `Echo({"prompt-1": "an answer"})`, or `Echo(function)` with function(prompt, settings) -> str or
Output.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from safety_eval.core import limits, sampling
from safety_eval.core.errors import UserError
from safety_eval.core.interfaces import EngineEntry, ModelSpec, Settings
from safety_eval.core.records import Output, Prompt, digest, key
from safety_eval.core.requires import NOTHING, Requires
from safety_eval.core.store import parsed

CAPABILITIES = frozenset({"generate", "choose", "prefill", "chat_template"})
_FIELDS = frozenset({"text", "reasoning", "stop_reason", "choice_logprobs", "likeliest", "error"})
_DRAWS = 2**63
_SURELY = 10.0
"""Natural-log likelihood of the planted choice above every other one: a probability of 0.9999 and more."""

Line = str | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rule:
    """An answer, and the prompts that it is for.

    Attributes:
        answer: as in a script that maps texts to answers.
        task, id, group, words: what a prompt must have ('' = anything). group: AXIS/NAME.
        share: of the prompts and samples that fit, 0..1.
        seconds: how long the answer takes.
    """

    answer: Line
    task: str = ""
    id: str = ""
    group: str = ""
    words: str = ""
    share: float = 1.0
    seconds: float = 0.0

    def fits(self, prompt: Prompt, sample: int) -> bool:
        axis, _, name = self.group.partition("/")
        return (
            self.task in ("", prompt.task)
            and self.id in ("", prompt.id)
            and self.words in prompt.asked
            and (not self.group or name in prompt.groups.get(axis, ()))
            and sampling.draw_key(0, prompt.task, prompt.id, sample) < self.share * _DRAWS
        )


Script = Mapping[str, Line] | Sequence[Rule] | Callable[[Prompt, Settings], "Line | Output"]


class Echo:
    """Answers from a script; the prompt's own words where the script says nothing.

    Stop strings and the token limit (counted in words) are applied as by any engine. Unscripted choices get
    log-probabilities that are a fixed function of (seed, task, prompt id, choice).
    """

    def __init__(self, script: Script | None = None, identity: Mapping[str, Any] | None = None) -> None:
        self._script = script if script is not None else {}
        named: Any = self._script
        if callable(named):
            named = getattr(script, "__qualname__", "function")
        elif not isinstance(named, Mapping):
            named = [asdict(rule) for rule in named]
        self.identity: Mapping[str, Any] = identity or {
            "name": "echo",
            "model": "echo",
            "revision": "",
            "weights": digest(named),
            "tokenizer": "words",
            "chat_template": "",
            "dtype": "none",
            "device": "none",
            "versions": {},
        }
        self.capabilities = CAPABILITIES
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
            scripted.setdefault("choice_logprobs", _likelihoods(prompt, settings, scripted.get("likeliest")))
            yield self._made(prompt, settings, {**scripted, "stop_reason": "choice", "text": None})

    def _line(self, prompt: Prompt, settings: Settings) -> Line | Output:
        if self.closed:
            raise UserError("the engine is closed", "Build it again.")
        if callable(self._script):
            return self._script(prompt, settings)
        if not isinstance(self._script, Mapping):
            return self._ruled(self._script, prompt, settings)
        if prompt.id in self._script:
            return self._script[prompt.id]
        found = next((w for w in self._script if w and w in prompt.asked), "")
        return self._script.get(found, prompt.asked)

    def _ruled(self, rules: Sequence[Rule], prompt: Prompt, settings: Settings) -> Line:
        rule = next((r for r in rules if r.fits(prompt, settings.sample)), None)
        if rule is None:
            return prompt.asked
        if rule.seconds:
            time.sleep(rule.seconds)
        return rule.answer

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
            output,
            text=text,
            reasoning=str(values.get("reasoning", "")),
            stop_reason=str(values["stop_reason"]),
            choice_logprobs=tuple(float(v) for v in values.get("choice_logprobs", ())),
            prompt_tokens=len(prompt.asked.split()),
            output_tokens=words,
        )

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


def _likelihoods(prompt: Prompt, settings: Settings, likeliest: int | None) -> tuple[float, ...]:
    key_of = [sampling.draw_key(settings.seed, settings.task, prompt.id, i) for i in range(len(prompt.choices))]
    guessed = [-20.0 * (k + 0.5) / _DRAWS for k in key_of]
    if likeliest is not None and guessed:
        guessed = [value - 20.0 - _SURELY for value in guessed]
        guessed[likeliest % len(guessed)] = -1.0
    return tuple(guessed)


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
        raise UserError(f"no such script: {path}", "Give --model echo, or the path of a .json or .jsonl script.")
    return Echo(read_script(path))


def read_script(path: Path) -> dict[str, Line] | tuple[Rule, ...]:
    """A script file: one JSON object, (.jsonl) one object with an "id" on each line, or a list of rules.

    Raises:
        UserError: not JSON, neither an object nor a list, or an answer or a rule with a field that is none of theirs.
    """
    try:
        content = limits.content(path, limits.JSON_BYTES, plain=False)
        if path.suffix == ".jsonl":
            rows = [parsed(line) for line in content.splitlines() if line.strip()]
            script = {str(row.pop("id")): row for row in rows}
        else:
            written = parsed(content)
            if isinstance(written, list):
                return tuple(_rule(row, f"{path}, rule {number}") for number, row in enumerate(written, 1))
            script = dict(written)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a script: {error}", "See the head of safety_eval/engines/echo.py.") from error
    for name, line in script.items():
        _check(line, f"{path}: the answer to '{name}'")
    return script


def _check(line: Any, what: str) -> None:
    names = set(line) if isinstance(line, Mapping) else set() if isinstance(line, str) else {"?"}
    if names - _FIELDS:
        raise UserError(f"{what} is not a text or an object of {sorted(_FIELDS)}")
    if type(line) is not str and type(line.get("likeliest", 0)) is not int:
        raise UserError(f"{what}: likeliest is not the number of a choice, counted from 0")


def _rule(row: Any, what: str) -> Rule:
    """A rule as written, its fields checked: a mistyped one would plant nothing, in silence."""
    kinds = {f.name: (float, int) if f.name in ("share", "seconds") else (str,) for f in fields(Rule)}
    if not isinstance(row, Mapping) or "answer" not in row or set(row) - set(kinds):
        raise UserError(f"{what} is not an object with an answer and any of {sorted(set(kinds) - {'answer'})}")
    _check(row["answer"], f"{what}: its answer")
    for name, value in row.items():
        if name != "answer" and type(value) not in kinds[name]:
            raise UserError(f"{what}: {name} is not a {'number' if float in kinds[name] else 'text'}")
    rule = Rule(**row)
    if not 0 <= rule.share <= 1 or not 0 <= rule.seconds < math.inf:
        raise UserError(f"{what}: share lies between 0 and 1, and seconds are not negative")
    if rule.group and "/" not in rule.group:
        raise UserError(f"{what}: group '{rule.group}' is not AXIS/NAME")
    return rule


def _requires(spec: ModelSpec) -> Requires:
    build(spec).close()
    return NOTHING


ENGINE = EngineEntry(build, CAPABILITIES, default_model="echo", requires=_requires)
