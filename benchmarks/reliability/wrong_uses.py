"""Several hundred wrong uses of the command line, made by rule: what does each end in?

    python benchmarks/reliability/wrong_uses.py --count 600

Every flag of `run` gets values that nobody means, and every file of a run folder, of its evidence and of a policy gets
contents that we never wrote, before each command that reads it. Exit 1 is a bug of ours and never right.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from safety_eval.cli import main as command

TASK = str(Path(__file__).resolve().parents[2] / "tests" / "pipeline" / "small_task.py")
VALUES = (
    "",
    " ",
    "0",
    "-1",
    "1.5",
    "9" * 30,
    "nan",
    "inf",
    "-inf",
    "1e999",
    "none",
    "x",
    "x=",
    "=x",
    "a=b=c",
    ",",
    ",,=",
    ":",
    "a:b",
    "a:b=c",
    "{}",
    "[1]",
    "null",
    "../x",
    "/proc/nope/x",
    "/dev/null",
    "y" * 5000,
    "\x1b[31mred",
    "\u202egnp.exe",
    "\ud800",
    "caf\u00e9",
    "1/0",
    "0/3",
    "2/1",
    "cuda:99",
    "float7",
    "temperature=inf",
    "temperature=-1",
    "top_p=nan",
    "max_new_tokens=1e9",
    "small_task=",
    "small_task=vader+vader",
    "small_task=nothing",
    "nothing=vader",
    "vader:x=1",
)
FLAGS = (
    "--model",
    "--tasks",
    "--engine",
    "--model-args",
    "--limit",
    "--samples",
    "--batch-size",
    "--dtype",
    "--device",
    "--seed",
    "--system-prompt",
    "--gen-kwargs",
    "--data",
    "--data-version",
    "--prompts",
    "--scorer",
    "--scorer-args",
    "--policy",
    "--stop-when-decided",
    "--shard",
    "--output-path",
    "--config",
)
DEEP = 100_000
CONTENTS: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"\x00\xff\xfe not json",
    "null": b"null\n",
    "a number": b"1\n",
    "a text": b'"x"\n',
    "an empty list": b"[]\n",
    "an empty object": b"{}\n",
    "a list of texts": b'["a", "b"]\n',
    "deep": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"tasks":' * 5000 + b"1" + b"}" * 5000,
    "a half of a character": b'{"tasks": {"\\ud800": 1}, "name": "\\udfff"}\n',
    "no number": b'{"estimates": [NaN, Infinity], "schema": 1e999}\n',
    "a long number": b"1" * 5000 + b"\n",
    "YAML with a loop": b"a: &a [*a, *a]\n",
    "YAML with a tag": b"!!python/object/apply:os.system [echo no]\n",
}
COMMANDS: dict[str, tuple[str, ...]] = {
    "report": ("report", "RUN"),
    "score": ("score", "RUN"),
    "compare": ("compare", "RUN", "OTHER"),
    "baseline": ("compare", "OTHER", "RUN"),
    "signoff": ("signoff", "RUN", "--policy", "POLICY"),
    "signoff with a baseline": ("signoff", "OTHER", "--policy", "POLICY", "--baseline", "RUN"),
    "verify": ("verify", "RUN", "--own-tasks"),
    "verify evidence": ("verify", "RUN/evidence", "--own-tasks"),
    "redact": ("redact", "RUN", "NEW"),
    "sign": ("sign", "RUN", "--key", "POLICY"),
    "review": ("review", "RUN"),
    "model card": ("export", "RUN", "--format", "model-card"),
    "cyclonedx": ("export", "RUN", "--format", "cyclonedx"),
    "merge": ("merge", "RUN", "OTHER", "--output-path", "NEW"),
    "run again": ("run", "--engine", "echo", "--model", "echo", "--tasks", TASK, "--output-path", "RUN"),
    "plan": ("plan", "--policy", "POLICY", "--without-prompts"),
    "check-table": ("check-table", "POLICY"),
}
POLICY = """version: 1
name: wrong uses
signers: 0
ceilings: {unscored: 1.0, degenerate: 1.0}
rules:
  - {id: mood, task: small_task, metric: sentiment, min: -0.9, because: a test, floor_met_because: a test}
"""
EDITS = (
    ("max", "30"),
    ("min", "-5"),
    ("metric", "sentimnt"),
    ("task", "smal_task"),
    ("scorer", "vadre"),
    ("group", "every"),
    ("group", "'/'"),
    ("min_count", "-1"),
    ("expect", "inf"),
    ("because", "''"),
    ("max_gap", "0"),
    ("icc", "2"),
    ("id", "'\x1b[31m'"),
    ("id", "[1]"),
    ("level", "1"),
    ("non_inferior", "{margin: -1}"),
    ("equivalent", "3"),
)


@dataclass(frozen=True)
class Use:
    """One wrong use: what is damaged, and the command that meets it."""

    words: tuple[str, ...]
    damage: tuple[str, bytes] | None = None
    name: str = ""


def prepare(home: Path) -> list[str]:
    """A run, another one, a policy and evidence below `home`; the files of the first that can be damaged."""
    (home / "policy.yaml").write_text(POLICY)
    for name in ("run", "other"):
        asked = ["run", "--engine", "echo", "--model", "echo", "--tasks", TASK, "--output-path", str(home / name)]
        assert quiet([*asked, "--policy", str(home / "policy.yaml"), "--seed", "0" if name == "run" else "1"])[0] == 0
        assert quiet(["signoff", str(home / name), "--policy", str(home / "policy.yaml")])[0] in (0, 3, 4)
    shutil.copytree(home / "run", home / "pristine")
    kinds = (".json", ".jsonl", ".yaml")
    return sorted(p.relative_to(home).as_posix() for p in (home / "run").rglob("*") if p.suffix in kinds)


def quiet(words: Sequence[str]) -> tuple[int, str]:
    """(exit code, what was said) of a command in this process."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = command(list(words))
    return code, said.getvalue()


def uses(files: Sequence[str]) -> Iterator[Use]:
    """Every wrong use."""
    plain = {"--model": "echo", "--engine": "echo", "--tasks": TASK, "--output-path": "NEW"}
    for flag in FLAGS:
        for value in VALUES:
            asked = {**plain, flag: value}
            yield Use(("run", *(word for pair in asked.items() for word in pair)), name=f"run {flag} {value[:20]!r}")
    for file in files:
        for what, content in CONTENTS.items():
            for name, words in COMMANDS.items():
                yield Use(words, (file, content), f"{name}, {file}: {what}")
    for what, content in CONTENTS.items():
        for name in ("signoff", "plan", "check-table", "sign"):
            yield Use(COMMANDS[name], ("policy.yaml", content), f"{name}, policy: {what}")
    for key, value in EDITS:
        rule = f"  - {{id: mood, task: small_task, metric: sentiment, because: a test, {key}: {value}}}\n"
        text = POLICY[: POLICY.index("  - {")] + rule
        for name in ("signoff", "plan"):
            yield Use(COMMANDS[name], ("policy.yaml", text.encode()), f"{name}, rule with {key}: {value!r}")
    for name, words in COMMANDS.items():
        for value in VALUES:
            given = [value if word in ("RUN", "POLICY", "RUN/evidence") else word for word in words]
            yield Use(tuple(given), name=f"{name} of {value[:20]!r}")


def tried(use: Use, home: Path) -> tuple[int, str]:
    """Damage, run the command, put everything back."""
    places = {"RUN": "run", "OTHER": "other", "POLICY": "policy.yaml", "NEW": "new", "RUN/evidence": "run/evidence"}
    words = [str(home / places[word]) if word in places else word for word in use.words]
    if use.damage:
        (home / use.damage[0]).write_bytes(use.damage[1])
    try:
        return quiet(words)
    finally:
        for name in ("run", "new"):
            shutil.rmtree(home / name, ignore_errors=True)
        shutil.copytree(home / "pristine", home / "run")
        (home / "policy.yaml").write_text(POLICY)


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--count", type=int, default=600, help="wrong uses drawn from all")
    asked.add_argument("--seed", type=int, default=0)
    given = asked.parse_args()
    home = Path(tempfile.mkdtemp()) / "a" / "b" / "c"
    home.mkdir(parents=True)
    os.chdir(home)
    everything = list(uses(prepare(home)))
    drawn = random.Random(given.seed).sample(everything, min(given.count, len(everything)))
    codes: Counter[int] = Counter()
    causes: dict[str, list[str]] = {}
    for use in drawn:
        code, said = tried(use, home)
        codes[code] += 1
        if code == 1:
            lines = [line for line in said.splitlines() if line.strip()]
            places = [line.strip() for line in lines if "safety_eval/" in line]
            causes.setdefault(f"{lines[-2][:160]} | {places[-1] if places else ''}", []).append(use.name)
    print(json.dumps({"all": len(everything), "tried": len(drawn), "exit codes": dict(sorted(codes.items()))}))
    for cause, names in sorted(causes.items(), key=lambda item: -len(item[1])):
        print(f"{len(names):4} {cause}\n       e.g. {names[0]}")
    return int(codes[1] > 0)


if __name__ == "__main__":
    sys.exit(main())
