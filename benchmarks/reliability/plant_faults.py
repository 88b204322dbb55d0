"""Put a mistake into the code, run the tests nearest to it, and see whether one fails: every promise needs such a test.

    python benchmarks/reliability/plant_faults.py                 # all of them
    python benchmarks/reliability/plant_faults.py --only journeys  # those whose kind or name begins so
    python benchmarks/reliability/plant_faults.py --check          # only that every fault can still be planted

The mistakes are listed in `faults/*.toml` beside this file: what was written before, what is written instead, and which
tests are asked first. A mistake that they miss is asked of the whole suite. The working tree is never touched: all of
it happens in a copy. Results: `planted_faults.json`, one row for each.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FAULTS = Path(__file__).parent / "faults"
RESULTS = Path(__file__).parent / "planted_faults.json"
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


def faults(only: str = "") -> list[Fault]:
    """Every listed fault whose kind or name begins with `only`."""
    listed = []
    for path in sorted(FAULTS.glob("*.toml")):
        for row in tomllib.loads(path.read_text(encoding="utf-8"))["fault"]:
            row["tests"] = tuple(row["tests"].split())
            listed.append(Fault(kind=path.stem, **row))
    return [fault for fault in listed if fault.kind.startswith(only) or fault.name.startswith(only)]


def caught(copy: Path, fault: Fault, whole: bool) -> dict[str, object]:
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
    return {**asdict(fault), "caught_by": by, "seconds": round(time.monotonic() - began, 1)}


def _failing(copy: Path, tests: tuple[str, ...]) -> str:
    """The first test that fails, '' when none does."""
    words = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", "--tb=no", *tests]
    marked = words if "-m" in tests else [*words, "-m", "not slow"]
    environment = {**os.environ, "PYTHONPATH": str(copy), "MPLBACKEND": "Agg", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(marked, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    if done.returncode in (0, 5):
        return ""
    named = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return named[0].split(" - ")[0] if named else f"pytest ended with {done.returncode}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--nearest", action="store_true", help="do not ask the whole suite about those that are missed")
    asked = parser.parse_args()
    chosen = faults(asked.only)
    for fault in chosen:
        fault.planted((ROOT / fault.file).read_text(encoding="utf-8"))
    if asked.check:
        print(f"{len(chosen)} faults can be planted")
        return
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    rows = {(row["kind"], row["name"]): row for row in kept}
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "copy"
        copy.mkdir()
        for name in COPIED:
            source = ROOT / name
            shutil.copytree(source, copy / name) if source.is_dir() else shutil.copy(source, copy / name)
        for page in ROOT.glob("*.md"):
            shutil.copy(page, copy)
        for fault in chosen:
            row = caught(copy, fault, not asked.nearest)
            rows[fault.kind, fault.name] = row
            said = f"caught by {row['caught_by']}" if row["caught_by"] else "MISSED"
            print(f"{fault.kind}: {fault.name}: {said}", flush=True)
            known = {(f.kind, f.name) for f in faults()}
            kept = [rows[which] for which in sorted(rows) if which in known]
            RESULTS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    seen = [row for row in rows.values() if not row["equivalent"]]
    print(f"{sum(bool(row['caught_by']) for row in seen)} of {len(seen)} caught")


if __name__ == "__main__":
    main()
