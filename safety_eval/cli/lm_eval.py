"""What lm-eval's flags mean here: which do the same, which need nothing to be done, and what to write in place of the
others. `safety-eval run` takes every one of them; none is ignored silently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import click

from safety_eval.core.errors import UserError

VERSION = "0.4.13"
"""Of lm-eval: the flags are those of `lm_eval run` there."""


class Deed(Enum):
    """What becomes of a flag."""

    SAME = "works"
    IDLE = "taken, nothing to do"
    """It asks for what always happens, or for what changes no answer here."""
    REFUSED = "refused, with what to write"
    """Going on without it would do less, or something else, than was asked."""


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag of lm-eval.

    Attributes:
        name: as lm-eval writes it, without dashes. short: its letter ('' = none).
        deed: what becomes of it. words: what it does here, or what to write in its place.
        example: values after it, as a test gives them. bare: it may stand without a value.
    """

    name: str
    short: str
    deed: Deed
    words: str
    example: tuple[str, ...] = ()
    bare: bool = False

    @property
    def written(self) -> str:
        """As lm-eval's help has it."""
        return f"--{self.name}"


SAME, IDLE, REFUSED = Deed.SAME, Deed.IDLE, Deed.REFUSED
FLAGS: tuple[Flag, ...] = (
    Flag("config", "C", SAME, "A YAML file with the settings of `safety-eval run`; flags win.", ("settings.yaml",)),
    Flag("tasks", "t", SAME, "Names with commas or spaces, suites, globs (`toxi*`), or .py files.", ("bold", "xstest")),
    Flag("model", "M", SAME, "An engine of lm-eval's name with `--model_args pretrained=ID`, or the model itself."),
    Flag("model_args", "a", SAME, "`k=v,k=v`, or several with spaces.", ("pretrained=echo",)),
    Flag("apply_chat_template", "", SAME, "Without a value. A template by name: `--chat-template-args`.", (), True),
    Flag("limit", "L", SAME, "N, or a share of each task's prompts (0.1): drawn at random, groups evenly.", ("0.1",)),
    Flag("use_cache", "c", IDLE, "The run folder is the cache: the same command again asks what is owed.", ("cache",)),
    Flag("num_fewshot", "f", IDLE, "Each task's own protocol decides (0 is taken; others are refused).", ("0",)),
    Flag("batch_size", "b", SAME, "`auto`, `auto:N` (read as `auto`) or N. Answers do not depend on it.", ("auto:4",)),
    Flag(
        "max_batch_size",
        "",
        IDLE,
        "A batch that does not fit into memory is halved. A bound: `--batch-size N`.",
        ("8",),
    ),
    Flag("device", "", SAME, "auto, cpu, cuda, cuda:N, mps.", ("cpu",)),
    Flag(
        "gen_kwargs",
        "",
        SAME,
        "`temperature`, `top_p`, `max_gen_toks`, `do_sample`.",
        ("temperature=0", "max_gen_toks=8"),
    ),
    Flag("output_path", "o", SAME, "The run folder.", ("run",)),
    Flag("log_samples", "s", IDLE, "Every prompt, answer and score is always recorded.", (), True),
    Flag(
        "samples",
        "E",
        REFUSED,
        "Indices of a list are no random sample: `--limit N` draws one. Here --samples K asks K "
        "answers of each prompt.",
        ('{"bold": [0, 1]}',),
    ),
    Flag("cache_requests", "", IDLE, "Prompts are frozen in the run folder before the first token.", ("true",), True),
    Flag("check_integrity", "", IDLE, "Data sets are always checked by their digest.", (), True),
    Flag("system_instruction", "", SAME, "As `--system-prompt`.", ("Be brief.",)),
    Flag("fewshot_as_multiturn", "", IDLE, "No task shows examples as turns.", ("true",), True),
    Flag("include_path", "", SAME, "A folder with .py tasks, which `--tasks` then names without their ending.", (".",)),
    Flag("verbosity", "v", IDLE, "Progress goes to standard error, as JSON lines where it is no terminal.", ("INFO",)),
    Flag("write_out", "w", IDLE, "Prompts may be harmful and are never printed: see RUN/TASK/prompts.jsonl.", (), True),
    Flag("show_config", "", IDLE, "RUN/run.json holds all of it; `--dry-run` shows it before.", (), True),
    Flag("wandb_args", "", REFUSED, "`--log-to wandb`; WANDB_PROJECT names the project.", ("project=p",)),
    Flag(
        "wandb_config_args",
        "",
        REFUSED,
        "`--log-to wandb` logs what was asked by itself.",
        ("k=v",),
    ),
    Flag(
        "trackio_args",
        "",
        REFUSED,
        "`--log-to trackio`.",
        ("project=p",),
    ),
    Flag(
        "hf_hub_log_args",
        "",
        REFUSED,
        "Nothing is uploaded: `safety-eval export RUN --format hub` writes files, which are yours to publish.",
        ("hub_results_org=o",),
    ),
    Flag("predict_only", "x", SAME, "Ask, but do not score.", (), True),
    Flag("seed", "", SAME, "One number: every draw is keyed by it. Four numbers are refused.", ("7",)),
    Flag("trust_remote_code", "", SAME, "As `--model-args trust_remote_code=true`.", (), True),
    Flag("confirm_run_unsafe_code", "", IDLE, "No task runs what a model writes.", (), True),
    Flag(
        "metadata", "", REFUSED, "Tasks take no metadata: `--data-version`, `--prompts` or `--scorer-args`.", ("k=v",)
    ),
)
_OWN = {"config", "tasks", "model", "model_args", "apply_chat_template", "limit", "batch_size", "device", "gen_kwargs"}
_OWN |= {"output_path", "samples", "predict_only", "seed"}
"""Flags that are ours as well."""
_PREFIX = "lm_eval_"
_LISTS = {"--tasks", "-t", "--model_args", "--model-args", "-a", "--gen_kwargs", "--gen-kwargs"}
"""Flags that lm-eval lets several values follow."""


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flags of lm-eval that are not ours, hidden from the help."""
    for flag in (f for f in FLAGS if f.name not in _OWN):
        names = [f"--{flag.name.replace('_', '-')}", _PREFIX + flag.name, *([f"-{flag.short}"] if flag.short else [])]
        optional: dict[str, Any] = {}
        if flag.bare:
            optional = {"is_flag": True} if not flag.example else {"is_flag": False, "flag_value": ""}
        command = click.option(*names, default=None, hidden=True, **optional)(command)
    return command


def joined(argv: list[str]) -> list[str]:
    """Several values behind a flag of lm-eval (`--tasks a b`) as one, with commas."""
    ready: list[str] = []
    follows = False
    for word in argv:
        if follows and not word.startswith("-") and ready[-1] not in _LISTS:
            ready[-1] = f"{ready[-1].rstrip(',')},{word}"
            continue
        ready.append(word)
        follows = word in _LISTS or (follows and ready[-2] in _LISTS and not word.startswith("-"))
    return ready


def settled(flags: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Our flags alone, with those of lm-eval put into them; and what is to be said of the others.

    Raises:
        UserError: a flag without which something else would run; says what to write.
    """
    ready = {name: value for name, value in flags.items() if not name.startswith(_PREFIX)}
    theirs = {name.removeprefix(_PREFIX): v for name, v in flags.items() if name.startswith(_PREFIX) and v is not None}
    for flag in (f for f in FLAGS if f.name in theirs):
        if flag.deed is REFUSED or (flag.name == "num_fewshot" and theirs["num_fewshot"] != "0"):
            raise UserError(f"{flag.written} of lm-eval does not work here", flag.words)
    if "system_instruction" in theirs:
        if ready.get("system_prompt") not in (None, theirs["system_instruction"]):
            raise UserError("--system-prompt and --system_instruction differ", "Give one of them.")
        ready["system_prompt"] = theirs["system_instruction"]
    if "trust_remote_code" in theirs:
        ready["model_args"] = ",".join([*filter(None, [ready.get("model_args")]), "trust_remote_code=true"])
    if "include_path" in theirs and ready.get("tasks"):
        ready["tasks"] = ",".join(_included(str(ready["tasks"]), str(theirs["include_path"])))
    notes = [f"{f.written}: {f.words}" for f in FLAGS if f.name in theirs and f.deed is IDLE]
    return ready, notes


def _included(tasks: str, folder: str) -> Iterator[str]:
    """Names of tasks, those that are a .py file of the folder as its path."""
    from pathlib import Path

    for name in tasks.split(","):
        own = Path(folder) / f"{name.strip()}.py"
        yield str(own) if own.is_file() else name


def table() -> str:
    """Every flag of lm-eval and what becomes of it, as a table in Markdown."""
    rows = ["| lm-eval | here | |\n|---|---|---|\n"]
    for flag in FLAGS:
        short = f", `-{flag.short}`" if flag.short else ""
        rows.append(f"| `{flag.written}`{short} | {flag.deed.value} | {flag.words} |\n")
    return "".join(rows)
