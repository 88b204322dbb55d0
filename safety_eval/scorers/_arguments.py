"""Arguments of a scorer (`--scorer-args NAME:k=v,...`): strings, checked, none unknown."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from safety_eval.core.errors import UserError, nearest
from safety_eval.core.interfaces import ScorerSpec

CLASSIFIER = ("text", "long", "max_length", "batch_tokens", "dtype", "runtime", "threshold")
"""Arguments of every classifier (see _classifying.py)."""
DTYPES = ("auto", "float32", "bfloat16", "float16")


def check(spec: ScorerSpec, known: Collection[str]) -> None:
    """Refuse arguments that the scorer does not have.

    Raises:
        UserError: an unknown argument; the nearest is offered.
    """
    check_names(spec.name, spec.args, known)


def check_names(scorer: str, args: Mapping[str, str], known: Collection[str]) -> None:
    """The same, before there is a spec."""
    for name in args:
        if name not in known:
            raise UserError(f"scorer '{scorer}' has no argument '{name}'", nearest(name, known))


def choice(args: Mapping[str, str], name: str, known: Collection[str], default: str) -> str:
    """An argument that is one of a few words."""
    value = args.get(name, default)
    if value not in known:
        raise UserError(f"'{name}={value}' is not possible", nearest(value, known))
    return value


def whole(args: Mapping[str, str], name: str, default: int | None = None, least: int = 1) -> int | None:
    """An argument that is a whole number."""
    if name not in args:
        return default
    try:
        value = int(args[name])
    except ValueError:
        value = least - 1
    if value < least:
        raise UserError(f"'{name}={args[name]}' is not possible", f"Give a whole number of at least {least}.")
    return value


def share(args: Mapping[str, str], name: str, default: float) -> float:
    """An argument that is a probability strictly between 0 and 1."""
    try:
        value = float(args.get(name, default))
    except ValueError:
        value = -1.0
    if not 0.0 < value < 1.0:
        raise UserError(f"'{name}={args[name]}' is not possible", "Give a number between 0 and 1.")
    return value


def yes(args: Mapping[str, str], name: str, default: bool) -> bool:
    """An argument that is yes or no."""
    return choice(args, name, ("yes", "no"), "yes" if default else "no") == "yes"
