"""Secrets among arguments: what is given on the command line is written into run.json, report and evidence."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from safety_eval.core.errors import UserError

FROM_ENVIRONMENT = "env:"
"""env:NAME stands for the value of an environment variable, which is written down nowhere."""
_NAMES = re.compile(
    r"(^|[_-])(api|access|secret|private|auth)?[_-]?(key|token|secret|password|passwd|credentials?)$", re.I
)
_VALUES = re.compile(
    r"^(hf_[A-Za-z0-9]{20,}|sk-[\w-]{20,}|gh[pousr]_\w{20,}|xox[abp]-|AKIA[A-Z0-9]{12,}|eyJ[\w-]{20,}\.)"
)
_OF_TEXT = frozenset({"pad_token", "eos_token", "bos_token", "unk_token", "sep_token", "stop_token"})


def check(arguments: Mapping[str, str], flag: str) -> None:
    """Refuse what looks like a secret; never repeats it.

    Raises:
        UserError: by its name or its form, a value is a secret.
    """
    for name, value in arguments.items():
        looks = (_NAMES.search(name) and name not in _OF_TEXT) or _VALUES.match(str(value))
        if looks and not str(value).startswith(FROM_ENVIRONMENT):
            raise UserError(
                f"{flag}: '{name}' looks like a secret, and what is given here is written into the run folder",
                f"Put it into an environment variable and write {name}=env:VARIABLE.",
            )


def opened(arguments: Mapping[str, str]) -> dict[str, str]:
    """Arguments with the values of the environment in them, for whoever uses them; never to be written down.

    Raises:
        UserError: a variable is not set.
    """
    ready = dict(arguments)
    for name, value in arguments.items():
        if value.startswith(FROM_ENVIRONMENT):
            variable = value.removeprefix(FROM_ENVIRONMENT)
            if variable not in os.environ:
                raise UserError(f"{name}={value}: this variable is not set", f"Set it: export {variable}=...")
            ready[name] = os.environ[variable]
    return ready
