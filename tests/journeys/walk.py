"""What a person does: the installed command in a folder of their own, and the files that they read afterwards.

Nothing of the package is imported here. Every command that runs is remembered: with the exit code that was
expected of it, and with what it used, so that a test can compare what was walked with what there is.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

COMMAND = Path(sys.executable).parent / "safety-eval"
COLUMNS = 80
_NOBODY = "http://127.0.0.1:9"
"""A proxy that nobody is: whatever a command wants from the network fails, on every machine."""
_PATIENCE_SECONDS = 300
"""Only so that a command that hangs ends the test; no claim about speed."""


@dataclass(frozen=True)
class Heard:
    """What a command said, and its exit code."""

    command: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err

    @property
    def flat(self) -> str:
        """All words in one line, so that a sentence is found wherever the terminal broke it."""
        return " ".join(self.text.split())


def cold(argv: tuple[str, ...], home: Path, environment: Mapping[str, str]) -> Heard:
    """What the installed script says to `argv`."""
    done = subprocess.run(
        [COMMAND, *argv],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=_PATIENCE_SECONDS,
        check=False,
    )
    return Heard(argv, done.returncode, done.stdout, done.stderr)


class Warm:
    """A process of warm.py. Called as `cold` is; what a command says goes through files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._said = (folder / "out", folder / "err")
        server = [sys.executable, str(Path(__file__).with_name("warm.py"))]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(server, cwd=folder, env=_environment(), stdin=pipe, stdout=pipe, text=True)

    def __call__(self, argv: tuple[str, ...], home: Path, environment: Mapping[str, str]) -> Heard:
        out, err = map(str, self._said)
        wanted = {"argv": argv, "cwd": str(home), "environment": dict(environment), "out": out, "err": err}
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(wanted) + "\n")
        self._process.stdin.flush()
        pid = json.loads(self._process.stdout.readline())["pid"]
        patience = threading.Timer(_PATIENCE_SECONDS, os.kill, (pid, signal.SIGKILL))
        patience.start()
        code = json.loads(self._process.stdout.readline())["code"]
        patience.cancel()
        out, err = (path.read_text(encoding="utf-8", errors="replace") for path in self._said)
        return Heard(argv, code, out, err)

    def close(self) -> None:
        """End the process; it has no command under way."""
        self._process.communicate()


@dataclass
class Walk:
    """A person in a folder, with a terminal of 80 columns and no network.

    Attributes:
        home: the folder; commands run in it, so that paths are short.
        warm: forks for each command; None = every command starts the installed script.
        used: 'command run', 'suite bold', 'task bold', 'scorer vader', 'engine echo', 'stops scorer truth_judge' ...
    """

    home: Path
    warm: Warm | None = None
    used: set[str] = field(default_factory=set)
    transcript: list[str] = field(default_factory=list)
    environment: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, *words: str | Path, expect: int = 0, environment: Mapping[str, str] | None = None) -> Heard:
        """Run `safety-eval WORDS`; fails with everything said so far on another exit code or a traceback."""
        argv = tuple(str(word) for word in words)
        settings = self._environment(environment or {})
        heard = (self.warm or cold)(argv, self.home, settings)
        self._remember(heard)
        if heard.code == 1 or "Traceback" in heard.text:
            self.fail("a bug in safety-eval")
        if heard.code != expect:
            self.fail(f"exit {expect} was expected")
        if heard.code == 0:
            self.used |= _used(self.home, argv)
        return heard

    def stops(self, what: str, *words: str | Path, naming: Sequence[str]) -> Heard:
        """Run a command that cannot be done here: exit 2, each of `naming` is said, and nothing was asked before."""
        heard = self(*words, expect=2)
        for name in naming:
            if name not in heard.flat:
                self.fail(f"'{name}' was not named")
        if asked := sorted(self.home.rglob("outputs.jsonl")):
            self.fail(f"prompts were asked although nothing can score them: {asked}")
        self.used.add(f"stops {what}")
        return heard

    def killed(self, *words: str | Path, when: Callable[[], bool]) -> None:
        """Start `safety-eval WORDS` and SIGKILL it as soon as `when` is true; fails if it ends before."""
        argv = [COMMAND, *map(str, words)]
        environment, quiet = self._environment({}), subprocess.DEVNULL
        process = subprocess.Popen(argv, cwd=self.home, env=environment, stdout=quiet, stderr=quiet)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while process.poll() is None and not when() and time.monotonic() < deadline:
            time.sleep(0.005)
        ended = process.poll()
        process.kill()
        process.wait()
        self.transcript.append(f"$ safety-eval {' '.join(map(str, words))}    (SIGKILL)\n")
        if ended is not None:
            self.fail(f"it ended by itself with exit {ended} before it could be killed")

    def fail(self, why: str) -> None:
        raise AssertionError(f"{why}\n\n" + "\n".join(self.transcript))

    def write(self, name: str, content: str) -> str:
        """A file in the folder; returns its name."""
        (self.home / name).write_text(content, encoding="utf-8")
        return name

    def read(self, name: str | Path) -> Any:
        """A JSON file."""
        return json.loads((self.home / name).read_text(encoding="utf-8"))

    def rows(self, name: str | Path) -> list[Any]:
        """A file of JSON lines; [] where there is none yet."""
        path = self.home / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        return {**_environment(), "SAFETY_EVAL_CARDS": str(self.home / "cards"), **self.environment, **more}

    def _remember(self, heard: Heard) -> None:
        said = heard.text if len(heard.text) < 6000 else f"{heard.text[:2500]}\n...\n{heard.text[-3000:]}"
        self.transcript.append(f"$ safety-eval {' '.join(heard.command)}    (exit {heard.code})\n{said}")


def _environment() -> dict[str, str]:
    """A terminal of 80 columns, no network, and nothing of the settings of whoever runs the tests."""
    ours = {name for name in os.environ if name.startswith("SAFETY_EVAL_")} | {"FORCE_COLOR"}
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    told = {"COLUMNS": str(COLUMNS), "HF_HUB_OFFLINE": "1", "NO_COLOR": "1", "MPLBACKEND": "Agg"}
    threads = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    nowhere = {"https_proxy": _NOBODY, "http_proxy": _NOBODY, "no_proxy": "127.0.0.1"}
    return {**kept, **told, **threads, **nowhere}


def _used(home: Path, argv: Sequence[str]) -> set[str]:
    """What a command that ended well has used: its name, and what the run folder that it wrote says."""
    if not argv or argv[0].startswith("-") or "--help" in argv:
        return set()
    found = {f"command {argv[0]}"}
    if argv[0] == "ls":
        found.add(f"command ls {argv[1]}")
    if argv[0] == "export":
        found.add(f"format {argv[argv.index('--format') + 1]}")
    if argv[0] == "audit":
        found.add(f"scorer {argv[1]}")
    if "--tasks" in argv:
        found |= {f"suite {name}" for name in argv[argv.index("--tasks") + 1].split(",")}
    folder = argv[argv.index("--output-path") + 1] if "--output-path" in argv else argv[-1]
    if argv[0] == "run" and "--dry-run" not in argv and (home / folder / "run.json").exists():
        facts = json.loads((home / folder / "run.json").read_text())
        found.add(f"engine {facts['engine']['name'].partition('/')[0]}")  # ray/INNER
        for task, about in facts["tasks"].items():
            found |= {f"task {task}", *(f"scorer {scorer}" for scorer in about["instruments"])}
    return found


@dataclass(frozen=True)
class FirstScreen:
    """What a reader of report.html sees first.

    Attributes:
        verdict: the words in the verdict box. about: everything else in that box. title: the page's heading.
    """

    verdict: str
    about: str
    title: str


def first_screen(run: Path) -> FirstScreen:
    """The heading and the verdict box of RUN/report.html."""
    reader = _Boxes()
    reader.feed((run / "report.html").read_text(encoding="utf-8"))
    parts = {name: " ".join(" ".join(words).split()) for name, words in reader.parts.items()}
    assert parts["verdict"], f"{run}/report.html has no verdict box"
    return FirstScreen(parts["verdict"], parts["about"], parts["title"])


class _Boxes(HTMLParser):
    """Words of <h1>, of the section labelled 'verdict', and of the <strong> in it."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: dict[str, list[str]] = {"title": [], "verdict": [], "about": []}
        self._within: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        labelled = tag == "section" and dict(attrs).get("aria-label") == "verdict"
        if tag in ("h1", "section", "strong"):
            self._within.append("box" if labelled else tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("h1", "section", "strong"):
            self._within.pop()

    def handle_data(self, data: str) -> None:
        if "h1" in self._within:
            self.parts["title"].append(data)
        if "box" in self._within:
            self.parts["verdict" if "strong" in self._within else "about"].append(data)


def page_words(page: Path) -> str:
    """All words of an HTML page that a reader can see, in one line."""

    class Words(HTMLParser):
        said: list[str] = []
        hidden = 0

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.hidden += tag in ("style", "script")

        def handle_endtag(self, tag: str) -> None:
            self.hidden -= tag in ("style", "script")

        def handle_data(self, data: str) -> None:
            if not self.hidden:
                self.said.append(data)

    words = Words()
    words.said = []
    words.feed(page.read_text(encoding="utf-8"))
    return " ".join(" ".join(words.said).split())


def key_pair(folder: Path, name: str) -> tuple[Path, Path]:
    """(private, public) Ed25519 key files."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    private.write_bytes(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()))
    private.chmod(0o600)
    public.write_bytes(key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo))
    return private, public


def copied(source: Path, target: Path) -> Path:
    """The folder at another place, the first one moved out of reach, as on another machine."""
    shutil.copytree(source, target)
    return target
