"""Every command of the command line runs, from the installed program, and none is hidden by a file of its name."""

from __future__ import annotations

import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

import safety_eval.cli
from safety_eval.cli import cli, main, reading

assert reading, "adds its commands to the group"
COMMANDS = sorted(cli.list_commands(click.Context(cli)))
ELSEWHERE = Path(__file__).parents[1] / "engines" / "elsewhere" / "xstest.eval"
POLICY = """
version: 1
name: test
rules:
  - {id: sad, task: bold, metric: negative_rate, group: all, max: 0.99, because: a test,
     floor_met_because: a test}
ceilings: {unscored: 0.1, degenerate: 1.0}
"""


@pytest.mark.parametrize(
    "words",
    [("run", "--help"), ("ls", "tasks"), ("plan", "--without-prompts", "--policy"), ("run", "--dry-run", "--config")],
)
def test_a_reader_that_has_gone_is_neither_a_bug_nor_an_approval(tmp_path: Path, words: tuple[str, ...]) -> None:
    """`safety-eval ... | head`: rich and click would end in 1, our word for a bug, and 0 would approve to nobody."""
    (tmp_path / "--policy").write_text(POLICY)
    (tmp_path / "--config").write_text(json.dumps({"model": "echo", "engine": "echo", "tasks": ["xstest"]}))
    last = [str(tmp_path / words[-1])] if (tmp_path / words[-1]).exists() else []
    script = Path(sys.executable).parent / "safety-eval"
    process = subprocess.Popen([str(script), *words, *last], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    with process.stderr:
        said = process.stderr.read()
    assert process.wait() == 141, said


def program(*argv: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """The installed program, in a process of its own."""
    script = Path(sys.executable).parent / "safety-eval"
    return subprocess.run(
        [str(script), *map(str, argv)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished and approved run, a policy, two keys and a table to check."""
    folder = tmp_path_factory.mktemp("commands")
    (folder / "policy.yaml").write_text(POLICY)
    (folder / "script.json").write_text(json.dumps({"": "and people liked the work, which was well received."}))
    (folder / "table.csv").write_text("row,women,men\nn,10,20\ntoxic,20.0,35.0\n")
    make = (
        "from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey as K; "
        "from cryptography.hazmat.primitives import serialization as s; import sys; "
        "sys.stdout.buffer.write(K.generate().private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))"
    )
    for name in ("ann", "bob"):
        (folder / f"{name}.pem").write_bytes(subprocess.check_output([sys.executable, "-c", make]))
    for name in ("run", "baseline"):
        assert main([*map(str, asked(folder)), "--output-path", str(folder / name)]) == 0
    return folder


def asked(folder: Path) -> list[object]:
    return [
        "run",
        "--engine",
        "echo",
        "--model",
        folder / "script.json",
        "--tasks",
        "bold",
        "--data-version",
        "quickstart",
        "--policy",
        folder / "policy.yaml",
    ]


def arguments(command: str, at: Path) -> list[object]:
    """What the command is given, all that it needs and nothing more."""
    run = at / "run"
    return {
        "run": [*asked(at)[1:], "--output-path", at / "again"],
        "import": [f"xstest={ELSEWHERE}", "--data-version", "quickstart", "--output-path", at / "adopted"],
        "score": [run, "--scorer", "gender_polarity"],
        "report": [run],
        "ls": ["scorers"],
        "merge": [at / "part1", at / "part2", "--output-path", at / "joined"],
        "doctor": [],
        "signoff": [run, "--policy", at / "policy.yaml", "--sign", at / "ann.pem"],
        "verify": [run],
        "redact": [run, at / "redacted"],
        "reproduce": [run, "--sample", "3"],
        "plan": ["--policy", at / "policy.yaml", "--without-prompts"],
        "check-table": [at / "table.csv"],
        "compare": [run, at / "baseline"],
        "audit": ["vader", "--limit", "5", "--cards", at / "cards"],
        "review": [run, "--metric", "negative_rate"],
        "sign": [run, "--key", at / "bob.pem"],
        "export": [run, "--format", "cyclonedx"],
    }[command]


ORDER = ["signoff", "sign", "verify", "redact", "reproduce"]
"""Commands that need what the one before them wrote."""


def test_every_command_runs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in ("1", "2"):
        main([*map(str, asked(place)), "--shard", f"{number}/2", "--output-path", str(place / f"part{number}")])
    for command in [*ORDER, *(c for c in COMMANDS if c not in ORDER)]:
        code = main([command, *map(str, arguments(command, place))])
        assert code == 0, f"{command}: {capsys.readouterr().err[-2000:]}"


def test_no_file_beside_the_command_line_is_named_like_a_command() -> None:
    """`from safety_eval.cli import doctor` gave the command, where the module of that name was meant."""
    files = {module.name for module in pkgutil.iter_modules(safety_eval.cli.__path__)}
    functions = {command.callback.__name__ for name in COMMANDS if (command := cli.commands[name]).callback}
    assert not files & functions


def test_doctor_says_what_is_here_and_what_to_do() -> None:
    ran = program("doctor", HF_HUB_OFFLINE="1")
    lines = ran.stdout.splitlines()
    assert ran.returncode == 0 and lines[0].split()[:3] == ["ok", "python", sys.version.split()[0]]
    assert any(line.startswith("--") and "HF_HUB_OFFLINE" in line for line in lines)


def test_doctor_advises_the_package_that_carries_a_missing_module(tmp_path: Path) -> None:
    """The module is taken away for real: a finder in front of all others, in the program's own process."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'profanity_check':\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    lines = program("doctor", PYTHONPATH=path).stdout
    assert "--  alt-profanity-check   not installed" in lines and "pip install alt-profanity-check" in lines
