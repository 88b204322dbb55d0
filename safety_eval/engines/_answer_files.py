"""Files of answers that are lines: CSV, JSON lines, and the samples of lm-eval."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from safety_eval.core import limits
from safety_eval.core.store import parsed
from safety_eval.engines import _answer_rows as rows
from safety_eval.engines._answer_rows import FaultError, Row, Source

_ID, _PROMPT, _TEXT, _REPEAT = "id", "prompt", "text", "repeat"
_OTHERS = ("reasoning", "stop_reason", "choice_logprobs", "prompt_tokens", "output_tokens", "error")
COLUMNS = (_ID, _PROMPT, _TEXT, _REPEAT, *_OTHERS)
_ALSO = {"prompt_id": _ID, "sample": _REPEAT}
"""Names of our own records."""
_LM_EVAL = frozenset({"doc_id", "doc", "arguments", "resps"})
_GENERATION = {"max_gen_toks": "max_new_tokens", "temperature": "temperature", "top_p": "top_p"}
"""lm-eval's names of settings -> ours."""


def read(path: Path) -> Source:
    """The answers of a .csv or .jsonl file.

    Raises:
        FaultError: what is wrong with it, and where.
    """
    try:
        content = limits.content(path, limits.JSON_BYTES, plain=False)
    except ValueError as error:
        raise FaultError(str(error)) from None
    sha256 = hashlib.sha256(content).hexdigest()
    if path.suffix.lower() == ".csv":
        table = list(_csv_lines(content))
        return Source("csv", sha256, rows.held(_plain_row(row, place) for place, row in table), left=_left(table))
    lines = list(_json_lines(content))
    if lines and set(lines[0][1]) >= _LM_EVAL:
        return _of_lm_eval(lines, sha256)
    return Source("jsonl", sha256, rows.held(_plain_row(row, place) for place, row in lines), left=_left(lines))


def _left(lines: list[tuple[str, dict[str, Any]]]) -> tuple[str, ...]:
    """Columns that nobody reads: a misspelt one is told."""
    known = {*COLUMNS, *_ALSO}
    return tuple(sorted({str(name)[:60] for _, row in lines[:1000] for name in row} - known))


def _json_lines(content: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(content.splitlines(), 1):
        place = f"line {number}"
        if len(line) > limits.LINE_BYTES:
            raise FaultError(f"{place} is longer than {limits.LINE_BYTES >> 20} MB")
        if not line.strip():
            continue
        try:
            row = parsed(line, lenient=True)
        except ValueError as error:
            raise FaultError(f"{place} is not JSON: {error}") from None
        if not isinstance(row, dict):
            raise FaultError(f"{place} is not a JSON object")
        yield place, row


def _csv_lines(content: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows by the names of the first line; an empty cell is none."""
    before = csv.field_size_limit(limits.LINE_BYTES)
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        heads = reader.fieldnames or []
        if len(set(heads)) != len(heads):
            raise FaultError("two columns have one name")
        for row in reader:
            place = f"line {reader.line_num}"
            if None in row or None in row.values():
                raise FaultError(f"{place} has not as many cells as the first line")
            yield place, {name: value for name, value in row.items() if value != ""}
    except UnicodeDecodeError:
        raise FaultError("it is not UTF-8") from None
    except csv.Error as error:
        raise FaultError(f"it is not CSV: {error}") from None
    finally:
        csv.field_size_limit(before)


def _plain_row(row: Mapping[str, Any], place: str) -> Row:
    named = {_ALSO.get(name, name): value for name, value in row.items()}
    ended = named.get("stop_reason")
    if ended not in (None, "", *rows.ENDS):
        raise FaultError(f"{place}: stop_reason is none of {', '.join(rows.ENDS)}")
    return Row(
        place,
        id=rows.name_of(named.get(_ID), place, "the id"),
        prompt=rows.text_or_none(named.get(_PROMPT), place, "the prompt") or "",
        repeat=rows.repeat_of(named.get(_REPEAT, 0), place),
        text=rows.text_or_none(named.get(_TEXT), place, "the text"),
        reasoning=rows.text_or_none(named.get("reasoning"), place, "the reasoning") or "",
        likelihoods=_likelihoods(named.get("choice_logprobs"), place),
        stop_reason=rows.ENDS.get(str(ended or ""), ""),
        prompt_tokens=rows.count(_whole(named.get("prompt_tokens"))),
        output_tokens=rows.count(_whole(named.get("output_tokens"))),
        error=(rows.text_or_none(named.get("error"), place, "the error") or "")[:200],
    )


def _whole(value: Any) -> Any:
    """A number in a cell of CSV."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12 else value


def _likelihoods(value: Any, place: str) -> tuple[tuple[str, float], ...]:
    """A list of numbers, in a cell of CSV as JSON."""
    if value in (None, []):
        return ()
    if isinstance(value, str):
        try:
            value = parsed(value.encode(), lenient=True)
        except ValueError:
            value = None
    if not isinstance(value, list):
        raise FaultError(f"{place}: choice_logprobs is not a list of numbers")
    return tuple(("", rows.likelihood(one, place)) for one in value)


def _of_lm_eval(lines: list[tuple[str, dict[str, Any]]], sha256: str) -> Source:
    """Each line is a document; a second filter says the same answers again. How it was asked stands in the lines."""
    first = lines[0][1].get("filter")
    taken = [(place, row) for place, row in lines if row.get("filter") == first]
    found = [answer for place, row in taken for answer in _answers(row, place)]
    return Source("lm-eval", sha256, rows.held(found), made_by="lm-eval", settings=_asked(taken[0][1]))


def _requests(row: Mapping[str, Any], place: str) -> list[tuple[str, Any, list[Any]]]:
    """(context, second argument, replies) of each request that was made for a document."""
    arguments, replies = row.get("arguments"), row.get("resps")
    if not isinstance(arguments, dict) or not isinstance(replies, list) or len(arguments) != len(replies):
        raise FaultError(f"{place}: its arguments and resps are not those of one document")
    requests = []
    for index, reply in enumerate(replies):
        asked = arguments.get(f"gen_args_{index}")
        if not isinstance(asked, dict) or not isinstance(reply, list):
            raise FaultError(f"{place}: its arguments and resps are not as lm-eval writes them")
        context = rows.words(asked.get("arg_0"), place, "the prompt")
        requests.append((context, _second(asked.get("arg_1"), reply), reply))
    return requests


def _second(argument: Any, reply: list[Any]) -> Any:
    """A choice, or the settings of generation: `export --format lm-eval` writes them as JSON in a text."""
    if isinstance(argument, str) and reply and isinstance(reply[0], str):
        with suppress(ValueError):
            settings = parsed(argument.encode())
            return settings if isinstance(settings, dict) else argument
    return argument


def _answers(row: Mapping[str, Any], place: str) -> Iterator[Row]:
    requests = _requests(row, place)
    if not requests:
        raise FaultError(f"{place}: nothing was asked")
    context, second, replies = requests[0]
    if isinstance(second, str):
        if any(other != context for other, _, _ in requests):
            raise FaultError(f"{place}: its choices were asked behind different prompts")
        weighed = tuple((rows.words(c, place, "a choice"), _weight(reply, place)) for _, c, reply in requests)
        if len(dict(weighed)) != len(weighed):
            raise FaultError(f"{place}: a choice stands there twice")
        yield Row(place, prompt=context, likelihoods=weighed)
        return
    for repeat, reply in enumerate(replies):
        yield Row(place, prompt=context, repeat=repeat, text=rows.text_or_none(reply, place, "the answer"))


def _weight(reply: list[Any], place: str) -> float:
    """A choice's log-likelihood: [[value, greedy]]."""
    pair = reply[0] if reply else None
    if not isinstance(pair, list) or not pair:
        raise FaultError(f"{place}: a choice has no log-likelihood")
    return rows.likelihood(pair[0], place)


def _asked(row: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of generation, where the first document tells them."""
    told = _requests(row, "the first document")[0][1]
    if not isinstance(told, dict):
        return {}
    found: dict[str, Any] = {ours: rows.number(told[name]) for name, ours in _GENERATION.items() if name in told}
    if told.get("do_sample") is False:
        found["temperature"] = 0.0
    until = told.get("until")
    if isinstance(until, str):
        until = [until]
    if isinstance(until, list) and all(isinstance(one, str) for one in until):
        found["stop"] = [rows.words(one, "the first document", "a stop string") for one in until]
    return found
