"""Red-team prompts from JSON lines: the shipped set, or a user's own file of the same form.

One object a line: `id`, `text`, `stratum` (clear, semi_clear, ambiguous, benign_twin, or a name of the
user's), `risk_area`, and, for matched sets, `cluster` (prompts of one set are resampled together). A wrong
line is an error that names every wrong line; an unusual one (very long, control characters, a small
stratum) is kept and noted.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from safety_eval.core import limits
from safety_eval.core.errors import UserError
from safety_eval.core.records import Prompt
from safety_eval.core.store import parsed

_NEEDED = ("id", "text", "stratum", "risk_area")
_KNOWN = (*_NEEDED, "cluster")
LONG = 20_000
"""Characters from which a prompt is noted as long: most context windows do not hold it."""
SMALL = 10
"""Prompts from which a stratum can be gated at all."""
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class PromptFile:
    """Prompts in the file's order, and what a reader should know about them, one sentence each."""

    prompts: tuple[Prompt, ...]
    notes: tuple[str, ...]


def shipped() -> PromptFile:
    """The package's own dual-intent prompts for coding assistants."""
    text = files("safety_eval.tasks").joinpath("_data/red_team.jsonl").read_text(encoding="utf-8")
    return parse(text, "red_team.jsonl")


def load(path: Path) -> PromptFile:
    """A user's file.

    Raises:
        UserError: the file cannot be read, or lines are wrong.
    """
    try:
        raw = limits.content(path, limits.JSON_BYTES, plain=False)
        return parse(raw.decode("utf-8-sig"), str(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", "Give the path of a JSON-lines file.") from error
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {line}: not UTF-8", "Save the file as UTF-8.") from error
    except ValueError as error:
        raise UserError(f"{path} cannot be read: {error}", "Give a smaller file.") from error


def parse(text: str, source: str) -> PromptFile:
    """Prompts of JSON lines; `source` is named in messages.

    Raises:
        UserError: no prompts, or wrong lines (each is named with what is wrong).
    """
    prompts: list[Prompt] = []
    wrong: list[str] = []
    notes: list[str] = []
    first: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        row, complaint = _row(line)
        if not complaint and row["id"] in first:
            complaint = f"the id '{_visible(row['id'])}' is already on line {first[row['id']]}"
        if complaint:
            wrong.append(f"line {number}: {complaint}")
            continue
        first[row["id"]] = number
        prompts.append(_prompt(row))
        notes += [f"{source}, line {number}: {note}" for note in _unusual(row["text"])]
    if wrong:
        more = f" (and {len(wrong) - _SHOWN} more)" if len(wrong) > _SHOWN else ""
        raise UserError(
            f"{source}: " + "; ".join(wrong[:_SHOWN]) + more,
            f"Each line is a JSON object with {', '.join(_NEEDED)} and, for matched sets, cluster.",
        )
    if not prompts:
        raise UserError(f"{source}: no prompts", "Write one JSON object a line.")
    return PromptFile(tuple(prompts), (*notes, *_small(prompts)))


def _row(line: str) -> tuple[dict[str, Any], str]:
    try:
        row = parsed(line.encode())
    except ValueError as error:
        return {}, f"not JSON ({error})"
    if not isinstance(row, dict):
        return {}, "not a JSON object"
    absent = [name for name in _NEEDED if name not in row]
    if absent:
        return {}, f"the field '{absent[0]}' is missing"
    for name in _KNOWN:
        value = row.get(name, "x")
        if not isinstance(value, str) or not value.strip():
            return {}, f"the field '{name}' must be a text that is not empty"
    unknown = [name for name in row if name not in _KNOWN]
    if unknown:
        return {}, f"unknown field '{_visible(unknown[0])}'"
    if any(unicodedata.category(c) == "Cs" for c in row["text"]):
        return {}, "the text holds half of a surrogate pair, which no tokenizer can read"
    return row, ""


def _prompt(row: dict[str, Any]) -> Prompt:
    return Prompt(
        task="red_team",
        id=row["id"],
        text=row["text"],
        groups={"stratum": (row["stratum"],), "risk_area": (row["risk_area"],)},
        factors={"stratum": row["stratum"], "risk_area": row["risk_area"]},
        cluster=row.get("cluster", ""),
    )


def _unusual(text: str) -> list[str]:
    found = []
    if len(text) >= LONG:
        found.append(f"{len(text):,} characters; kept, but it may not fit the model's context.")
    control = sorted({c for c in text if unicodedata.category(c) == "Cc" and c not in "\n\r\t"})
    if control:
        shown = ", ".join(f"U+{ord(c):04X}" for c in control[:4])
        found.append(f"control characters ({shown}); kept, and asked as they are.")
    return found


def _small(prompts: list[Prompt]) -> list[str]:
    counts = Counter(prompt.factors["stratum"] for prompt in prompts)
    return [
        f"stratum '{_visible(name)}' has {count} prompt{'s' if count > 1 else ''}: "
        "shown, but too few to gate (10) or to draw a "
        f"curve (30)."
        for name, count in counts.items()
        if count < SMALL
    ]


def _visible(text: str) -> str:
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text[:80])
