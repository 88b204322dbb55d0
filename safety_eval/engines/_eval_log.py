"""Inspect's `.eval` logs: a ZIP of JSON files, read without inspect_ai and within limits.

Nothing is extracted to disk. What a member claims of its size is not believed: no more than a limit is ever unpacked.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from safety_eval.core import packages
from safety_eval.core.errors import UserError
from safety_eval.core.store import parsed
from safety_eval.engines import _answer_rows as rows
from safety_eval.engines._answer_rows import FaultError, Row, Source

FILE_BYTES = 1 << 30
MEMBER_BYTES = 64 << 20
ALL_BYTES = 4 << 30
"""Of one file, of one unpacked member, and of all unpacked members together."""
_BROKEN = (zipfile.BadZipFile, EOFError, RuntimeError, OSError, ValueError, ArithmeticError, zlib.error, struct.error)
"""What reading a ZIP file that is none, or is packed in a way that Python does not know, may end with."""
_ZSTANDARD = 93
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_SAMPLE = re.compile(r"samples/.+\.json")
_SETTINGS = {"max_tokens": "max_new_tokens", "temperature": "temperature", "top_p": "top_p", "seed": "seed"}
"""Inspect's names of settings -> ours."""


def needs_zstandard(path: Path) -> bool:
    """Whether a log holds members that Python itself does not unpack (Inspect writes them)."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(member.compress_type == _ZSTANDARD for member in archive.infolist())
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return False


def read(path: Path) -> Source:
    """The answers of a log.

    Raises:
        FaultError: what is wrong with it, and where. UserError: the package that unpacks it is missing.
    """
    if not path.is_file():
        raise FaultError("it is not a plain file")
    if path.stat().st_size > FILE_BYTES:
        raise FaultError(f"it is larger than {FILE_BYTES >> 30} GB")
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        try:
            with zipfile.ZipFile(file) as archive:
                return _source(_Unpacked(archive, file), sha256)
        except _BROKEN as error:
            raise FaultError(f"it is no whole ZIP file: {error}") from None


class _Unpacked:
    """Members of an archive, unpacked one after another, within what all of them may hold."""

    def __init__(self, archive: zipfile.ZipFile, file: IO[bytes]) -> None:
        self._archive, self._file, self._left = archive, file, ALL_BYTES
        self.names = archive.namelist()
        if len(self.names) > rows.MOST_ROWS or len(set(self.names)) != len(self.names):
            raise FaultError("it holds too many members, or one name twice")

    def value(self, name: str) -> Any:
        """The JSON value of a member."""
        member = self._archive.getinfo(name)
        most = min(MEMBER_BYTES, self._left)
        content = self._zstandard(member, most) if member.compress_type == _ZSTANDARD else self._other(member, most)
        if len(content) > most:
            raise FaultError(f"{name[:80]} unpacks to more than {most >> 20} MB")
        self._left -= len(content)
        try:
            return parsed(content, lenient=True)
        except ValueError as error:
            raise FaultError(f"{name[:80]} is not JSON: {error}") from None

    def _other(self, member: zipfile.ZipInfo, most: int) -> bytes:
        with self._archive.open(member) as packed:
            return packed.read(most + 1)

    def _zstandard(self, member: zipfile.ZipInfo, most: int) -> bytes:
        try:
            import zstandard
        except ImportError as error:
            raise UserError("Inspect's logs are packed with zstandard", packages.advice("zstandard")) from error
        self._file.seek(member.header_offset)
        head = self._file.read(_LOCAL_HEADER.size)
        if len(head) < _LOCAL_HEADER.size or not head.startswith(b"PK\x03\x04"):
            raise FaultError(f"{member.filename[:80]} is not where the directory of the ZIP file says")
        _, name, extra = _LOCAL_HEADER.unpack(head)
        self._file.seek(member.header_offset + _LOCAL_HEADER.size + name + extra)
        packed = self._file.read(min(member.compress_size, MEMBER_BYTES))
        try:
            with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(
                packed, read_across_frames=True
            ) as reader:
                content = bytes(reader.read(most + 1))
        except zstandard.ZstdError as error:
            raise FaultError(f"{member.filename[:80]} cannot be unpacked: {error}") from None
        if len(content) <= most and zlib.crc32(content) != member.CRC:
            raise FaultError(f"{member.filename[:80]} is damaged: its checksum differs")
        return content


def _source(log: _Unpacked, sha256: str) -> Source:
    if "header.json" not in log.names:
        raise FaultError("it has no header.json: the evaluation never ended")
    head = _mapping(log.value("header.json"))
    about = _mapping(head.get("eval"))
    version = _mapping(about.get("packages")).get("inspect_ai")
    found = rows.held(_row(log.value(name), name) for name in log.names if _SAMPLE.fullmatch(name))
    settings = _settings(
        _mapping(about.get("model_generate_config")), _mapping(_mapping(head.get("plan")).get("config"))
    )
    if len(systems := {row.system for row in found}) > 1:
        raise FaultError("its prompts were asked under different system turns")
    if system := next(iter(systems)):
        settings["system_prompt"] = system
    return Source(
        "inspect",
        sha256,
        found,
        model=rows.text_or_none(about.get("model"), "header.json", "eval.model") or "",
        made_by=f"inspect_ai {rows.name_of(version, 'header.json', 'the version')}".strip(),
        settings=settings,
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _settings(own: Mapping[str, Any], planned: Mapping[str, Any]) -> dict[str, Any]:
    """How the model was asked; what the task planned replaces what the model had."""
    told = {**own, **{name: value for name, value in planned.items() if value is not None}}
    found: dict[str, Any] = {ours: rows.number(told[name]) for name, ours in _SETTINGS.items() if name in told}
    stop = told.get("stop_seqs")
    if isinstance(stop, list) and all(isinstance(one, str) for one in stop):
        found["stop"] = [rows.words(one, "header.json", "a stop string") for one in stop]
    if told.get("system_message") is not None:
        found["system_prompt"] = rows.words(told["system_message"], "header.json", "system_message")
    return found


def _row(value: Any, place: str) -> Row:
    place = place[:200]
    if not isinstance(value, dict):
        raise FaultError(f"{place} is not a sample")
    kept = _mapping(value.get("attachments"))
    text, reasoning, ended, filtered = _said(_mapping(value.get("output")), place, kept)
    used = _mapping(_mapping(value.get("output")).get("usage"))
    error = "withheld by a content filter" if filtered else _failed(value.get("error"))
    prompt, system = _asked(value, place, kept)
    return Row(
        place,
        id=rows.name_of(value.get("id"), place, "the id"),
        prompt=prompt,
        system=system,
        repeat=rows.repeat_of(value.get("epoch", 1), place, first=1),
        text=None if error else text,
        reasoning=reasoning,
        stop_reason=ended,
        prompt_tokens=rows.count(used.get("input_tokens")),
        output_tokens=rows.count(used.get("output_tokens")),
        error=error,
    )


def _failed(error: Any) -> str:
    """Why a sample has no answer, in its own words; '' = it has one."""
    if error is None:
        return ""
    told = _mapping(error).get("message")
    return "failed where it was made" + (f", {json.dumps(told[:160])}" if isinstance(told, str) else "")


def _asked(sample: Mapping[str, Any], place: str, kept: Mapping[str, Any]) -> tuple[str, str]:
    """(wording, system turn that a solver put before it). The wording is what the model read, not what the data set
    held: the turns before the last answer, one below the other, as `Prompt.asked` joins them."""
    given = sample.get("input")
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if not isinstance(given, list):
        raise FaultError(f"{place}: the input is neither a text nor messages")
    first = [_mapping(turn) for turn in given]
    told = sample.get("messages")
    turns = [_mapping(turn) for turn in told] if isinstance(told, list) and told else first
    if turns[-1].get("role") == "assistant" and len(turns) > 1:
        turns = turns[:-1]
    system = ""
    if turns[0].get("role") == "system" and not (first and first[0].get("role") == "system"):
        system, turns = _content(turns[0].get("content"), place, kept)[0], turns[1:]
    return "\n\n".join(_content(turn.get("content"), place, kept)[0] for turn in turns), system


def _said(output: Mapping[str, Any], place: str, kept: Mapping[str, Any]) -> tuple[str | None, str, str, bool]:
    """(answer, thought, how it ended, whether a filter withheld it)."""
    chosen = output.get("choices")
    if not isinstance(chosen, list) or not chosen:
        return None, "", "", False
    first = _mapping(chosen[0])
    ended = first.get("stop_reason")
    text, thought = _content(_mapping(first.get("message")).get("content"), place, kept)
    return text, thought, rows.ENDS.get(str(ended), ""), ended == "content_filter"


def _content(value: Any, place: str, kept: Mapping[str, Any]) -> tuple[str, str]:
    """(text, thought) of a message: a text, or parts of which some are thoughts."""
    if isinstance(value, str):
        return rows.words(_attached(value, kept), place, "a message"), ""
    if not isinstance(value, list):
        raise FaultError(f"{place}: a message has no content")
    told: dict[str, list[str]] = {"text": [], "reasoning": []}
    for part in value:
        kind = _mapping(part).get("type")
        if kind not in told:
            raise FaultError(f"{place}: a message holds something other than text ({str(kind)[:40]})")
        told[kind].append(rows.words(_attached(part.get(kind), kept), place, "a message"))
    return "\n".join(told["text"]), "\n".join(told["reasoning"])


def _attached(value: Any, kept: Mapping[str, Any]) -> Any:
    """Long texts stand elsewhere in the sample."""
    name = value.removeprefix("attachment://") if isinstance(value, str) else ""
    return kept.get(name, value) if name != value else value
