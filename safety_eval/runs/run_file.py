"""run.json: what a run was asked, and by whom it was answered and scored. Read, checked and written here alone.

The file is replaced as a whole; its schema number says which version reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from safety_eval.core.conceal import conceal
from safety_eval.core.errors import EvidenceError, UserError
from safety_eval.core.store import read_json, write_json
from safety_eval.core.task import Drawn
from safety_eval.runs.config import MOST_SAMPLES, RunConfig

NAME = "run.json"
SCHEMA = 3
"""3: the journal binds what a redacted copy says of it (core/conceal.py), so that such a copy can be checked."""
MAX_BYTES = 16 * 2**20
LONGEST_NAME = 200
Json = dict[str, Any]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


def _is_name(text: str) -> str:
    """A name becomes a part of a path: it is one part, and stays in the folder."""
    one_part = text.isprintable() and "/" not in text and "\\" not in text and text not in ("", ".", "..")
    if not one_part or len(text) > LONGEST_NAME:
        raise ValueError(f"{text[:40]!r} cannot be a name")
    return text


Name = Annotated[str, AfterValidator(_is_name)]


class Protocol(_Part):
    """A task's own way of being asked and scored, whatever a run asks for: what a deviation deviates from.

    Attributes:
        version, samples, settings: of data and decoding. scorers: the arguments of its own instruments.
        file: SHA-256 of the task's .py file where it is somebody's own ('' = a shipped task).
    """

    version: str = ""
    samples: int = 1
    settings: Json = {}
    scorers: dict[str, dict[str, str]] = {}
    file: str = ""


class TaskRecord(_Part):
    """What run.json says of one task.

    Attributes:
        title, paper: of the benchmark.
        data_version, manifest: which prompts, and where they came from.
        notes: what was left out of the prompts and why.
        prompts, prompts_digest: how many were frozen, and the digest of all of them.
        drawn: what a limit drew from the list; None = all of it was asked.
        samples: answers to each prompt.
        settings: how it was asked; `chat_template` is there once the engine is known.
        protocol: how the benchmark is asked by default, from which `settings` may deviate.
        instruments: identity of each scorer, written before its first score.
        arguments: what each scorer was given.
        stopped: the state in which it was ended early ('' = it was not).
    """

    title: str
    paper: str
    data_version: str
    manifest: Json
    notes: tuple[str, ...]
    prompts: int
    prompts_digest: str
    drawn: Drawn | None = None
    samples: int = Field(ge=1, le=MOST_SAMPLES)
    settings: Json
    protocol: Protocol = Protocol()
    instruments: dict[Name, Json]
    arguments: dict[str, dict[str, str]] = {}
    stopped: str = ""

    @property
    def chat_template(self) -> bool | None:
        """Whether the chat template was applied; None before the engine was known."""
        value = self.settings.get("chat_template")
        return value if isinstance(value, bool) else None


class RegisteredPolicy(_Part):
    """The policy that was given with `run --policy`: its name, the digest of its terms, and when it was recorded."""

    name: str
    sha256: str
    recorded: str


class RunFile(_Part):
    """run.json.

    Attributes:
        started, finished: UTC, ISO 8601; finished '' while something is owed.
        asked: what decides the answers; the same command again must ask the same.
        config: everything that was asked for.
        engine: the engine's identity, {} before it was loaded.
        tasks: by name, in the order in which they were asked.
        versions, machine: of packages; of the computer.
        policy: None where none was registered.
        merged_from: (part, of) of each shard that the run was joined of.
    """

    schema_number: int = Field(alias="schema")
    started: str
    finished: str = ""
    asked: Json
    config: RunConfig
    engine: Json = {}
    tasks: dict[Name, TaskRecord] = {}
    versions: dict[str, str]
    machine: dict[str, str]
    policy: RegisteredPolicy | None = None
    merged_from: tuple[tuple[int, int], ...] = ()

    def changed(self, **values: Any) -> RunFile:
        """The file with other values."""
        return self.model_copy(update=values)

    def with_task(self, name: str, record: TaskRecord) -> RunFile:
        """The file with a task's record put in or replaced; the order stays."""
        return self.changed(tasks={**self.tasks, name: record})

    def changed_task(self, name: str, **values: Any) -> RunFile:
        """The file with other values in a task's record."""
        return self.with_task(name, self.tasks[name].model_copy(update=values))

    def to_json(self) -> Json:
        """The file's content; what is not known yet is left out."""
        content = self.model_dump(mode="json", by_alias=True)
        for name in ("finished", "policy", "merged_from"):
            if not content[name]:
                del content[name]
        if self.config.generation.max_thinking_tokens is None:  # a run from before this setting stays as it was bound
            del content["config"]["generation"]["max_thinking_tokens"]
        for task in content["tasks"].values():
            if not task["stopped"]:
                del task["stopped"]
        return content


def concealed(file: RunFile) -> RunFile:
    """The file without its system prompt and its folders: what verdicts are made of."""
    return RunFile.model_validate(conceal(file.to_json()))


def write(folder: Path, file: RunFile) -> None:
    """Replace RUN/run.json."""
    write_json(folder / NAME, file.to_json())


def read(folder: Path) -> RunFile:
    """RUN/run.json, checked.

    Raises:
        UserError: no run folder, or a run of another schema. EvidenceError: damaged, or not what a run writes.
    """
    path = folder / NAME
    if not path.is_file():
        raise UserError(
            f"{folder} is not a run folder: it has no {NAME}", "Give the folder that `safety-eval run` printed."
        )
    if path.stat().st_size > MAX_BYTES:
        raise EvidenceError(f"{path} is damaged: it is larger than {MAX_BYTES // 2**20} MB")
    return parse(read_json(path), path)


def parse(content: Any, path: Path) -> RunFile:
    """The content of a run.json, checked; `path` names it in errors."""
    if not isinstance(content, Mapping) or not isinstance(content.get("tasks"), Mapping):
        raise EvidenceError(f"{path} is damaged: it names no tasks")
    if content.get("schema") != SCHEMA:
        raise UserError(
            f"{path.parent} was made by another version of safety-eval: its schema is "
            f"{content.get('schema', 'not given')}, this version reads {SCHEMA}",
            "Open it with the version that made it (run.json: versions), or run again in another --output-path.",
        )
    try:
        return RunFile.model_validate(content)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(step) for step in fault["loc"])
        told = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
        raise EvidenceError(f"{path} is damaged: {place} {told}") from error
