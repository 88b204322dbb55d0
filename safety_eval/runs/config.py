"""What people write to ask for a run: validated, unknown keys refused, one field per flag of `safety-eval run`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Any, Literal, TypedDict

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from safety_eval.core import limits
from safety_eval.core.errors import UserError, nearest
from safety_eval.core.records import digest
from safety_eval.runs.spelling import plain_settings

MOST_SAMPLES = 10_000
"""Answers to one prompt: beyond this somebody mistyped, or wants this machine to be busy for ever."""
_NOT_ANSWER_CHANGING = {"batch_size", "output_path", "data", "policy", "prompts", "predict_only"}
"""Fields that a resume may change: paths (contents are checked by digest) and how the work is batched."""

_SPREAD = {"ray": ("replicas", "cpus", "gpus", "address")}
"""Engine -> model arguments that say where its work is done, which a resume may change as well."""


class Generation(BaseModel):
    """Decoding that replaces a task's own (`--gen-kwargs`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_new_tokens: int | None = Field(default=None, ge=1, le=1_000_000)


class RunConfig(BaseModel):
    """Everything that a run is asked for.

    Flat: the flags of the command line, which YAML and Python give by the same names.

    `data_version` and `scorers` map a task to its data version and its instrument; the key '' of `data_version`
    means every task that has such a version. `shard` is (i, n), counted from 1. `limit`: prompts of a task, or the
    share of them (above 0, below 1).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: str = Field(min_length=1)
    tasks: tuple[str, ...] = Field(min_length=1)
    engine: str = "transformers"
    model_args: dict[str, str] = {}
    limit: int | float | None = None
    samples: int | None = Field(None, ge=1, le=MOST_SAMPLES)
    batch_size: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|xpu|cuda(:[0-9]+)?)$")
    seed: int = Field(0, ge=0, lt=2**63)
    chat_template: Literal["auto", "on", "off"] = "auto"
    chat_template_args: dict[str, str] = {}
    system_prompt: str | None = None
    generation: Generation = Generation()
    data: Path | None = None
    data_version: dict[str, str] = {}
    prompts: dict[str, Path] = {}
    scorers: dict[str, str] = {}
    scorer_args: dict[str, dict[str, str]] = {}
    policy: Path | None = None
    stop_when_decided: bool = False
    predict_only: bool = False
    shard: tuple[int, int] | None = None
    output_path: Path | None = None

    @field_validator("batch_size")
    @classmethod
    def _batch(cls, value: str) -> str:
        if value != "auto" and not (value.isdigit() and int(value) > 0):
            raise ValueError("must be 'auto' or a whole number above 0")
        return value

    @field_validator("limit")
    @classmethod
    def _limit(cls, value: int | float | None) -> int | float | None:
        if isinstance(value, float) and not 0 < value < 1:
            raise ValueError("must be a whole number of prompts, or a share between 0 and 1")
        if isinstance(value, int) and value < 1:
            raise ValueError("must be at least 1")
        return value

    @field_validator("shard")
    @classmethod
    def _shard(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and not 1 <= value[0] <= value[1]:
            raise ValueError("must be i/n with 1 <= i <= n")
        return value

    @model_validator(mode="after")
    def _stopping(self) -> RunConfig:
        if self.stop_when_decided and (self.policy is None or self.predict_only or self.shard):
            raise ValueError("stop_when_decided needs a policy, scores, and the whole run (no shard)")
        return self

    def asked(self) -> dict[str, Any]:
        """The fields that decide the answers and scores; a resume must ask for the same."""
        asked = self.model_dump(mode="json", exclude=_NOT_ANSWER_CHANGING)
        # Not there where nothing is asked: run folders from before this setting go on.
        if not self.chat_template_args:
            del asked["chat_template_args"]
        for name in _SPREAD.get(self.engine, ()):
            asked["model_args"].pop(name, None)
        return asked

    def folder(self) -> Path:
        """--output-path, or a name made of what is asked, so that the same command finds the same folder."""
        if self.output_path is not None:
            return self.output_path
        name = Path(self.model.rstrip("/")).name.replace(":", "-") or "model"
        tasks = "-".join(self.tasks) if len(self.tasks) < 3 else f"{len(self.tasks)}-tasks"
        return Path("runs") / f"{name}-{Path(tasks).name}-{digest(self.asked())[:8]}"


class RunSettings(TypedDict, total=False):
    """The fields of RunConfig as keywords, in any form that the command line or a YAML file takes.

    Flat: what Python completes.
    """

    model: str
    tasks: str | Sequence[str]
    engine: str
    model_args: str | Mapping[str, str]
    limit: int | float | None
    samples: int | None
    batch_size: int | str
    dtype: str
    device: str
    seed: int
    chat_template: str | bool
    chat_template_args: str | Mapping[str, str]
    system_prompt: str | None
    generation: Mapping[str, float | int]
    data: str | Path | None
    data_version: str | Mapping[str, str]
    prompts: Mapping[str, str | Path]
    scorers: Mapping[str, str]
    scorer_args: Mapping[str, Mapping[str, str]]
    policy: str | Path | None
    stop_when_decided: bool
    predict_only: bool
    shard: str | tuple[int, int] | None
    output_path: str | Path | None


def with_settings(function: Callable[..., Any]) -> Signature:
    """A function's signature with the settings of a run as keywords in place of `**settings`."""
    own = signature(function)
    named = [Parameter(name, Parameter.KEYWORD_ONLY, default=None) for name in RunSettings.__annotations__]
    kept = [p for p in own.parameters.values() if p.kind is not Parameter.VAR_KEYWORD]
    return own.replace(parameters=[*kept, *named])


def run_config(values: Mapping[str, Any]) -> RunConfig:
    """Validated run configuration.

    Raises:
        UserError: an unknown key (the nearest is offered) or a bad value, all of them in one message.
    """
    try:
        return RunConfig.model_validate(plain_settings(values))
    except ValidationError as error:
        raise UserError(*explain(error, RunConfig)) from error


def explain(error: ValidationError, model: type[BaseModel]) -> tuple[str, str]:
    """(message, hint) for a validation error: every problem with its place, the nearest name for unknown keys."""
    lines, hint = [], "Run `safety-eval run --help` for what each setting means."
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"]) or "(top)"
        if problem["type"] == "extra_forbidden":
            lines.append(f"{place}: unknown key")
            hint = nearest(str(problem["loc"][-1]), _fields(model, problem["loc"][:-1]))
        else:
            lines.append(f"{place}: {problem['msg']}, got {str(problem['input'])[:80]!r}")
    return "bad configuration: " + "; ".join(lines), hint


def _fields(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """Names of the fields at a place of a model."""
    for part in place:
        kind = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            model = kind
    return list(model.model_fields)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping from a file.

    Raises:
        UserError: no file, or not a YAML mapping.
    """
    try:
        value = limits.yaml_value(limits.content(path, limits.TEXT_BYTES, plain=False).decode())
    except FileNotFoundError as error:
        raise UserError(f"no such file: {path}", "Check the path.") from error
    except (yaml.YAMLError, ValueError, OSError, RecursionError) as error:
        raise UserError(f"{path} is not readable YAML: {error}", "Correct the file.") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} holds no mapping", "Write `key: value` lines.")
    return value
