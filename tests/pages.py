"""The code blocks of the documentation, and what a reason not to run one may be."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SHOWN = ("text", "")
"""Languages of blocks that show output, files or pictures: no command, no code."""


class NotRun(Enum):
    """Why a block is not run: `<!-- not run in the tests: REASON -->` in the line above it."""

    MACHINE = "sets up a machine"
    """.ci/run, .ci/extras and .ci/consumers do it."""
    HUB = "needs the Hub"
    NETWORK = "needs the network"
    SERVER = "needs a server"
    GPU = "needs a GPU"
    CLUSTER = "needs a cluster"
    ACCOUNT = "needs an account"
    HOURS = "takes hours"


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: below the repository. line: of its first fence.
        why_not: the reason as written why it is not run ('' = it is run).
    """

    page: str
    line: int
    language: str
    code: str
    why_not: str

    def commands(self) -> list[str]:
        """The lines of a bash block, continued ones joined."""
        lines = self.code.replace("\\\n", " ").splitlines()
        return [line for line in lines if shlex.split(line, comments=True)]


_FENCE = re.compile(r"(?:^ *<!-- not run in the tests: ([^>]*) -->\n)?^( *)```(\w*)\n(.*?)^\2```$", re.S | re.M)


def blocks(page: Path | str, language: str = "") -> list[Block]:
    """Blocks of a page, of one language or of every language."""
    path = ROOT / page
    text = path.read_text(encoding="utf-8")
    name = path.relative_to(ROOT).as_posix()
    every = [
        Block(name, text[: m.start(2)].count("\n") + 1, m[3], re.sub(f"^{m[2]}", "", m[4], flags=re.M), m[1] or "")
        for m in _FENCE.finditer(text)
    ]
    return [block for block in every if language in ("", block.language)]


def prose(page: Path) -> str:
    """A page without its blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))
