"""The chat template under fixed conditions: the run's date instead of the clock, arguments of the user's, bounded work.

Some templates print today's date (Llama 3.2), so that the same prompt is another one tomorrow. They are found by
rendering at two clocks; then the date of the run stands in the engine's identity. A template is code of the model's:
the first rendering happens in a child process with little time and memory, so that an endless one costs seconds.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from safety_eval.core.errors import UserError
from safety_eval.core.interfaces import Settings
from safety_eval.core.records import Prompt
from safety_eval.engines._transformers.render import Given, render

_SECONDS, _BYTES, _CHARACTERS = 10, 2 << 30, 1_000_000
"""What rendering one short prompt may take: processor time, memory, and the length of the text."""
_CONSTANTS: Mapping[str, Any] = {"true": True, "false": False, "none": None}


def arguments(given: Mapping[str, str]) -> Given:
    """What the template is given beside the turns: the user's arguments, and the date in place of the clock.

    Args:
        given: of `--chat-template-args`; `date` is YYYY-MM-DD, today where it is missing. true, false, none and whole
            numbers are read as such.

    Raises:
        UserError: a date that is none.
    """
    others = {name: _value(text) for name, text in given.items() if name != "date"}
    text = given.get("date") or datetime.now().strftime("%Y-%m-%d")
    try:
        return Given(others, datetime.strptime(text, "%Y-%m-%d"))
    except ValueError as error:
        raise UserError(f"--chat-template-args date={text} is no date", "Write date=YYYY-MM-DD.") from error


def _value(text: str) -> Any:
    if text.lower() in _CONSTANTS:
        return _CONSTANTS[text.lower()]
    return int(text) if text.lstrip("-").isdigit() else text


def examine(tokenizer: Any, name: str, given: Mapping[str, str]) -> dict[str, Any]:
    """What of the template's conditions belongs into the engine's identity: the arguments, and the date where it shows.

    Raises:
        UserError: the template is endless, huge, not a template, or says something else each time.
    """
    facts: dict[str, Any] = {}
    if others := {key: value for key, value in given.items() if key != "date"}:
        facts["template_args"] = others
    if not tokenizer.chat_template:
        return facts
    ready = arguments(given)
    _bounded(lambda: _rendered(tokenizer, ready), name)
    first, again = _rendered(tokenizer, ready), _rendered(tokenizer, ready)
    if first != again:
        raise UserError(
            f"the chat template of {name} gives another text each time it is used",
            "Mend the template, or run without it: --no-apply-chat-template.",
        )
    later = datetime(2031, 2, 3) + timedelta(hours=5, minutes=6, seconds=7)
    if ready.now is not None and _rendered(tokenizer, Given(ready.args, later)) != first:
        facts["template_date"] = f"{ready.now:%Y-%m-%d}"
    return facts


def _rendered(tokenizer: Any, ready: Given) -> str:
    """A short prompt through the template; a template that refuses it says so by the error's text."""
    settings = Settings("template", chat_template=True)
    try:
        return render(tokenizer, Prompt("template", "0", "What is the capital of France?"), settings, ready).text
    except Exception as error:  # what a template raises is its own; prompts record it one by one
        return f"{type(error).__name__}: {error}"


def _bounded(work: Callable[[], str], name: str) -> None:
    """Do the work in a child process with little time and memory first.

    Raises:
        UserError: it does not end, or its text is huge.
    """
    if not hasattr(os, "fork") or not sys.platform.startswith("linux"):
        return
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the child runs no other thread's code
        child = os.fork()
    if child == 0:
        _in_child(work, write)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    if not said.isdigit() or int(said) > _CHARACTERS:
        what = f"writes {int(said):,} characters for a short prompt" if said.isdigit() else "does not end"
        raise UserError(
            f"the chat template of {name} {what}",
            "Mend the template (chat_template in tokenizer_config.json, or chat_template.jinja), or run without it: "
            "--no-apply-chat-template.",
        )


def _in_child(work: Callable[[], str], write: int) -> None:
    import resource

    code = 1
    try:
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + _BYTES, now + _BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        text = work()
        if not text.startswith("MemoryError"):
            os.write(write, str(len(text)).encode())
        code = 0
    finally:
        os._exit(code)
