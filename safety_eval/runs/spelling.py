"""How a setting may be written: the texts of the command line, the plain values of a YAML file, a caller's mappings.

One place for all three doors, so that what works in one works in the others. What comes out is what a RunConfig holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from safety_eval.core import secrets
from safety_eval.core.errors import UserError

_FLAGS = {"apply_chat_template": "chat_template", "gen_kwargs": "generation", "scorer": "scorers"}
"""Flags of `run` whose field has another name."""
_TEXTS = ("model", "engine", "batch_size", "dtype", "device", "system_prompt")


def plain_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in any of the forms that people write -> the form of a RunConfig; unknown keys are left for it.

    Raises:
        UserError: a text that is not key=value, TASK=VALUE or i/n; a setting given under two names.
    """
    ready: dict[str, Any] = {}
    for name, value in values.items():
        field = _FLAGS.get(name, name)
        if value is None or value == ():
            continue
        if field in ready:
            raise UserError(f"'{name}' and '{field}' are the same setting", "Give it once.")
        ready[field] = _FORMS[field](value, _flag(name)) if field in _FORMS else value
    stop = ready.get("stop_when_decided")
    if stop is not None and not isinstance(stop, bool):
        ready |= {"policy": stop, "stop_when_decided": True}
    return ready


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
    secrets.check(parts, flag)
    return parts


def scorer_args(given: Any, flag: str = "--scorer-args") -> Any:
    """'NAME:k=v,...', several of them, or a mapping of mappings -> arguments by scorer, all of them texts."""
    if isinstance(given, Mapping):
        return {str(name): _arguments(args, flag) for name, args in given.items()}
    ready: dict[str, dict[str, str]] = {}
    for text in _several(given):
        name, colon, rest = text.partition(":")
        if not colon:
            raise UserError(f"{flag}: '{text}' is not NAME:k=v,...", f"Write {flag} NAME:key=value.")
        ready.setdefault(name.strip(), {}).update(pairs(rest, flag))
    return ready


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _several(given: Any) -> list[str]:
    return [given] if isinstance(given, str) else [str(text) for text in given]


def _text(value: Any, flag: str = "") -> Any:
    """A number or a truth value where a text is meant, as YAML reads `batch_size: 8`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _arguments(given: Any, flag: str) -> Any:
    if isinstance(given, str):
        return pairs(given, flag)
    if isinstance(given, Mapping):
        ready = {str(name): _text(value) for name, value in given.items() if value is not None}
        secrets.check(ready, flag)
        return ready
    return given


_TOKENS = ("max_gen_toks", "max_tokens")
"""What lm-eval and servers call max_new_tokens."""


def _generation(given: Any, flag: str) -> Any:
    """Decoding, also by lm-eval's names.

    Raises:
        UserError: stop strings, which belong to a task's protocol; two numbers of tokens.
    """
    args: dict[str, Any] = pairs(given, flag) if isinstance(given, str) else given
    if not isinstance(args, Mapping):
        return args
    args = dict(args)
    if "until" in args:
        raise UserError(f"{flag}: until= is a part of each task's protocol", "Leave it out.")
    for name in (n for n in _TOKENS if n in args):
        if args.setdefault("max_new_tokens", args[name]) != args[name]:
            raise UserError(f"{flag}: {name}= and max_new_tokens= differ", "Give one of them.")
        del args[name]
    if "do_sample" in args:
        draws = str(args.pop("do_sample")).lower() == "true"
        if not draws and float(args.get("temperature", 0)) > 0:
            raise UserError(f"{flag}: do_sample=False and a temperature above 0", "Give one of them.")
        args.setdefault("temperature", "1" if draws else "0")
    return args


def _limit(given: Any, flag: str) -> Any:
    """N, or a share.

    Raises:
        UserError: a range, or no number.
    """
    if not isinstance(given, str):
        return given
    first, dash, last = given.partition("-")
    if dash and first.isdigit() and last.isdigit():
        raise UserError(
            f"{flag}: '{given}' is a range, and the first prompts of a list are no random sample of it",
            f"Write {flag} {max(1, int(last) - int(first))}: drawn by --seed, the same prompts each time.",
        )
    return _number(given, flag, "N prompts (100), or a share of each task's (0.1)")


def _whole(given: Any, flag: str) -> Any:
    """A whole number; lm-eval's four seeds and its indices of prompts are explained.

    Raises:
        UserError: none of ours.
    """
    if not isinstance(given, str):
        return given
    if given.lstrip().startswith("{"):
        raise UserError(
            f"{flag}: indices of prompts, as lm-eval takes them, are no random sample of a list",
            f"Write --limit N, which draws one; here {flag} K asks for K answers to each prompt.",
        )
    if "," in given:
        raise UserError(
            f"{flag}: one number is meant, and '{given}' holds several",
            f"Every draw is keyed by one seed: {flag} {given.split(',')[0].strip()}.",
        )
    return _number(given, flag, "a whole number")


def _number(given: str, flag: str, wanted: str) -> int | float:
    try:
        return int(given) if given.strip().lstrip("+-").isdigit() else float(given)
    except ValueError as error:
        raise UserError(f"{flag}: '{given}' is not a number", f"Give {wanted}.") from error


def _batch_size(given: Any, flag: str) -> Any:
    """lm-eval's auto:N, which tunes again N times, is our auto."""
    text = _text(given)
    return "auto" if isinstance(text, str) and text.startswith("auto:") else text


def _by_task(given: Any, flag: str) -> Any:
    """'TASK=VALUE', several of them, or a mapping."""
    if isinstance(given, Mapping):
        return {str(task): _text(value) for task, value in given.items()}
    ready = {}
    for text in (part for one in _several(given) for part in one.split(",")):
        task, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"{flag}: '{text}' is not TASK=...", f"Write {flag} TASK=VALUE.")
        ready[task.strip()] = value.strip()
    return ready


def _versions(given: Any, flag: str) -> Any:
    """'V' or 'TASK=V', several of them, or a mapping; '' = every task that has the version."""
    if isinstance(given, Mapping):
        return {str(task): _text(version) for task, version in given.items()}
    ready = {}
    for text in _several(_text(given)):
        task, equals, version = text.partition("=")
        ready[task.strip() if equals else ""] = (version if equals else task).strip()
    return ready


def _tasks(given: Any, flag: str) -> Any:
    """'a,b' or a list."""
    names = given.split(",") if isinstance(given, str) else given
    return [n.strip() for n in names if n.strip()] if _are_texts(names) else names


def _are_texts(names: Any) -> bool:
    return isinstance(names, Iterable) and all(isinstance(n, str) for n in names)


def _chat_template(given: Any, flag: str) -> Any:
    """YAML reads `on` and `off` as truth values."""
    return ("on" if given else "off") if isinstance(given, bool) else given


def _shard(given: Any, flag: str) -> Any:
    if not isinstance(given, str):
        return given
    first, slash, last = given.partition("/")
    if not (slash and first.isdigit() and last.isdigit()):
        raise UserError(f"{flag}: '{given}' is not i/n", f"Write {flag} 1/4 for the first of four parts.")
    return [int(first), int(last)]


_FORMS: Mapping[str, Callable[[Any, str], Any]] = {
    **dict.fromkeys(_TEXTS, _text),
    "model_args": _arguments,
    "chat_template_args": _arguments,
    "scorer_args": scorer_args,
    "generation": _generation,
    "limit": _limit,
    "samples": _whole,
    "seed": _whole,
    "batch_size": _batch_size,
    "scorers": _by_task,
    "prompts": _by_task,
    "data_version": _versions,
    "tasks": _tasks,
    "chat_template": _chat_template,
    "shard": _shard,
}
