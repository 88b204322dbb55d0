"""What evidence says of a run without its system prompt and without the folders that things lay in.

Verdicts, pins and the journal's digests are made of this form alone, so that a redacted copy, which holds nothing else,
is judged and checked like the whole.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from safety_eval.core.records import digest, plain

_SEALED = re.compile(r"sha256:[0-9a-f]{64}")
_WHOLE = re.compile(r"(?:[/\\]|~\w*[/\\]|\.\.[/\\]|[A-Za-z]:[/\\]|file:).*[^/\\]", re.S)
_INSIDE = re.compile(r"""(?<![\w./\\~<])(?:~?/(?!/)|~\w+/|\.\./|[A-Za-z]:[/\\]|file:/)[^\s'"|,;:()\[\]{}<>]+""")
_SEALED_FIELDS = frozenset({"system_prompt", "base_url"})
"""Fields of which the digest alone may be known: a prompt's text, and where a server is."""
_BETWEEN = re.compile(r"[/\\]+")
_ENDS = "/\\"
_MOST_CHANGES = 99
_PLACES = frozenset({"data", "policy", "output_path", "prompts"})
"""Fields that hold a path, also where it does not begin at the root."""


def conceal(value: Any, field: str = "") -> Any:
    """A JSON value with a digest in place of a system prompt or a server's address, and '.../NAME' in place of a path.

    Twice is the same as once. `field`: name under which the value stands.
    """
    value = plain(value)
    if isinstance(value, Mapping):
        below = field if field == "prompts" else ""
        return {conceal(k): conceal(v, below or k) for k, v in value.items()}
    if isinstance(value, list):
        return [conceal(v, field) for v in value]
    if not isinstance(value, str):
        return value
    if field in _SEALED_FIELDS:
        return sealed(value)
    return _settled(partial(_text, place=field in _PLACES), value)


def bound(value: Any) -> str:
    """Digest of the form that `conceal` gives: what the journal binds of a value."""
    return digest(conceal(value))


def sealed(text: str) -> str:
    """'sha256:' and the digest of a text; '' and what is sealed already stay."""
    if not text or is_sealed(text):
        return text
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


def is_sealed(text: str) -> bool:
    """Whether a text is a digest that stands for another one."""
    return _SEALED.fullmatch(text) is not None


def without_paths(text: str) -> str:
    """A sentence in which every absolute path, and every one that begins at somebody's home, is '.../NAME'."""
    return _settled(partial(_INSIDE.sub, lambda path: _last(path.group())), text)


def _text(text: str, place: bool) -> str:
    if _WHOLE.fullmatch(text) or (place and _BETWEEN.search(text)):
        return _last(text)
    return without_paths(text)


def _settled(change: Callable[[str], str], text: str) -> str:
    """A text changed until it stays: what is left of one path may begin like another."""
    for _ in range(_MOST_CHANGES):
        before, text = text, change(text)
        if text == before:
            break
    return text


def _last(path: str) -> str:
    return f".../{_BETWEEN.split(path.rstrip(_ENDS))[-1]}"
