"""The flags of `safety-eval run`, and how their texts become a configuration. lm-eval's names are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from safety_eval.core.errors import UserError

Command = Callable[..., Any]


def pairs(text: str, flag: str) -> dict[str, str]:
    """'k=v,k2=v2' as a mapping; a comma inside a value is written '\\,'.

    Raises:
        UserError: a part without '='.
    """
    parts: dict[str, str] = {}
    for part in text.replace("\\,", "\0").split(","):
        name, equals, value = part.replace("\0", ",").partition("=")
        if not part.strip():
            continue
        if not equals or not name.strip():
            raise UserError(f"{flag}: '{part}' is not key=value", f"Write {flag} key=value,key=value.")
        parts[name.strip()] = value
    return parts


def run_options(command: Command) -> Command:
    """Every flag of `run`, in the order of the help text."""
    for option in reversed(_RUN):
        command = option(command)
    return command


_RUN = [
    click.option("--model", help="Hub id, local folder, GGUF file, or 'smollm2' (the packaged demo model)."),
    click.option(
        "--tasks", help="Task names or a suite, with commas; a path to a .py file is a task of your own."
    ),
    click.option("--engine", help="What runs the model: see `safety-eval ls engines`. [transformers]"),
    click.option(
        "--model-args", help="k=v,...: revision, trust_remote_code ... (pretrained=M is read as --model M)."
    ),
    click.option("--limit", type=int, help="At most N prompts of a task, drawn at random (--seed), groups evenly."),
    click.option("--samples", type=int, help="K answers for each prompt."),
    click.option("--batch-size", help="auto or N. Answers do not depend on it. [auto]"),
    click.option(
        "--dtype", help="auto (the checkpoint's own), float32, bfloat16, float16. Printed in every table."
    ),
    click.option("--device", help="auto, cpu, cuda, cuda:N."),
    click.option("--seed", type=int, help="Keys every random draw. [0]"),
    click.option(
        "--apply-chat-template/--no-apply-chat-template",
        default=None,
        help="Default: when the tokenizer has one, for tasks that generate.",
    ),
    click.option("--system-prompt", help="System turn put before every prompt."),
    click.option(
        "--gen-kwargs", help="Decoding in place of the tasks' own: temperature=,top_p=,max_new_tokens=."
    ),
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
        "--scorer", multiple=True, help="TASK=NAME[+NAME]: another instrument for a task's first one."
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
    click.option("--predict-only", is_flag=True, default=None, help="Ask, do not score."),
    click.option(
        "--output-path",
        type=click.Path(path_type=Path),
        help="Run folder. The same command again continues it.",
    ),
    click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path),
        help="YAML file with these settings; flags win.",
    ),
]


def to_values(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Flags as given -> the values of a RunConfig (flags that were not given are left out)."""
    given = {
        k: v for k, v in flags.items() if v not in (None, (), "") and k not in ("config_file", "dry_run")
    }
    values: dict[str, Any] = {
        k: given[k]
        for k in (
            "model", "engine", "limit", "samples", "batch_size", "dtype", "device", "seed", "system_prompt",
            "data", "policy", "predict_only", "output_path",
        )
        if k in given
    }  # fmt: skip
    if "stop_when_decided" in given:
        values |= {"policy": given["stop_when_decided"], "stop_when_decided": True}
    if "tasks" in given:
        values["tasks"] = [t.strip() for t in given["tasks"].split(",") if t.strip()]
    if "model_args" in given:
        args = pairs(given["model_args"], "--model-args")
        if "pretrained" in args:
            values["model"] = args.pop("pretrained")
        values["model_args"] = args
    if "apply_chat_template" in given:
        values["chat_template"] = "on" if given["apply_chat_template"] else "off"
    if "gen_kwargs" in given:
        values["generation"] = pairs(given["gen_kwargs"], "--gen-kwargs")
    if "shard" in given:
        values["shard"] = _shard(given["shard"])
    for name, flag in (("prompts", "--prompts"), ("scorer", "--scorer")):
        if name in given:
            values["scorers" if name == "scorer" else name] = _mapping(given[name], flag)
    if "data_version" in given:
        values["data_version"] = {
            t if eq else "": v if eq else t for t, eq, v in (x.partition("=") for x in given["data_version"])
        }
    if "scorer_args" in given:
        values["scorer_args"] = scorer_args(given["scorer_args"])
    return values


def scorer_args(texts: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """'NAME:k=v,...' of every --scorer-args, by name."""
    found: dict[str, dict[str, str]] = {}
    for text in texts:
        name, colon, rest = text.partition(":")
        if not colon:
            raise UserError(
                f"--scorer-args: '{text}' is not NAME:k=v,...", "Write --scorer-args NAME:key=value."
            )
        found.setdefault(name.strip(), {}).update(pairs(rest, "--scorer-args"))
    return found


def _mapping(texts: tuple[str, ...], flag: str) -> dict[str, str]:
    found = {}
    for text in (part for given in texts for part in given.split(",")):
        name, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"{flag}: '{text}' is not TASK=...", f"Write {flag} TASK=VALUE.")
        found[name.strip()] = value.strip()
    return found


def _shard(text: str) -> list[int]:
    first, slash, last = text.partition("/")
    if not (slash and first.isdigit() and last.isdigit()):
        raise UserError(f"--shard: '{text}' is not i/n", "Write --shard 1/4 for the first of four parts.")
    return [int(first), int(last)]
