"""The release policy: what people write in YAML, validated. Unknown keys are refused; every rule says why.

A rule names a number (task, metric, scorer, group) and one limit. `docs/reference/policy.schema.json` is
this file as JSON schema; a test keeps it current. Statistics: docs/explanation/how-sign-off-decides.md.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from safety_eval.core import limits
from safety_eval.core.conceal import conceal
from safety_eval.core.errors import UserError, nearest
from safety_eval.core.records import digest
from safety_eval.policy.selector import PATTERN, Selector, selector

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=1)]
Words = Annotated[str, Field(strict=True, min_length=1)]
Estimand = Literal["list", "population"]
LIMITS = ("max", "min", "max_gap", "non_inferior", "equivalent")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NonInferior(_Part):
    """Not worse than the baseline by `margin` or more, paired by prompt, fixed before the run."""

    margin: Positive = Field(description="largest tolerated worsening, in the metric's unit")
    direction: Literal["lower", "higher"] | None = Field(
        default=None, description="which end is better; needed only where the metric does not say"
    )


class Equivalent(_Part):
    """Within `margin` of the baseline on both sides, paired by prompt."""

    margin: Positive = Field(description="largest tolerated change either way, in the metric's unit")


class Rule(_Part):
    """One limit on one number, or on the same number of every group of an axis.

    Flat: the keys of a rule as people write them in YAML.
    """

    id: Annotated[str, Field(strict=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")] = Field(
        description="name of the rule, in tables and waivers"
    )
    task: Words
    metric: Words
    scorer: Words | None = Field(default=None, description="instrument; needed where several measured this metric")
    group: Annotated[str, Field(strict=True, pattern=PATTERN)] = Field(
        default="all",
        description="all | macro | macro/NAME | AXIS/NAME | every AXIS (every group that can be gated)",
    )
    max: Number | None = Field(default=None, description="the one-sided upper limit must lie below this")
    min: Number | None = Field(default=None, description="the one-sided lower limit must lie above this")
    max_gap: Positive | None = Field(default=None, description="largest difference between two groups of the axis")
    non_inferior: NonInferior | None = None
    equivalent: Equivalent | None = None
    estimand: Estimand | None = Field(default=None, description="what the claim is about; default: the policy's")
    icc: Share | None = Field(default=None, description="as the policy's `icc`, for this rule")
    corrected: Annotated[bool, Field(strict=True)] = Field(
        default=False,
        description="act on people's labels of this run's own answers (`safety-eval review`), not on the scorer: max "
        "or min on a rate of all answers, of a group, or of every group",
    )
    min_count: Count = Field(default=1, description="fewest measured (corrected: labelled) answers behind each number")
    min_groups: Count = Field(default=1, description="fewest groups that can be gated ('every AXIS' only)")
    expect: Number | None = Field(
        default=None,
        description="what `plan` assumes: the true value (max, min), the rate of every group (max_gap), or the share "
        "of answers on which the two releases differ (non_inferior, equivalent)",
    )
    because: Words = Field(description="why this limit; printed with the verdict")
    floor_met_because: Words | None = Field(
        default=None,
        description="why this rule stands although a model that cannot answer (random weights, always declining, echo) "
        "meets it, or nobody has computed whether one does; without it such a rule blocks approval",
    )

    @model_validator(mode="after")
    def _one_limit(self) -> Rule:
        given = [name for name in LIMITS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(LIMITS)} (given: {', '.join(given) or 'none'})")
        if self.max_gap is not None and not self.of.every:
            raise ValueError("max_gap compares the groups of an axis: group must be 'every AXIS'")
        if self.corrected and (self.limit not in ("max", "min") or self.of.axis == "macro"):
            raise ValueError("labels correct a max or min of all answers, of a group or of every group only")
        return self

    @property
    def of(self) -> Selector:
        """Which numbers it is about."""
        return selector(self.group)

    @property
    def limit(self) -> str:
        """Which of the five limits it sets."""
        return next(name for name in LIMITS if getattr(self, name) is not None)

    @property
    def bound(self) -> float:
        """The number of that limit."""
        given = getattr(self, self.limit)
        return float(given.margin if isinstance(given, (NonInferior, Equivalent)) else given)


class Ceilings(_Part):
    """Largest shares of answers that may have no value before a task says nothing."""

    unscored: Share = Field(default=0.02, description="share of owed answers without a value, whatever the reason")
    degenerate: Share = Field(default=0.02, description="upper 95% limit of the share of empty, looping, ... answers")


class Conditions(_Part):
    """How the run must have been asked. Settings, system prompt and chat template that are not pinned must be those of
    the task's own protocol; limit, seed, samples, engine and model are free. What deviates is said."""

    settings: dict[str, dict[str, Any]] = Field(
        default={}, description="decoding that must hold, by task: {bold: {max_new_tokens: 20}}"
    )
    system_prompt: str | None = Field(
        default=None, description="must be this text, or one whose SHA-256 is given as sha256:HEX ('' = none)"
    )
    chat_template: Literal["auto", "on", "off"] | None = None
    limit: Count | Literal["full"] | None = Field(default=None, description="--limit, or 'full': the whole list")
    seed: Annotated[int, Field(strict=True, ge=0)] | None = None
    samples: dict[str, Count] = Field(default={}, description="answers for each prompt, by task")
    engine: Words | None = None
    weights: Words | None = Field(default=None, description="digest of the model's weights, as run.json has it")
    baseline: Words | None = Field(default=None, description="digest of the baseline's weights")
    tasks: dict[str, Words] = Field(default={}, description="SHA-256 of a task's own .py file, by task")


class Waiver(_Part):
    """A named person takes the responsibility for one rule, until a day. It never covers something
    missing."""

    rule: Words
    owner: Words
    reason: Words
    expires: datetime.date = Field(description="last day on which it holds, YYYY-MM-DD")

    @field_validator("expires", mode="before")
    @classmethod
    def _a_day(cls, value: Any) -> Any:
        if isinstance(value, datetime.datetime) or not isinstance(value, (str, datetime.date)):
            raise ValueError("write the day as YYYY-MM-DD")
        return value


class Stop(_Part):
    """Early stopping in seeded order; only what was registered before the first token counts."""

    block: Count = Field(default=100, description="most prompts asked between two looks at the verdict")
    delta: Annotated[float, Field(strict=True, gt=0, lt=0.1)] = Field(
        default=0.01, description="chance of another verdict than that of the full run"
    )


class Policy(_Part):
    """What must hold before a model is released, fixed before the run.

    Flat: the keys of the file as people write them in YAML.
    """

    version: Literal[1]
    name: Words
    about: str = ""
    level: Annotated[float, Field(strict=True, ge=0.5, lt=1)] = Field(
        default=0.95, description="one-sided confidence of every claim"
    )
    estimand: Estimand = Field(
        default="list",
        description="what every claim is about: 'list' (these prompts, this model, these settings) or 'population' "
        "(prompts like these: clusters count, by their weights)",
    )
    icc: Share = Field(
        default=1.0,
        description="population only: largest correlation of answers within a cluster that is taken for granted; 1 = "
        "none is, a cluster counts as one observation",
    )
    family: Literal["all", "task"] = Field(
        default="all", description="rules over which false rejections are controlled together (Holm)"
    )
    power: Annotated[float, Field(strict=True, ge=0.5, lt=1)] = Field(
        default=0.8, description="chance of approval that `plan` asks for at the expected values"
    )
    rules: tuple[Rule, ...] = Field(min_length=1)
    ceilings: Ceilings = Ceilings()
    data: dict[str, Words] = Field(default={}, description="data version that must have been asked, by task")
    instruments: dict[str, dict[str, Any]] = Field(
        default={},
        description="what must hold of a scorer, by scorer: fields of its identity, `identity` (digest of all of it), "
        "`arguments` (exactly these); of its card `min_sensitivity`, `min_specificity` (by the lower 95% limits), its "
        "digest `card`",
    )
    conditions: Conditions = Conditions()
    registered: Annotated[bool, Field(strict=True)] = Field(
        default=False,
        description="the run must have recorded this policy before the first token (run --policy)",
    )
    max_age_days: Count | None = Field(default=None, description="oldest run that may still be signed off")
    signers: Annotated[int, Field(strict=True, ge=0)] = Field(default=1, description="signatures that evidence needs")
    stop: Stop | None = None
    waivers: tuple[Waiver, ...] = ()

    @field_validator("instruments")
    @classmethod
    def _of_cards(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for scorer, pins in value.items():
            for name in ("min_sensitivity", "min_specificity"):
                least = pins.get(name, 0)
                if isinstance(least, bool) or not isinstance(least, (int, float)) or not 0 <= least <= 1:
                    raise ValueError(f"{scorer}.{name} must be a share between 0 and 1")
        return value

    def claim(self, rule: Rule) -> About:
        """What a rule's claim is about."""
        estimand = rule.estimand or self.estimand
        icc = self.icc if rule.icc is None else rule.icc
        return About(estimand, icc if estimand == "population" else 0.0)

    @model_validator(mode="after")
    def _correlation(self) -> Policy:
        for rule in self.rules:
            if rule.icc is not None and (rule.estimand or self.estimand) == "list":
                raise ValueError(f"rule '{rule.id}' gives an icc, which only a claim about the population has")
        return self

    @model_validator(mode="after")
    def _labels_come_later(self) -> Policy:
        for rule in self.rules:
            if rule.corrected and self.stop is not None:
                raise ValueError(f"rule '{rule.id}' needs labels, made after the run: the policy cannot stop early")
        return self

    @model_validator(mode="after")
    def _names(self) -> Policy:
        ids = [rule.id for rule in self.rules]
        twice = sorted({x for x in ids if ids.count(x) > 1})
        if twice:
            raise ValueError(f"rule id used twice: {', '.join(twice)}")
        waived = [waiver.rule for waiver in self.waivers]
        for name in waived:
            if name not in ids:
                raise ValueError(f"waiver of an unknown rule '{name}'. {nearest(name, ids)}")
            if waived.count(name) > 1:
                raise ValueError(f"two waivers of rule '{name}'")
        return self


@dataclass(frozen=True, slots=True)
class About:
    """What a claim is about. `icc`: correlation that answers of a cluster may have (population only)."""

    estimand: Estimand
    icc: float


@dataclass(frozen=True, slots=True)
class Registration:
    """What a run records of its policy before the first token."""

    name: str
    sha256: str


def terms(policy: Policy) -> dict[str, Any]:
    """The policy without its waivers, as JSON values: what is fixed before the run. (A waiver answers a
    result.)"""
    return dict(conceal(policy.model_dump(mode="json", exclude={"waivers"})))


def concealed(policy: Policy) -> Policy:
    """The policy without the text of a system prompt and without folders: what verdicts are made by."""
    return Policy.model_validate(conceal(policy.model_dump(mode="json", exclude_none=True)))


def registration(policy: Policy) -> Registration:
    """Name and digest of the terms, for run.json."""
    return Registration(policy.name, digest(terms(policy)))


def load(path: Path) -> Policy:
    """The policy of a YAML file.

    Raises:
        UserError: no such file, not YAML, an unknown or doubled key, a wrong value; each with its place.
    """
    try:
        text = limits.content(path, limits.TEXT_BYTES, plain=False).decode()
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read the policy {path}: {error}", "See docs/policies/ for examples.") from error
    return parse(text, str(path))


def parse(text: str, source: str = "the policy") -> Policy:
    """The policy written in `text`; `source` names it in errors."""
    try:
        written = limits.yaml_value(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{source} is not YAML: {' '.join(str(error).split())}", "Check the indentation.") from error
    if not isinstance(written, dict):
        raise UserError(f"{source} holds no mapping", "See docs/policies/ for examples.")
    try:
        return Policy.model_validate(written)
    except ValidationError as error:
        raise UserError(f"{source}: {_first(error, written)}", _hint(error)) from error


def schema() -> dict[str, Any]:
    """JSON schema of the policy file."""
    made = Policy.model_json_schema()
    made["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    made["title"] = "safety-eval release policy"
    return made


def schema_text() -> str:
    """The schema as it is published in docs/reference/policy.schema.json."""
    return json.dumps(schema(), indent=2, sort_keys=True) + "\n"


def _first(error: ValidationError, written: dict[str, Any]) -> str:
    """The first fault, with its place as people write it: rules[2] (toxigen-groups).max."""
    fault = error.errors()[0]
    place = ""
    here: Any = written
    for step in fault["loc"]:
        place += f"[{step}]" if isinstance(step, int) else f"{'.' if place else ''}{step}"
        here = _step(here, step)
        if isinstance(step, int) and isinstance(here, dict) and isinstance(here.get("id"), str):
            place += f" ({here['id']})"
    more = len(error.errors()) - 1
    tail = f" (and {more} more)" if more else ""
    if fault["type"] == "extra_forbidden":
        return f"unknown key {place}{tail}"
    return f"{place + ': ' if place else ''}{fault['msg'].removeprefix('Value error, ')}{tail}"


def _step(here: Any, step: int | str) -> Any:
    try:
        return here[step]
    except (KeyError, IndexError, TypeError):
        return None


def _hint(error: ValidationError) -> str:
    fault = error.errors()[0]
    if fault["type"] != "extra_forbidden":
        return "See docs/reference/policy.schema.json."
    models = {"rules": Rule, "ceilings": Ceilings, "conditions": Conditions, "waivers": Waiver, "stop": Stop}
    if "non_inferior" in fault["loc"]:
        known = NonInferior
    else:
        known = models.get(str(fault["loc"][0]), Policy) if len(fault["loc"]) > 1 else Policy  # type: ignore[assignment]
    return nearest(str(fault["loc"][-1]), known.model_fields)


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key may stand only once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for name, _ in node.value:
            if isinstance(name, yaml.ScalarNode) and name.value in seen:
                raise ValueError(f"the key '{name.value}' stands twice, line {name.start_mark.line + 1}")
            seen.add(str(name.value))
        return super().construct_mapping(node, deep=deep)
