"""Put a mistake into the code, run the tests nearest to it, and see whether one fails: every promise needs such a test.

    python benchmarks/reliability/plant_faults.py                 # all of them
    python benchmarks/reliability/plant_faults.py --only journeys folder   # those whose kind or name begins so
    python benchmarks/reliability/plant_faults.py --unasked        # those without a row, with an older one, or missed
    python benchmarks/reliability/plant_faults.py --check          # only that every fault can still be planted
    python benchmarks/reliability/plant_faults.py --sound          # only that their nearest tests pass without them
    python benchmarks/reliability/plant_faults.py --write          # the table of docs/explanation/reliability.md

The mistakes are listed in `faults/*.toml` beside this file: what was written before, what is written instead, and which
tests are asked first. A mistake that they miss is asked of the whole suite. The working tree is never touched: all of
it happens in a copy, and every mistake gets a fork of a process that has the slow imports behind it, but none of ours.
Results: `planted_faults.json`, one row for each.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import py_compile
import shlex
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]
FAULTS = Path(__file__).parent / "faults"
RESULTS = Path(__file__).parent / "planted_faults.json"
PAGE = ROOT / "docs" / "explanation" / "reliability.md"
MARKS = ("<!-- planted: begin -->", "<!-- planted: end -->")
COPIED = (
    "safety_eval",
    "tests",
    "docs",
    "benchmarks",
    "notebooks",
    ".ci",
    "pyproject.toml",
    "Makefile",
    "constraints.txt",
)
HEAVY = ("numpy", "scipy.stats", "pandas", "matplotlib.pyplot", "sklearn.svm", "yaml", "pydantic")
"""Imported once, before the forks. Nothing of ours, and not torch, whose threads would not outlive a fork."""
ENDLESS = 1200
"""Seconds after which tests that do not end are a fault that was noticed."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A mistake.

    Attributes:
        kind: file of the list it stands in. name: what goes wrong, in a few words.
        file: below the root. before: text that stands there exactly once. after: what is put in its place.
        tests: arguments of pytest that choose the tests nearest to it.
        equivalent: why no test can see it ('' = one must).
    """

    kind: str
    name: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]
    equivalent: str = ""

    def planted(self, text: str) -> str:
        """The file's text with the mistake.

        Raises:
            ValueError: what was written before does not stand there exactly once.
        """
        if (times := text.count(self.before)) != 1:
            raise ValueError(f"{self.kind}: {self.name}: its line stands {times} times in {self.file}")
        return text.replace(self.before, self.after)


def faults(only: Sequence[str] = ("",)) -> list[Fault]:
    """Every listed fault whose kind or name begins with one of `only`, in the order of `only`."""
    listed = []
    for path in sorted(FAULTS.glob("*.toml")):
        for row in tomllib.loads(path.read_text(encoding="utf-8"))["fault"]:
            row["tests"] = tuple(shlex.split(row["tests"]))
            listed.append(Fault(kind=path.stem, **row))
    return [f for begin in only for f in listed if f.kind.startswith(begin) or f.name.startswith(begin)]


def unplantable(fault: Fault) -> str:
    """Why a fault cannot be planted in this tree ('' = it can)."""
    try:
        fault.planted((ROOT / fault.file).read_text(encoding="utf-8"))
    except (ValueError, FileNotFoundError) as wrong:
        return str(wrong)
    return ""


def caught(copy: Path, fault: Fault, whole: bool) -> dict[str, Any]:
    """Plant a fault in the copy, ask the tests, and take it out again."""
    path = copy / fault.file
    right = path.read_text(encoding="utf-8")
    path.write_text(fault.planted(right), encoding="utf-8")
    began = time.monotonic()
    try:
        by = _failing(copy, fault.tests)
        if not by and whole and not fault.equivalent:
            by = _failing(copy, ("-n", "2"))
    finally:
        path.write_text(right, encoding="utf-8")
    return {**asked(fault), "caught_by": by, "seconds": round(time.monotonic() - began, 1)}


def asked(fault: Fault) -> dict[str, Any]:
    """What a row keeps of the fault itself: a row that differs in it is of an older fault."""
    return {**asdict(fault), "tests": list(fault.tests)}


def _settled(fault: Fault, row: Mapping[str, Any]) -> bool:
    """Whether a row is of this very fault, and of one that was caught or cannot be."""
    same = all(row.get(name) == value for name, value in asked(fault).items())
    return same and bool(row["caught_by"] or fault.equivalent)


def _failing(copy: Path, tests: Sequence[str]) -> str:
    """The first test that fails, '' when none does.

    Raises:
        ValueError: there are no such tests.
    """
    words = ["-x", "-q", "--no-header", "-p", "no:cacheprovider", "--tb=no", *tests]
    said = copy.with_suffix(".said")
    if (pid := os.fork()) == 0:
        _child(copy, words if "-m" in tests else [*words, "-m", "not slow"], said)
    try:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # what a test started and left behind, or all of it when we are ended
    if code == pytest.ExitCode.OK:
        return ""
    lines = said.read_text(encoding="utf-8", errors="replace").splitlines()
    if code in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise ValueError(f"these tests cannot be asked: {' '.join(tests)}\n{lines[-1]}")
    named = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return named[0].split(" - ")[0] if named else f"pytest ended with {code}"


def _child(copy: Path, words: list[str], said: Path) -> NoReturn:
    """Become a run of pytest in the copy."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.alarm(ENDLESS)
    os.chdir(copy)
    sys.path[:] = [str(copy), *(place for place in sys.path if Path(place).resolve() not in (ROOT, FAULTS.parent))]
    os.environ.update(PYTHONPATH=str(copy), PYTHONDONTWRITEBYTECODE="1", MPLBACKEND="Agg", HF_HUB_OFFLINE="1")
    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number in (1, 2):
        os.dup2(file, number)
    code = 1
    try:
        code = pytest.main(words)
    finally:
        sys.stdout.flush()
        os._exit(code)  # no exit handler of the parent's: they would delete the copy


def copied(place: Path) -> Path:
    """A copy of the tree, compiled so that a file that was changed, however soon, is compiled again."""
    copy = place / "copy"
    copy.mkdir()
    for name in COPIED:
        source = ROOT / name
        shutil.copytree(source, copy / name) if source.is_dir() else shutil.copy(source, copy / name)
    for page in ROOT.glob("*.md"):
        shutil.copy(page, copy)
    by_content = py_compile.PycInvalidationMode.CHECKED_HASH
    compileall.compile_dir(copy / "safety_eval", quiet=2, force=True, invalidation_mode=by_content)
    return copy


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many of each list were caught, in Markdown, and what survived."""
    seen = [row for row in rows if not row["equivalent"]]
    planted, there = Counter(row["kind"] for row in rows), Counter(row["kind"] for row in seen)
    caught_ones = Counter(row["kind"] for row in seen if row["caught_by"])
    lines = ["| list | planted | no test could see it | caught |", "|---|---|---|---|"]
    for kind, count in sorted(planted.items()):
        lines.append(f"| {kind} | {count} | {count - there[kind]} | {caught_ones[kind]} of {there[kind]} |")
    total = f"{caught_ones.total()} of {there.total()} ({100 * caught_ones.total() / max(there.total(), 1):.1f}%)"
    lines.append(f"| all | {len(rows)} | {len(rows) - len(seen)} | {total} |")
    lost = [f"{row['kind']}, {row['name']}" for row in seen if not row["caught_by"]]
    return "\n".join(lines) + (f"\n\nSurvivors: {'; '.join(lost)}." if lost else "")


def write(rows: Sequence[Mapping[str, Any]]) -> None:
    """Put the table into the page."""
    head, _, rest = PAGE.read_text(encoding="utf-8").partition(MARKS[0])
    tail = rest.partition(MARKS[1])[2]
    PAGE.write_text(f"{head}{MARKS[0]}\n{table(rows)}\n{MARKS[1]}{tail}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[""])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--unasked", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--sound", action="store_true", help="only whether these tests pass where nothing is planted")
    parser.add_argument("--nearest", action="store_true", help="do not ask the whole suite about those that are missed")
    options = parser.parse_args()
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    rows = {(row["kind"], row["name"]): row for row in kept}
    if options.write:
        write(kept)
        return
    chosen = faults(options.only)
    if options.unasked:
        chosen = [f for f in chosen if not _settled(f, rows.get((f.kind, f.name), {}))]
    if lost := [why for fault in chosen if (why := unplantable(fault))]:
        sys.exit("\n".join([*lost, f"{len(lost)} of {len(chosen)} faults cannot be planted"]))
    if options.check:
        print(f"{len(chosen)} faults can be planted")
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    for heavy in HEAVY:
        import_module(heavy)
    with tempfile.TemporaryDirectory() as place:
        copy = copied(Path(place))
        if options.sound:
            print(_failing(copy, list(dict.fromkeys(test for f in chosen for test in f.tests))) or "all pass")
            return
        for fault in chosen:
            row = caught(copy, fault, not options.nearest)
            rows[fault.kind, fault.name] = row
            said = f"caught by {row['caught_by']}" if row["caught_by"] else "MISSED"
            print(f"{row['seconds']:6.1f} {fault.kind}: {fault.name}: {said}", flush=True)
            known = {(f.kind, f.name) for f in faults()}
            ordered = [rows[which] for which in sorted(rows) if which in known]
            RESULTS.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
    seen = [row for row in rows.values() if not row["equivalent"]]
    print(f"{sum(bool(row['caught_by']) for row in seen)} of {len(seen)} caught")


if __name__ == "__main__":
    main()
