"""What a model thinks and what it answers: the marks of each family as data, and a text parted by them.

The marks are facts of the published chat templates and of vLLM's registered parsers (0.32). A new family is a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True)
class Text:
    """What an answer says. `closed` is False while a thought is open, or before the final channel: no answer yet."""

    answer: str
    reasoning: str
    closed: bool


@dataclass(frozen=True, slots=True)
class Family:
    """How one family of models marks its thoughts.

    Attributes:
        name: for `--model-args reasoning_parser=`.
        starts, ends: marks before and behind a thought.
        label: a word behind the opening mark that is no thought.
        wraps: marks around the answer that are no part of it, as (before, behind).
        in_words: the marks are ordinary words, so that they count at the beginning alone.
    """

    name: str
    starts: tuple[str, ...]
    ends: tuple[str, ...]
    label: str = ""
    wraps: tuple[tuple[str, str], ...] = ()
    in_words: bool = False


HARMONY = Family("harmony", ("<|channel|>",), ("<|channel|>final<|message|>",))
"""gpt-oss: messages in channels, of which only 'final' is the answer."""
FAMILIES: tuple[Family, ...] = (
    HARMONY,
    Family("think", ("<think>",), ("</think>",), wraps=(("<response>", "</response>"), ("<answer>", "</answer>"))),
    Family("mistral", ("[THINK]",), ("[/THINK]",)),
    Family("gemma4", ("<|channel>",), ("<channel|>",), label="thought\n"),
    Family("seed_oss", ("<seed:think>",), ("</seed:think>",)),
    Family(
        "cohere",
        ("<|START_THINKING|>",),
        ("<|END_THINKING|>",),
        wraps=(("<|START_RESPONSE|>", "<|END_RESPONSE|>"), ("<|START_TEXT|>", "<|END_TEXT|>")),
    ),
    Family("kimi", ("◁think▷",), ("◁/think▷",)),
    Family(
        "kimi_k3",
        ("<|open|>think<|sep|>",),
        ("<|close|>think<|sep|>",),
        wraps=(("<|open|>response<|sep|>", "<|close|>response<|sep|>"),),
    ),
    Family("minimax_m3", ("<mm:think>",), ("</mm:think>",)),
    Family("plamo", ("<|plamo:begin_think:plamo|>",), ("<|plamo:end_think:plamo|>",)),
    Family(
        "k2_horizon",
        ("<ifm|think>", "<ifm|think_fast>", "<ifm|think_faster>"),
        ("</ifm|think>", "</ifm|think_fast>", "</ifm|think_faster>"),
    ),
    Family("exaone", ("<thought>",), ("</thought>",)),
    Family("reka", ("<reasoning>",), ("</reasoning>",)),
    Family(
        "granite",
        ("Here is my thought process:", "Here's my thought process:"),
        ("Here is my response:", "Here's my response:"),
        in_words=True,
    ),
)
BY_NAME: Mapping[str, Family] = {family.name: family for family in FAMILIES}
_MESSAGE = re.compile(
    r"(?:<\|start\|>[^<]*)?<\|channel\|>\s*(?P<channel>\w+)(?P<head>(?:(?!<\|message\|>).)*?)<\|message\|>"
    r"(?P<said>.*?)(?P<end><\|end\|>|<\|return\|>|<\|call\|>|(?=<\|start\|>|<\|channel\|>)|$)",
    re.DOTALL,
)
_LONGEST_HEAD = 64
"""Characters of an answer in which its first mark stands."""


def opened_by(rendered: str) -> str:
    """The opening mark that a rendered prompt ends with, '' for none."""
    end = rendered.rstrip()
    return next((s for f in FAMILIES for s in f.starts if f is not HARMONY and _ends_with(end, s, f.label)), "")


def _ends_with(text: str, start: str, label: str) -> bool:
    return text.endswith(start) or bool(label) and text.endswith(start + label.strip())


def family_of(head: str, opened: str = "") -> Family | None:
    """The family of an answer, from the mark that its prompt ended with or that it begins with.

    Args:
        head: the beginning of the answer, marks included.
    """
    if opened:
        return next((f for f in FAMILIES if opened in f.starts), None)
    begin = head.lstrip()[:_LONGEST_HEAD]
    return next((f for f in FAMILIES for s in f.starts if begin.startswith(s)), None)


def parted(text: str, family: Family | None, opened: str = "") -> Text:
    """Thought and answer of a text, its marks included.

    Args:
        family: see `family_of`; None = the text is the answer, unless a closing mark tells that its prompt had opened
            a thought which nobody saw (as servers do).
        opened: the prompt ended with this opening mark, so that the text begins inside the thought.
    """
    if family is None:
        family = _closes(text)
        if family is None:
            return Text(text, "", True)
        opened = family.starts[0]
    if family is HARMONY:
        return _of_channels(text)
    return _of_blocks(text, family, bool(opened))


def _closes(text: str) -> Family | None:
    """The family whose closing mark stands in a text without any opening one."""
    found = (f for f in FAMILIES if f is not HARMONY and not f.in_words)
    return next((f for f in found if any(e in text for e in f.ends) and not any(s in text for s in f.starts)), None)


def _of_channels(text: str) -> Text:
    """Harmony. A final message is the answer; analysis, commentary and calls are not."""
    final: list[str] = []
    thoughts: list[str] = []
    for message in _MESSAGE.finditer(text):
        (final if message["channel"] == "final" else thoughts).append(message["said"])
    return Text("".join(final), "\n".join(part.strip() for part in thoughts if part.strip()), bool(final))


def _of_blocks(text: str, family: Family, inside: bool) -> Text:
    """Every block of thought taken out; the text behind the last one, and between them, is the answer."""
    answer = ""
    thoughts: list[str] = []
    rest = text if inside else text.lstrip()
    while True:
        if inside or not answer.strip() and any(rest.startswith(s) for s in family.starts):
            rest = rest if inside else _behind(rest, family.starts)
        else:
            head, mark, tail = _at_first(rest, () if family.in_words else family.starts)
            answer += head
            if not mark:
                return Text(_unwrapped(answer, family), "\n".join(thoughts), True)
            rest = tail
        thought, mark, rest = _at_first(_twice(rest, family), family.ends)
        thoughts.append(thought.removeprefix(family.label).strip())
        if not mark:
            return Text("", "\n".join(t for t in thoughts if t), False)
        inside = False
        rest = rest.lstrip("\n") if not answer.strip() else rest


def _twice(rest: str, family: Family) -> str:
    """Without an opening mark that repeats the prompt's."""
    bare = rest.lstrip()
    return _behind(bare, family.starts) if any(bare.startswith(s) for s in family.starts) else rest


def _behind(text: str, marks: tuple[str, ...]) -> str:
    return text[max(len(m) for m in marks if text.startswith(m)) :]


def _at_first(text: str, marks: tuple[str, ...]) -> tuple[str, str, str]:
    """As `str.partition`, at the first of several marks."""
    places = [(at, -len(m), m) for m in marks if (at := text.find(m)) >= 0]
    return text.partition(min(places)[2]) if places else (text, "", "")


def _unwrapped(answer: str, family: Family) -> str:
    for before, behind in family.wraps:
        bare = answer.strip()
        if bare.startswith(before):
            answer = bare.removeprefix(before).removesuffix(behind).strip("\n")
    return answer


@cache
def marks() -> frozenset[str]:
    """Every mark, and the marks of channels: special tokens that have to be kept until a text is parted."""
    return frozenset(_marks())


def _marks() -> Iterator[str]:
    yield from ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>", "<|call|>", "<|constrain|>")
    yield from ("<|open|>", "<|close|>", "<|sep|>")
    for family in FAMILIES:
        yield from (*family.starts, *family.ends, *(mark for pair in family.wraps for mark in pair))
