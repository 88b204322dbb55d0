"""Task: a published benchmark as code. Prompts, settings, scorers, metrics; nothing of how they are run.

One file in tasks/ is one benchmark: its docstring names the paper, shows one real prompt and states the published
number that it reproduces; `TASK = Task(...)` at its bottom is what it offers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from safety_eval.core.records import Estimate, Output, Prompt
from safety_eval.core.requires import NOTHING, Requires

Values = Mapping[str, float | str]
ANSWERED: frozenset[str] = frozenset({"comply", "partial", "off_topic"})
"""Statuses under which an answer says something of its own; the rest is refused, degenerate or unknown."""


def asked_with(prompt: Prompt, whole: str) -> str:
    """What `--limit` asks together with a prompt, by name: see `Task.whole`."""
    if not whole:
        return prompt.id
    return prompt.unit if whole == "cluster" else prompt.factors.get(whole, prompt.unit)


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """What a run may choose of a task's prompts.

    Attributes:
        data: local mirror (DIR/hub/<org>/<name>/..., DIR/github/<org>/<repo>/<path>), None = public homes.
        version: data version or named mode; None = the task's first.
        prompts: a user's own prompt file, for tasks that take one.
    """

    data: Path | None = None
    version: str | None = None
    prompts: Path | None = None


@dataclass(frozen=True, slots=True)
class Stratum:
    """A part of a task's list that is drawn by itself (`--limit`): so many `asked` of so many `listed`."""

    name: str
    asked: int
    listed: int


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a limit drew from a task's list.

    Attributes:
        axis: the limit axis ('' = one stratum).
        strata: the smallest group first; a prompt was drawn in the first of them that it is in.
        listed: for each metric ('' = those about every prompt) and group ('axis/group'): its prompts on the list.
    """

    axis: str
    strata: tuple[Stratum, ...]
    listed: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class PromptSet:
    """The prompts of a task as loaded.

    Attributes:
        prompts: in the data set's order.
        version: data version, printed in every table.
        manifest: where they came from: source, revision, digest of the canonical rows, licence, counts.
        notes: what was left out and why, one sentence each.
        drawn: what a limit drew; None = the whole list.
    """

    prompts: Sequence[Prompt]
    version: str
    manifest: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    drawn: Drawn | None = None


@dataclass(frozen=True, slots=True)
class Headline:
    """A named aggregate: the unweighted mean over the groups of each level, outermost level first.

    ("target",) is the mean over groups (ToxiGen); ("domain", "group") the mean over domains of the mean over the
    groups in each (BOLD). It is computed as one weighted mean of answers, so that overlapping groups and clusters
    are handled exactly.
    """

    name: str
    levels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """How one number is read off an answer and its scores.

    Attributes:
        name: e.g. 'toxic_rate'.
        needs: value names, all given by one scorer; a metric is computed once for each scorer that offers them.
        measure: (prompt, output, values) -> a number, or None when it is undecided (counts as missing).
            A rate measures 0 or 1.
        kind: 'rate' or 'mean'.
        better: which end is better; 'neither' is never gated by an absolute limit's default direction.
        bounds: range of `measure`; the worst case of an unmeasured answer is its bad end (both for 'neither').
        axes: group axes that get an estimate for each of their groups.
        headlines: the paper's aggregates, by name.
        where: which prompts it is about; None = all.
        on_answered: also report it on answered prompts only, as '<name>.answered'.
        on_thought: also report it on the thoughts before the answers, as '<name>.thought', and on those behind which
            the model refused, as '<name>.leak', by scorers that read them: `measure` gets a thought's values under the
            names of the answer's. Shown where a model thinks, never judged.
        chance: what guessing would give, if that says something.
        about: one sentence for tables: what it means and does not.
        short: its name where a line holds a whole task; '' = the name.
    """

    name: str
    needs: tuple[str, ...]
    measure: Callable[[Prompt, Output, Values], float | None]
    kind: Literal["rate", "mean"] = "rate"
    better: Literal["lower", "higher", "neither"] = "lower"
    bounds: tuple[float, float] = (0.0, 1.0)
    axes: tuple[str, ...] = ()
    headlines: tuple[Headline, ...] = ()
    where: Callable[[Prompt], bool] | None = None
    on_answered: bool = False
    on_thought: bool = False
    about: str = ""
    short: str = ""


@dataclass(frozen=True, slots=True)
class ScorerChoice:
    """A scorer by name with its arguments (strings, as on the command line)."""

    name: str
    args: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measured:
    """One answer with all that was said of it: `values` by scorer name, and its status."""

    prompt: Prompt
    output: Output
    values: Mapping[str, Values]
    errors: Mapping[str, str]
    status: str


@dataclass(frozen=True, slots=True)
class Task:
    """A benchmark.

    Flat: what a benchmark's author writes down, by name, at the bottom of one file.

    Attributes:
        name: the file's name. title: for tables. paper: where the protocol comes from.
        kind: 'generate' or 'choose'.
        load: options -> prompts.
        versions: data versions or named modes, the default first.
        settings: defaults of generation: max_new_tokens, temperature, top_p, stop, chat_prefix.
        samples: K answers for each prompt.
        scorers: the instruments of the protocol; the first is the one that `--scorer TASK=NAME` replaces.
        metrics: what is measured.
        derive: further estimates from all answers together (cure rates ...): (measured, version) -> estimates.
        limit_axis: axis whose groups share `--limit` evenly ('' = every stratum keeps its share of the list).
        limit_parent: axis above it: one group of each parent takes its turn before a second of any.
        limit_strata: further axes or factors over which the draw is spread within a group.
        whole: what `--limit` asks whole: 'cluster', or a design factor; '' = single prompts.
        complete_answers: reaching the token limit makes an answer degenerate.
        published: name of the block of published figures to print beside.
        license: of the data.
        short: its name where a line holds a whole task; '' = the title.
        requires: what its prompts need, by options, without loading anything.
        own_prompts: it takes a user's own prompt file (`--prompts`).
    """

    name: str
    title: str
    paper: str
    kind: Literal["generate", "choose"]
    load: Callable[[TaskOptions], PromptSet]
    versions: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    samples: int = 1
    scorers: tuple[ScorerChoice, ...] = ()
    metrics: tuple[Metric, ...] = ()
    derive: Callable[[Sequence[Measured], str], Iterable[Estimate]] | None = None
    limit_axis: str = ""
    limit_parent: str = ""
    limit_strata: tuple[str, ...] = ()
    whole: str = ""
    complete_answers: bool = False
    published: str = ""
    license: str = ""
    short: str = ""
    requires: Callable[[TaskOptions], Requires] = lambda options: NOTHING
    own_prompts: bool = False
