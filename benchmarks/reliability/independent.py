"""A second set of wrong uses and verdict games, written without a look at the first (wrong_uses.py, the tests).

    python benchmarks/reliability/independent.py --uses 600 --games 110 --seed 0

A wrong use must end in exit 2 or 4 and a sentence; what a command does not look at may end in 0; nothing ends in 1. A
game takes a run of a bad model, bends its folder or evidence, and must not end in an approval. Everything goes through
the command line, in this process.
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
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from safety_eval.cli import main as safety_eval

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "journeys"))


@dataclass(frozen=True)
class Use:
    """A command that is wrong: `words` with HOME in place of a folder of its own; `prepare` makes that folder ready.
    `certain`: it must be refused; otherwise a command that does not look there may end well."""

    words: tuple[str, ...]
    prepare: Callable[[Path], Any] = lambda home: None
    certain: bool = True


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code (None = it raised), and what it printed."""

    code: int | None
    said: str


def call(words: list[str]) -> Ended:
    """A command in this process; what it prints is caught."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            code: int | None = safety_eval(words)
        except BaseException as error:
            out.write(f"raised {error!r}")
            code = None
    return Ended(code, out.getvalue())


ASK = ("run", "--engine", "echo", "--model", "echo", "--tasks", "bold", "--data-version", "quickstart")
VALUES: dict[str, tuple[str, ...]] = {
    "--limit": ("0", "-1", "1.5", "ten", "", "1e3", "0x10", "99999999999999999999999x"),
    "--samples": ("0", "-2", "2.0", "many", "10001", "1_0x"),
    "--batch-size": ("0", "-1", "big", "1.5", "auto8"),
    "--seed": ("-1", str(2**63), "one", "0.5", ""),
    "--dtype": ("float8", "int4", "FLOAT32x", "bfloat"),
    "--device": ("gpu", "cuda:x", "cuda:-1", "tpu", "cpu:0:0"),
    "--shard": ("0/3", "4/3", "1/0", "a/b", "1", "1/2/3", "-1/2", "/"),
    "--gen-kwargs": (
        "temperature=-1",
        "temperature=nan",
        "temperature=inf",
        "top_p=0",
        "top_p=2",
        "max_new_tokens=0",
        "max_new_tokens=1.5",
        "colour=red",
        "temperature",
        "=1",
        "temperature=1=2",
        "max_new_tokens=99999999999",
    ),
    "--model-args": ("novalue", "=x", "api_key=abcdefgh12345678", "token=hf_aaaaaaaaaaaaaaaaaaaaaaaa", "revision"),
    "--chat-template-args": ("novalue", "=x"),
    "--scorer": ("bold", "bold=", "bold=nothing", "xstest=refusal", "=vader", "bold=vader+", "bold=../x.py"),
    "--scorer-args": ("vader", "vader:x", "vader:colour=red", "nothing:a=b", ":a=b", "refusal:parser=nobody"),
    "--data-version": ("v9", "bold=v9", "xstest=paper", "=", "bold="),
    "--prompts": ("bold=HOME/none.jsonl", "bold", "xstest=HOME", "=HOME", "false_refusals=HOME"),
    "--policy": ("HOME/none.yaml", "HOME", "/dev/null", "HOME/\x01.yaml"),
    "--stop-when-decided": ("HOME/none.yaml", "HOME"),
    "--config": ("HOME/none.yaml", "HOME", "/dev/null"),
    "--tasks": ("", ",", "Bold", "bold;xstest", "../bold", "HOME/nothing.py", "HOME", "bold,,nothing", "bold xstest"),
    "--engine": ("", "vlm", "../echo", "HOME/x.py", "echo,echo"),
    "--model": ("", "HOME/none", "HOME", "/dev/null", "../../../x", "a/b/c/d"),
    "--output-path": ("/dev/null", "/dev/null/x", "/proc/x", "HOME/" + "y" * 300),
    "--system-prompt": ("sha256:" + "0" * 64,),
}


def flags() -> Iterator[Use]:
    """Flags of `run` with values that they do not take."""
    for flag, values in VALUES.items():
        for value in values:
            rest = [w for i, w in enumerate(ASK) if w != flag and (i == 0 or ASK[i - 1] != flag)]
            engine = [w for w in rest if flag != "--model" or w not in ("--engine", "echo")]
            where = () if flag == "--output-path" else ("--output-path", "HOME/r")
            yield Use((*engine, flag, value, *where))


def commands() -> Iterator[Use]:
    """Commands with too little, too much, or what is not there."""
    for command in ("report", "score", "signoff", "verify", "redact", "compare", "review", "export", "sign", "merge"):
        yield Use((command,))
        yield Use((command, "HOME/none"))
        yield Use((command, "HOME/none", "HOME/none", "HOME/none", "HOME/none"))
        yield Use((command, "HOME", "--colour"))
    for words in (
        ("reproduce", "HOME/none"),
        ("reproduce", "HOME", "--sample", "0"),
        ("plan",),
        ("plan", "--policy", "HOME"),
        ("audit", "nothing"),
        ("audit", "vader", "--limit", "x"),
        ("ls", "models"),
        ("ls",),
        ("doctor", "--tasks", "nothing"),
        ("check-table", "HOME/none.csv"),
        ("check-table", "HOME"),
        ("nothing",),
        ("run",),
        ("run", "--model", "echo"),
        ("run", "--tasks", "bold"),
        ("export", "HOME", "--format", "pdf"),
        ("compare", "HOME", "HOME", "--margin", "x"),
        ("verify", "HOME", "--max-age", "-1"),
        ("verify", "HOME", "--signers", "x"),
    ):
        yield Use(words)


POLICY: dict[str, Any] = {
    "version": 1,
    "name": "independent",
    "signers": 0,
    "ceilings": {"unscored": 1.0, "degenerate": 1.0},
    "rules": [{"id": "a", "task": "bold", "metric": "negative_rate", "group": "all", "max": 0.5, "because": "x"}],
}
ODD: tuple[Any, ...] = (None, True, -1, 2.5, "x" * 5000, [], {}, [[]], {"a": {"b": []}}, "\x1b[31m", 10**40, "nan")
POLICY_PLACES: tuple[tuple[Any, ...], ...] = (
    ("version",),
    ("rules",),
    ("rules", 0),
    ("rules", 0, "id"),
    ("rules", 0, "task"),
    ("rules", 0, "group"),
    ("rules", 0, "max"),
    ("rules", 0, "min_count"),
    ("rules", 0, "estimand"),
    ("rules", 0, "colour"),
    ("ceilings",),
    ("ceilings", "unscored"),
    ("level",),
    ("power",),
    ("family",),
    ("signers",),
    ("stop",),
    ("waivers",),
    ("instruments",),
    ("conditions",),
    ("max_age_days",),
    ("registered",),
)
FINE = {
    ("rules", 0, "id"): ("nan",),
    ("rules", 0, "task"): (),
    ("rules", 0, "max"): (-1, 2.5),
    ("max_age_days",): (None,),
}
BAD_TEXTS: tuple[bytes, ...] = (
    b"",
    b"\x00",
    b"\xff\xfe\x00",
    b"[]",
    b"- a\n- b",
    b"a: [",
    b"\tversion: 1",
    b"version: 1\nversion: 1\n",
    b"a: &a [*a]\n",
    b"x: !!python/object/apply:os.system ['true']\n",
    b"{" * 5000,
    b"- " * 5000,
    "name: ü".encode("latin-1"),
    b"a: &a [x,x,x,x,x,x,x,x,x]\n"
    + b"".join(b"%c: &%c [%s]\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 9)) for c in range(98, 110)),
)


def _put(value: Any, place: tuple[Any, ...], odd: Any) -> Any:
    copied = json.loads(json.dumps(value))
    here = copied
    for step in place[:-1]:
        here = here[step]
    here[place[-1]] = odd
    return copied


def policies() -> Iterator[Use]:
    """Policies that say what no policy can."""
    for place in POLICY_PLACES:
        for odd in ODD:
            text = json.dumps(_put(POLICY, place, odd)).encode()

            def write(home: Path, text: bytes = text) -> None:
                (home / "p.yaml").write_bytes(text)

            yield Use(("plan", "--policy", "HOME/p.yaml", "--without-prompts"), write, certain=False)
    for text in BAD_TEXTS:

        def write_text(home: Path, text: bytes = text) -> None:
            (home / "p.yaml").write_bytes(text)

        yield Use(("plan", "--policy", "HOME/p.yaml", "--without-prompts"), write_text)
        yield Use((*ASK, "--policy", "HOME/p.yaml", "--output-path", "HOME/r"), write_text)
        yield Use(("run", "--config", "HOME/p.yaml", "--output-path", "HOME/r"), write_text)


LINES = (
    b"",
    b"\n\n",
    b"{}\n",
    b"[]\n",
    b"null\n",
    b'{"id": "a"}\n',
    b'{"id": "a", "text": "", "stratum": "clear", "risk_area": "x"}\n',
    b'{"id": 1, "text": "x", "stratum": "clear", "risk_area": "x"}\n',
    b'{"id": "a", "text": "\\ud800", "stratum": "clear", "risk_area": "x"}\n',
    b'{"id": "a", "text": "x", "stratum": "clear", "risk_area": "x", "colour": "red"}\n',
    b'{"id": "a", "text": "x", "stratum": "clear", "risk_area": "x"}\n' * 2,
    b"\xff\n",
    b"{" * 3000 + b"\n",
)


def prompt_files() -> Iterator[Use]:
    """Files of one's own prompts that are none."""
    for task in ("red_team", "false_refusals"):
        for content in LINES:

            def write(home: Path, content: bytes = content) -> None:
                (home / "mine").write_bytes(content)

            words = ("run", "--engine", "echo", "--model", "echo", "--tasks", task, "--prompts", f"{task}=HOME/mine")
            scorer = ("--scorer", "red_team=risk_words") if task == "red_team" else ()
            yield Use((*words, *scorer, "--output-path", "HOME/r"), write)
            yield Use((*words, *scorer, "--output-path", "HOME/r", "--dry-run"), write)


PLUGINS = (
    "",
    "TASK = 1\n",
    "TASK = \n",
    "import nothing_of_that_name\n",
    "raise RuntimeError('no')\n",
    "raise SystemExit(3)\n",
    "TASK = lambda: 1\n",
    "from safety_eval.core.task import Task\nTASK = Task()\n",
    "from safety_eval.core.task import Task\nTASK = Task(name='x', title='', paper='', kind='generate', load=1)\n",
    "from safety_eval.core.task import Task\n\n\ndef load(o):\n    return 1 / 0\n\n\n"
    "TASK = Task(name='mine', title='', paper='', kind='generate', load=load)\n",
    "from safety_eval.core.task import Task\nTASK = Task(name='mine', title='', paper='', kind='sing', load=len)\n",
    "\x00",
    "while False print()\n",
)


def plugin_files() -> Iterator[Use]:
    """Task, scorer and engine files that are none."""
    for text in PLUGINS:

        def write(home: Path, text: str = text) -> None:
            (home / "mine.py").write_text(text)

        where = ("--output-path", "HOME/r")
        yield Use(("run", "--engine", "echo", "--model", "echo", "--tasks", "HOME/mine.py", *where), write)
        yield Use((*ASK, "--scorer", "bold=HOME/mine.py", *where), write)
        yield Use(("run", "--engine", "HOME/mine.py", "--model", "x", "--tasks", "bold", *where), write)


class Made:
    """A finished, signed run and its redacted copy, made once and copied."""

    def __init__(self, home: Path) -> None:
        self.run, self.sealed = home / "r", home / "sealed"
        self.keys = home / "keys"
        self.keys.mkdir()
        write_keys(self.keys)
        (home / "p.yaml").write_text(json.dumps(POLICY))
        ended = call([*ASK, "--policy", str(home / "p.yaml"), "--output-path", str(self.run)])
        assert ended.code == 0, ended.said
        sign = ["--sign", str(self.keys / "ed.pem")]
        ended = call(["signoff", str(self.run), "--policy", str(home / "p.yaml"), *sign])
        assert ended.code in (0, 3, 4) and (self.run / "evidence").is_dir(), ended.said
        assert call(["redact", str(self.run), str(self.sealed)]).code == 0


def write_keys(folder: Path) -> None:
    """Private and public keys, good and of kinds that are not used."""
    for name, key in (
        ("ed", ed25519.Ed25519PrivateKey.generate()),
        ("other", ed25519.Ed25519PrivateKey.generate()),
        ("p384", ec.generate_private_key(ec.SECP384R1())),
        ("rsa", rsa.generate_private_key(65537, 2048)),
    ):
        pem, raw = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        (folder / f"{name}.pem").write_bytes(key.private_bytes(pem, raw, serialization.NoEncryption()))
        public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
        (folder / f"{name}.pub").write_bytes(public)
    (folder / "empty").write_bytes(b"")
    (folder / "text").write_text("-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----\n")


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "gone": lambda p: p.unlink(),
    "empty": lambda p: p.write_bytes(b""),
    "cut": lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]),
    "binary": lambda p: p.write_bytes(bytes(range(256)) * 4),
    "list": lambda p: p.write_bytes(b"[]\n"),
    "null": lambda p: p.write_bytes(b"null\n"),
    "text": lambda p: p.write_bytes(b'"x"\n'),
    "number": lambda p: p.write_bytes(b"1e999\n"),
    "nan": lambda p: p.write_bytes(b'{"a": NaN}\n'),
    "deep": lambda p: p.write_bytes(b"[" * 100_000 + b"]" * 100_000 + b"\n"),
    "surrogate": lambda p: p.write_bytes(b'{"\\ud800": "\\udfff"}\n'),
    "folder": lambda p: (p.unlink(), p.mkdir()),
    "loop": lambda p: (p.unlink(), p.symlink_to(p.name)),
    "pipe": lambda p: (p.unlink(), os.mkfifo(p)),
    "many": lambda p: p.write_bytes(b"[" + b"[]," * 5_000_000 + b"[]]\n"),
    "doubled": lambda p: p.write_bytes(p.read_bytes() * 2),
}
IN_RUN = ("run.json", "results.json", "journal.jsonl", "policy.yaml", "bold/prompts.jsonl", "bold/outputs.jsonl")
IN_RUN += ("bold/scores/vader.jsonl", "signoff.json")
IN_EVIDENCE = ("manifest.json", "salts.json", "kept.json", "signoff.json", "policy.yaml", "run/run.json")
IN_EVIDENCE += ("run/results.json", "run/journal.jsonl", "run/bold/outputs.jsonl", "attestations/signers.json")
IN_EVIDENCE += ("attestations/verdict.dsse.json", "attestations/test-result.dsse.json")


def damaged(made: Made) -> Iterator[Use]:
    """Run folders and evidence of which one file is damaged."""
    readers = (("report", "HOME/x"), ("score", "HOME/x"), ("export", "HOME/x", "--format", "model-card"))
    readers += (("signoff", "HOME/x", "--policy", "HOME/../p.yaml"), ("compare", "HOME/x", str(made.run)))
    readers += (("review", "HOME/x"), (*ASK, "--output-path", "HOME/x"))
    for name in IN_RUN:
        for damage in DAMAGE:
            for words in readers:
                yield Use(words, _damage(made.run, name, damage), certain=False)
    for folder in (made.run / "evidence", made.sealed):
        for name in IN_EVIDENCE:
            for damage in DAMAGE:
                for words in (("verify", "HOME/x"), ("redact", "HOME/x", "HOME/y"), ("reproduce", "HOME/x")):
                    if (folder / name).is_file():
                        yield Use(words, _damage(folder, name, damage), certain=words[0] != "redact")


def _damage(folder: Path, name: str, damage: str) -> Callable[[Path], Any]:
    def prepare(home: Path) -> None:
        shutil.copytree(folder, home / "x")
        if (home / "x" / name).exists():
            DAMAGE[damage](home / "x" / name)

    return prepare


def keys(made: Made) -> Iterator[Use]:
    """Keys that are none, or of another kind."""
    home = str(made.keys)
    for name in ("ed.pem", "p384.pub", "rsa.pub", "empty", "text", "none", ".", "other.pub"):
        yield Use(("verify", str(made.run), "--key", f"{home}/{name}"))
        yield Use(("reproduce", str(made.run), "--key", f"{home}/{name}"))
    for name in ("ed.pub", "p384.pem", "rsa.pem", "empty", "text", "none", "."):
        yield Use(("sign", "HOME/x", "--key", f"{home}/{name}"), _damage(made.run, "nothing", "gone"))
        words = ("signoff", "HOME/x", "--policy", "HOME/../p.yaml", "--sign", f"{home}/{name}")
        yield Use(words, _damage(made.run, "nothing", "gone"))
    for content in (b"", b"x", b"a,b\n1", b'a,b\n"', b"\xff\xff", b"\x00" * 99, b"group,n,value\nx,-1,2\n"):

        def write(folder: Path, content: bytes = content) -> None:
            (folder / "t.csv").write_bytes(content)

        yield Use(("check-table", "HOME/t.csv"), write, certain=False)
        yield Use(("review", str(made.run), "--read", "HOME/t.csv"), write)


def run_uses(count: int, seed: int, home: Path) -> tuple[Counter[str], list[str]]:
    """(exit codes by command, what went wrong) of `count` wrong uses, drawn evenly from the families."""
    made = Made(home)
    families = [list(family) for family in (flags(), commands(), policies(), prompt_files(), plugin_files())]
    families += [list(damaged(made)), list(keys(made))]
    chance, codes, wrong = random.Random(seed), Counter[str](), []
    for family in families:
        chance.shuffle(family)
    number = 0
    while number < count and any(families):
        for family in families:
            if not family or number >= count:
                continue
            use, number = family.pop(), number + 1
            here = home / f"u{number}"
            here.mkdir()
            use.prepare(here)
            words = [word.replace("HOME", str(here)) for word in use.words]
            with contextlib.chdir(here):
                ended = call(words)
            codes[f"{words[0]} {ended.code}"] += 1
            allowed = {2, 4} if use.certain else {0, 2, 3, 4}
            if ended.code not in allowed or "Traceback" in ended.said or (ended.code and len(ended.said.strip()) < 10):
                wrong.append(f"{use.words} {ended.code}: {ended.said.strip()[-300:]}")
            shutil.rmtree(here, ignore_errors=True)
    return codes, wrong


# --- verdict games ---

TASKS = ("bold", "xstest", "bbq", "truthfulqa_choice", "real_toxicity_prompts")


def _lines(path: Path, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
    rows = [change(json.loads(line)) for line in path.read_text().splitlines()]
    text = "".join(json.dumps(r, sort_keys=True, separators=(",", ":")) + "\n" for r in rows if r is not None)
    path.write_text(text)


def _json(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value, indent=1) + "\n")


def _scores(run: Path) -> list[Path]:
    return sorted(run.glob("*/scores/*.jsonl"))


def _better(run: Path) -> None:
    """Every number of every score turned to the other end."""
    turned = {"refuse": "comply", "comply": "refuse"}

    def turn(row: dict[str, Any]) -> dict[str, Any]:
        values = row.get("values", {})
        new = {k: turned.get(v, v) if isinstance(v, str) else (1 - v if 0 <= v <= 1 else -v) for k, v in values.items()}
        return {**row, "values": new} if values else row

    for path in _scores(run):
        _lines(path, turn)


def _fewer(run: Path) -> None:
    """The second half of the prompts, with their answers and scores, taken out; run.json made to fit."""
    for path in run.glob("*/prompts.jsonl"):
        rows = path.read_text().splitlines(keepends=True)
        path.write_text("".join(rows[: len(rows) // 2]))
        kept = {json.loads(r)["id"] for r in rows[: len(rows) // 2]}
        for other in (path.with_name("outputs.jsonl"), *path.parent.glob("scores/*.jsonl")):
            _lines(other, lambda r, kept=kept: r if r.get("prompt_id", next(iter(kept))) in kept else None)
        many, task = len(kept), path.parent.name
        _json(run / "run.json", lambda v, n=many, t=task: v["tasks"][t].update(prompts=n))


def _said_otherwise(run: Path) -> None:
    for path in run.glob("*/outputs.jsonl"):
        _lines(
            path, lambda r: {**r, "text": "and they were kind.", "choice_logprobs": r.get("choice_logprobs", [])[::-1]}
        )


def _failed(run: Path) -> None:
    for path in run.glob("*/outputs.jsonl"):
        _lines(path, lambda r: {**r, "text": None, "choice_logprobs": [], "error": "not_asked", "stop_reason": "error"})


def _results(run: Path) -> None:
    def all_good(value: Any) -> None:
        rows = value["estimates"] if isinstance(value, dict) and "estimates" in value else value
        for row in rows if isinstance(rows, list) else ():
            if row.get("kind") == "rate":
                best = 1.0 if row["better"] == "higher" else 0.0
                row |= {k: best for k in ("value", "low", "high", "lowest", "highest", "gate_low", "gate_high")}

    _json(run / "results.json", all_good)


def _rename(run: Path) -> None:
    for path in _scores(run):
        path.rename(path.with_name(f"other_{path.name}"))


def _short_journal(run: Path) -> None:
    path = run / "journal.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-2]))


def _young_journal(run: Path) -> None:
    _lines(run / "journal.jsonl", lambda r: {**r, "at": "2099-01-01T00:00:00Z"})


def _approved(run: Path) -> None:
    for path in (run / "signoff.json", run / "evidence" / "signoff.json"):
        _json(path, lambda v: v.update(decision="approved", blockers=[]))


def _loose(run: Path) -> None:
    text = (run / "policy.yaml").read_text()
    (run / "policy.yaml").write_text(text.replace("0.5", "0.999999"))


AGAIN, VERIFY = "signoff", "verify"
GAMES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "scores turned": (_better, AGAIN),
    "half of the prompts": (_fewer, AGAIN),
    "other answers": (_said_otherwise, AGAIN),
    "answers that failed": (_failed, AGAIN),
    "other numbers": (_results, AGAIN),
    "scores under another name": (_rename, AGAIN),
    "no scores": (lambda run: [p.unlink() for p in _scores(run)], AGAIN),
    "no answers": (lambda run: [p.write_bytes(b"") for p in run.glob("*/outputs.jsonl")], AGAIN),
    "a shorter journal": (_short_journal, AGAIN),
    "a journal of the future": (_young_journal, AGAIN),
    "no journal": (lambda run: (run / "journal.jsonl").unlink(), AGAIN),
    "other weights": (lambda run: _json(run / "run.json", lambda v: v["engine"].update(weights="0" * 64)), AGAIN),
    "another seed": (lambda run: _json(run / "run.json", lambda v: v["asked"].update(seed=9)), AGAIN),
    "a protocol that fits": (
        lambda run: _json(run / "run.json", lambda v: [t["protocol"].update(settings={}) for t in v["tasks"].values()]),
        AGAIN,
    ),
    "a looser policy in the folder": (_loose, AGAIN),
    "no policy in the folder": (lambda run: (run / "policy.yaml").unlink(), AGAIN),
    "scores turned, then scored again": (_better, "score"),
    "other answers, then measured again": (_said_otherwise, "score"),
    "an approval written in": (_approved, VERIFY),
    "scores of the good model": (lambda run: None, "swap"),
    "evidence of the good model": (lambda run: None, "replay"),
    "a looser policy": (lambda run: None, "loosen"),
}


def _ask(home: Path, task: str, behaviour: str, folder: Path) -> Ended:
    import planted

    (home / f"{behaviour}.json").write_text(planted.script([task], behaviour))  # type: ignore[arg-type]
    words = ["run", "--engine", "echo", "--model", str(home / f"{behaviour}.json"), "--tasks", task, "--limit", "60"]
    words += ["--data-version", "quickstart", "--policy", str(home / "p.yaml"), "--output-path", str(folder)]
    scorer = ["--scorer", f"{task}=profanity_check"] if task == "real_toxicity_prompts" else []
    return call([*words, *scorer])


def play(task: str, name: str, bad: Path, good: Path, here: Path) -> str:
    """What is wrong with how a game ended ('' = nothing)."""
    bend, then = GAMES[name]
    run = Path(shutil.copytree(bad, here / "run"))
    policy, key = bad.parent / "p.yaml", bad.parent / "keys" / "ed.pub"
    bend(run)
    if then == "score":
        call(["score", str(run)])
    if then == "swap":
        for path in _scores(run):
            path.write_bytes((good / path.relative_to(run)).read_bytes())
    if then == "replay":
        shutil.rmtree(run / "evidence")
        shutil.copytree(good / "evidence", run / "evidence")
    if then == "loosen":
        policy = here / "loose.yaml"
        policy.write_text((bad.parent / "p.yaml").read_text().replace("0.5", "0.999999"))
    ended = [call(["verify", str(run), "--key", str(key)])] if then in (VERIFY, "replay") else []
    ended.append(call(["signoff", str(run), "--policy", str(policy)]))
    told = [e for e in ended if e.code in (0, 1, 5, None)]
    return f"{name}, {task}: {told[0].code} {told[0].said[-300:]}" if told else ""


def run_games(count: int, seed: int, home: Path) -> tuple[Counter[str], list[str]]:
    """(games by task, those that were lost)."""
    import planted

    (home / "keys").mkdir(exist_ok=True)
    write_keys(home / "keys")
    played, lost = Counter[str](), []
    pairs = [(task, name) for task in TASKS for name in GAMES]
    random.Random(seed).shuffle(pairs)
    for task in TASKS:
        place = home / task
        place.mkdir()
        shutil.copytree(home / "keys", place / "keys")
        told = planted.TASKS[task]
        rule = {"id": "r", "task": task, "metric": told.metric, "scorer": told.scorer, told.limit: 0.5, "because": "x"}
        terms = {**POLICY, "registered": True, "signers": 1, "rules": [rule]}
        (place / "p.yaml").write_text(json.dumps(terms))
        for behaviour, wanted in (("good", 0), ("bad", 3)):
            assert _ask(place, task, behaviour, place / behaviour).code == 0
            sign = ["--sign", str(place / "keys" / "ed.pem")]
            code = call(["signoff", str(place / behaviour), "--policy", str(place / "p.yaml"), *sign]).code
            assert code == wanted, f"{task}: the {behaviour} model ended in {code}"
    for number, (task, name) in enumerate(pairs[:count]):
        here = home / f"g{number}"
        here.mkdir()
        wrong = play(task, name, home / task / "bad", home / task / "good", here)
        played[task] += 1
        lost += [wrong] if wrong else []
        shutil.rmtree(here)
    return played, lost


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--uses", type=int, default=600)
    asked.add_argument("--games", type=int, default=110)
    asked.add_argument("--seed", type=int, default=0)
    given = asked.parse_args()
    began, home = time.monotonic(), Path(tempfile.mkdtemp())
    try:
        codes, wrong = run_uses(given.uses, given.seed, home) if given.uses else (Counter[str](), [])
        played, lost = run_games(given.games, given.seed, home) if given.games else (Counter[str](), [])
    finally:
        shutil.rmtree(home)
    by_code = Counter(row.rsplit(" ", 1)[1] for row in codes.elements())
    print(
        f"{sum(codes.values())} wrong uses, by exit code: {dict(sorted(by_code.items()))}; unlike wanted: {len(wrong)}"
    )
    print(f"{sum(played.values())} games on {len(played)} tasks; lost: {len(lost)}; {time.monotonic() - began:.0f} s")
    for line in (*wrong, *lost):
        print("-", line)
    return int(bool(wrong or lost))


if __name__ == "__main__":
    sys.exit(main())
