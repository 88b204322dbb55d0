"""The flags of `safety-eval run`. lm-eval's names are kept; runs/spelling.py says how their texts are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from safety_eval.cli import complete
from safety_eval.core.errors import UserError

Command = Callable[..., Any]


def run_options(command: Command) -> Command:
    """Every flag of `run`, in the order of the help text."""
    for option in reversed(_RUN):
        command = option(command)
    return command


def options(*names: str) -> Callable[[Command], Command]:
    """Some of the flags of `run`, by the names of their values."""

    def decorate(command: Command) -> Command:
        for option in reversed(_RUN):
            bare: Any = option(lambda: None)
            if bare.__click_params__[0].name in names:
                command = option(command)
        return command

    return decorate


_RUN = [
    click.option(
        "--model",
        "-M",
        help="Hub id, local folder, GGUF file, 'smollm2' (packaged), or openai/NAME at --base-url.",
    ),
    click.option(
        "--tasks",
        "-t",
        shell_complete=complete.tasks,
        help="Task names, globs or a suite, with commas; a path to a .py file is a task of your own.",
    ),
    click.option(
        "--engine",
        shell_complete=complete.engines,
        help="What runs the model: see `safety-eval ls engines`. [transformers]",
    ),
    click.option(
        "--model-args", "-a", help="k=v,...: revision, trust_remote_code ... (pretrained=M is read as --model M)."
    ),
    click.option("--base-url", help="http://HOST:PORT/v1: of the server that --model openai/NAME is asked at."),
    click.option(
        "--limit", "-L", help="N prompts of a task, or a share (0.1): drawn at random (--seed), groups evenly."
    ),
    click.option("--samples", "-E", help="K answers for each prompt."),
    click.option(
        "--batch-size", "-b", help="auto or N. In half precision answers depend on it, and a run keeps it. [auto]"
    ),
    click.option("--dtype", help="auto (the checkpoint's own), float32, bfloat16, float16. Printed in every table."),
    click.option("--device", help="auto, cpu, cuda, cuda:N."),
    click.option("--seed", help="Keys every random draw. [0]"),
    click.option(
        "--apply-chat-template/--no-apply-chat-template",
        default=None,
        help="Default: when the tokenizer has one, for tasks that generate.",
    ),
    click.option(
        "--chat-template-args",
        help="k=v,...: given to the template (enable_thinking=false); date=YYYY-MM-DD in place of the run's day.",
    ),
    click.option("--system-prompt", help="System turn put before every prompt."),
    click.option("--gen-kwargs", help="Decoding in place of the tasks' own: temperature=,top_p=,max_new_tokens=."),
    click.option(
        "--data",
        type=click.Path(path_type=Path),
        envvar="SAFETY_EVAL_DATA",
        help="Local mirror of the data sets (DIR/hub/..., DIR/github/...). Default: their public homes.",
    ),
    click.option("--data-version", multiple=True, help="V, or TASK=V: data version or named mode."),
    click.option(
        "--prompts",
        multiple=True,
        help="TASK=FILE: your own prompts (JSON lines) for a task that takes them.",
    ),
    click.option(
        "--scorer",
        multiple=True,
        shell_complete=complete.task_scorers,
        help="TASK=NAME[+NAME]: instruments in place of the task's first one.",
    ),
    click.option("--scorer-args", multiple=True, help="NAME:k=v,... for a scorer."),
    click.option(
        "--policy",
        type=click.Path(path_type=Path),
        help="Policy, recorded with its hash before the first token.",
    ),
    click.option(
        "--stop-when-decided",
        type=click.Path(path_type=Path),
        metavar="POLICY",
        help="As --policy, and stop asking once its rules are decided (its `stop` says how surely).",
    ),
    click.option("--shard", help="i/n: ask only the i-th of n parts (see `merge`)."),
    click.option("--predict-only", "-x", is_flag=True, default=None, help="Ask, but do not score."),
    click.option(
        "--output-path",
        "-o",
        type=click.Path(path_type=Path),
        help="Run folder. The same command again continues it.",
    ),
    click.option(
        "--config",
        "-C",
        "config_file",
        type=click.Path(path_type=Path),
        help="YAML file with these settings; flags win.",
    ),
]


def to_values(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Flags as given (those that were not are left out); runs/spelling.py reads their texts.

    Raises:
        UserError: a flag with nothing behind it.
    """
    for name, value in flags.items():
        if value == "" and name != "system_prompt":
            raise UserError(f"--{name.replace('_', '-')} is empty", "Give a value, or leave the flag out.")
    return {k: v for k, v in flags.items() if v not in (None, (), "")}
