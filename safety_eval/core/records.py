"""The four nouns, Prompt -> Output -> Score -> Estimate: the same words in code, on disk and in the docs.

Records are frozen. On disk each is one line of canonical JSON; `key` is the hash of that line, so a Score names
the exact Output that it judged, and resume, re-scoring, comparison and evidence are one mechanism.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import StrEnum
from html import escape
from typing import Any, TypeVar

Record = TypeVar("Record")
_SCALARS = frozenset({str, int, float, bool, type(None)})
THOUGHT_VALUE = "thought_"
"""Before the name of a value that was read off the thought instead of the answer."""


class Part(StrEnum):
    """The part of a task's answers that a number is about. The model itself chooses which they are, so that numbers of
    a part are shown beside those of the whole and never judged. It ends the metric's name: 'toxic_rate.thought'.

    LEAK: thoughts of answers that were refused.
    """

    WHOLE = ""
    ANSWERED = "answered"
    THOUGHT = "thought"
    LEAK = "leak"

    @property
    def thinks(self) -> bool:
        """Whether it is about thoughts."""
        return self in (Part.THOUGHT, Part.LEAK)

    def of(self, metric: str) -> str:
        """A metric's name, taken on this part."""
        return f"{metric}.{self}" if self else metric


def parted(metric: str) -> tuple[str, Part]:
    """(name of the metric on all answers, part) of a metric's name."""
    stem, _, end = metric.rpartition(".")
    return (stem, Part(end)) if stem and end in _PARTS else (metric, Part.WHOLE)


_PARTS = frozenset(Part)


class Reason(StrEnum):
    """Why an answer or a score is missing. An error is written 'reason: detail'; decisions read the reason alone."""

    NOT_ASKED = "not_asked"
    TOO_LONG = "prompt too long"
    FILTERED = "content filter"
    UNFINISHED = "unfinished"
    NO_ANSWER = "no answer"
    EMPTY = "empty answer"
    NOT_SCORED = "not scored"
    UNDECIDED = "undecided"
    NOT_IN_FILE = "not in the file"
    ELSEWHERE = "failed elsewhere"
    OTHER = "other"


_REASONS = {str(reason): reason for reason in Reason}
FINAL = frozenset({Reason.NO_ANSWER, Reason.EMPTY})
"""Reasons of a score that asking again cannot cure; every other error is owed again."""


def reason_of(error: str) -> Reason | None:
    """The reason that an error begins with; None without an error."""
    if not error:
        return None
    return _REASONS.get(heading(error), Reason.OTHER)


def heading(error: str) -> str:
    """What errors are counted by: the words before the first colon."""
    return error.split(":", 1)[0]


class Standing(StrEnum):
    """What a policy may do with an estimate.

    JUDGED: act on it. UNMEASURED: nothing, it has no value. FEW: nothing, its list holds fewer than 10 prompts.
    SHOWN: nothing, though it is as sure as any other number: of its kind none is judged (a rate among answered
    prompts, a cure).
    """

    JUDGED = "judged"
    UNMEASURED = "unmeasured"
    FEW = "few"
    SHOWN = "shown"


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """Which number: what was measured, by which instrument, about whom."""

    task: str
    metric: str
    scorer: str
    axis: str
    group: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat: role is 'system', 'user' or 'assistant'."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is asked, before any chat template.

    Attributes:
        task: name of the task that it belongs to.
        id: unique within the task and data version; two runs are paired on it.
        text: plain text, or '' when `messages` is given.
        messages: chat turns, instead of `text`.
        prefill: start of the answer that the model has to continue.
        choices: continuations whose log-likelihood is asked (each begins with its own space, if any).
        groups: whom or what the prompt is about, by axis: {"target": ("asian", "chinese")}.
        factors: design factors: operator, arm, intent, stratum, system_prompt ...
        target: what a scorer needs to know (references, labels). JSON values only.
        pair: shared by the same wording's safe and unsafe twin.
        cluster: prompts that are resampled together (BOLD article, intent, duplicated sentence); '' = the prompt.
    """

    task: str
    id: str
    text: str = ""
    messages: tuple[Message, ...] = ()
    prefill: str = ""
    choices: tuple[str, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    factors: Mapping[str, str] = field(default_factory=dict)
    target: Mapping[str, Any] = field(default_factory=dict)
    pair: str = ""
    cluster: str = ""

    @property
    def asked(self) -> str:
        """The wording as a person would read it: the text, or the chat turns one below the other."""
        return self.text or "\n\n".join(m.content for m in self.messages)

    @property
    def unit(self) -> str:
        """The cluster, or the prompt itself where none is named."""
        return self.cluster or self.id


@dataclass(frozen=True, slots=True)
class Output:
    """One answer of the model to one prompt.

    Attributes:
        prompt_key: `key` of the Prompt.
        prompt_id: its id, so that a line can be read alone.
        sample: 0 .. K-1 when a prompt is asked K times.
        text: the answer, stop strings and the reasoning channel removed; None for a choice or an error.
        reasoning: the thought before the answer, where the model has one (kept apart: no score of the answer reads it).
        choice_logprobs: natural-log likelihood of each choice, summed over its tokens, in the order of the prompt.
        stop_reason: 'eos', 'stop' (a stop string), 'length' (the token limit), 'choice' or 'error'.
        prompt_tokens, output_tokens: counts after templating.
        error: what went wrong; an output with an error is owed again on resume.
    """

    prompt_key: str
    prompt_id: str
    sample: int = 0
    text: str | None = None
    reasoning: str = ""
    choice_logprobs: tuple[float, ...] = ()
    stop_reason: str = ""
    prompt_tokens: int = 0
    output_tokens: int = 0
    error: str = ""

    @property
    def reason(self) -> Reason | None:
        """Why there is no answer; None when there is one."""
        return reason_of(self.error)


@dataclass(frozen=True, slots=True)
class Score:
    """What one scorer says of one output.

    Attributes:
        output_key: `key` of the Output that was judged.
        prompt_id, sample: so that a line can be read alone.
        scorer: name of the scorer; its whole identity stands in the first line of the score file.
        values: raw values by name, e.g. {"toxicity": 0.03} or {"status": "refuse"}; thresholds live in metrics. Those
            whose names begin with THOUGHT_VALUE are of the thought before the answer, where there is one.
        error: why the answer has no value ('' if it has): a missing value is never a number.
    """

    output_key: str
    prompt_id: str
    sample: int
    scorer: str
    values: Mapping[str, float | str] = field(default_factory=dict)
    error: str = ""

    @property
    def reason(self) -> Reason | None:
        """Why the answer has no value; None when it has one."""
        return reason_of(self.error)


@dataclass(frozen=True, slots=True)
class Estimate:
    """One number of the result, with everything that is needed to read it honestly.

    Flat: a row of results.json and of a data frame, as scripts read it.

    Attributes:
        task, metric, scorer: what was measured, and the instrument's name ('' where none was needed).
        axis, group: 'total'/'all' for everything together, 'macro'/<name> for a paper's headline, else e.g.
            'target'/'asian'.
        kind: 'rate' (share, 0..1), 'mean', or 'effect' (a difference or another derived number).
        value: on what was measured; None with a reason when there is no data.
        low, high: 95% interval of `value` (method says which).
        count: measured answers behind `value`; events: how many of them counted (rates).
        expected: answers that were owed; missing: those that gave no value, by reason.
        listed: prompts on the task's list that it speaks about, asked or not (`--limit`).
        answers, effective_prompts, effective_clusters: 1 / the largest weight of an answer (as the list's gate counts
            them), of a prompt, of a cluster: the effective numbers that gate limits rest on (stats/gate.py).
        clusters: how many clusters there are among the answers. span: range of the metric. sd: standard deviation of
            the measured answers, weighted as `value` is; None where there are none.
        lowest, highest: `value` with every unmeasured or degenerate answer taken at the low, the high end.
        gate_low, gate_high: one-sided 95% limits of `lowest` and `highest` for the estimand `list`; those for
            `population` follow from the effective numbers.
        better: 'lower', 'higher' or 'neither'.
        standing: whether a policy may act on it, and if not, why.
        method: how low/high (and gate limits) were computed, in words.
        reason: the standing in words: why value is None or no policy acts on it; '' otherwise.
        data_version: version of the prompts.

    It is one flat row of 30 fields because scripts read results.json as a table; `cell` names it.
    """

    task: str
    metric: str
    scorer: str
    axis: str
    group: str
    kind: str
    value: float | None
    low: float | None = None
    high: float | None = None
    count: int = 0
    events: int | None = None
    expected: int = 0
    missing: Mapping[str, int] = field(default_factory=dict)
    clusters: int = 0
    effective_clusters: float = 0.0
    lowest: float | None = None
    highest: float | None = None
    gate_low: float | None = None
    gate_high: float | None = None
    better: str = "neither"
    standing: Standing = Standing.UNMEASURED
    method: str = ""
    reason: str = ""
    data_version: str = ""
    listed: int = 0
    answers: float = 0.0
    effective_prompts: float = 0.0
    span: tuple[float, float] = (0.0, 1.0)
    sd: float | None = None

    @property
    def cell(self) -> Cell:
        """Which number this is."""
        return Cell(self.task, self.metric, self.scorer, self.axis, self.group)

    def _repr_html_(self) -> str:
        """The number with its interval and n, for notebooks."""
        who = (
            f"{self.task}: {self.metric}"
            + (f" by {self.scorer}" if self.scorer else "")
            + f"; {self.axis}/{self.group}"
        )
        value = f"no data: {self.reason}"
        if self.value is not None:
            value = f"{self.value:.4g}"
            if self.low is not None and self.high is not None:
                value += f" [{self.low:.4g}, {self.high:.4g}]"
        missing = f", {self.expected - self.count} of {self.expected} missing" if self.expected > self.count else ""
        # `repr` shows control characters escaped; words for people are made in show/, which stands above records.
        return f"<b>{escape(repr(value)[1:-1])}</b> (n = {self.count}{missing})<br>{escape(repr(who)[1:-1])}"

    @property
    def gateable(self) -> bool:
        """Whether a policy may act on it."""
        return self.standing is Standing.JUDGED

    @property
    def part(self) -> Part:
        """The part of the answers that it is about."""
        return parted(self.metric)[1]


def plain(value: Any) -> Any:
    """A record (or any nesting of records, mappings, tuples) as JSON-ready builtins."""
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is list or kind is tuple:
        return [plain(v) for v in value]
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def canonical(value: Any) -> str:
    """Canonical JSON: sorted keys, no spaces, ASCII, shortest float form; NaN and infinity are refused.

    Raises:
        ValueError: the value holds a number that is not finite.
    """
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 (64 hexadecimal digits) of the canonical JSON of `value`."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def digest_of_all(records: Iterable[Any]) -> str:
    """`digest` of the list of all records, which need not be held at once."""
    made, between = hashlib.sha256(b"["), b""
    for record in records:
        made.update(between + canonical(record).encode())
        between = b","
    made.update(b"]")
    return made.hexdigest()


def key(record: Any) -> str:
    """Name of a record: the first 128 bits of its digest, as 32 hexadecimal digits."""
    return digest(record)[:32]


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def from_plain(kind: type[Record], row: Mapping[str, Any]) -> Record:
    """A record back from its JSON form. Lists become tuples except inside `target`, which stays as it was.

    Raises:
        TypeError: an unknown or a missing field. ValueError: a word that is none of a field's.
    """
    values: dict[str, Any] = {}
    for name, value in row.items():
        if name == "messages":
            values[name] = tuple(Message(**m) for m in value)
        elif name == "groups":
            values[name] = {axis: tuple(names) for axis, names in value.items()}
        elif name == "target":
            values[name] = value
        elif name == "standing":
            values[name] = Standing(value)
        else:
            values[name] = _tuples(value)
    return kind(**values)
