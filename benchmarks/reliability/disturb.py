"""The disturbances of trials.py: each is a function of a trial that spoils one thing, at a moment or place drawn by the
trial's own random numbers, and says with which command and on which folder.
"""

from __future__ import annotations

import importlib.metadata
import os
import pty
import random
import resource
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import scene
from scene import PICKS, STEADY, Elsewhere, Ended, How, Scene, command, running, task_text


@dataclass
class Trial:
    """One trial: what was drawn for it, and what came of it.

    Attributes:
        verdict: that of the undisturbed run. step: the command that is disturbed. run: the folder that it works on.
        first: how the disturbed command ended.
        alone: the disturbance looks itself at what is left. may_refuse: it damaged something.
        marks: what is wrong beside the records ("traceback", "hangs", "silent", "mixed").
    """

    number: int
    chance: random.Random
    scene: Scene
    home: Path
    verdict: str
    step: str = "run"
    run: Path = Path()
    first: Ended | None = None
    may_refuse: bool = False
    pictures: bool = False
    alone: bool = False
    marks: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def words(self) -> tuple[str, ...]:
        """The disturbed command, which is also the one that goes on."""
        scene, run = self.scene, self.run
        parts = [str(p) for p in scene.parts(self.verdict)]
        return {
            "run": scene.ask(self.verdict, run),
            "score": ("score", str(run)),
            "report": ("report", str(run)),
            "signoff": scene.signoff(self.verdict, run),
            "verify": scene.verify(run),
            "merge": ("merge", *parts, "--output-path", str(run)),
        }[self.step]

    def do(self, words: tuple[str, ...], how: How | None = None) -> Ended:
        """A command, with a traceback or a hang remembered."""
        how = how or How()
        how.pictures = self.pictures
        ended = command(words, self.home, how)
        self.said.append(f"{words[0]}: {ended.code}: {ended.said[-300:]}")
        if ended.code == 1 or "Traceback (most recent" in ended.said:
            self.marks.append(f"traceback in {words[0]}")
        if ended.code is None:
            self.marks.append(f"{words[0]} hangs")
        return ended


STEPS = ("run", "run", "run", "score", "report", "signoff", "verify", "merge")


def prepare(trial: Trial, steps: tuple[str, ...] = STEPS) -> None:
    """Draw the command, and make the folder as it is before it."""
    trial.step, trial.run = trial.chance.choice(steps), trial.home / "run"
    if isinstance(trial.scene, Elsewhere):
        trial.step = "run"  # whose words are those of `import`
    # Evidence holds the page that was signed: `signoff` and `verify` see the page that the scene's run has.
    trial.pictures = trial.number % 4 == 0 and trial.step in ("run", "score", "report", "merge")
    if trial.step in ("run", "merge"):
        return
    if trial.step == "score":
        shutil.copytree(trial.scene.predicted(trial.verdict), trial.run)
        return
    shutil.copytree(trial.scene.finished(trial.verdict), trial.run)
    if trial.step in ("report", "signoff"):
        shutil.rmtree(trial.run / "evidence")


def moment(trial: Trial) -> float:
    """Seconds into the command: anywhere in it, now and then behind its end."""
    return trial.chance.uniform(0, 1.1) * trial.scene.seconds[trial.step]


def meanwhile(trial: Trial, act: Callable[[int], Any]) -> How:
    """Do something at a drawn moment beside the command; how far it has come is drawn by its records, not by a clock
    that a busy machine stretches, in half of the trials of `run`."""
    at, aim = moment(trial), 0
    if trial.step == "run" and trial.chance.random() < 0.5:
        aim, at = int(trial.chance.uniform(0, 1) * _bytes(trial.scene.finished(trial.verdict))), scene.PATIENCE

    def watch(pid: int) -> None:
        began = time.monotonic()
        while running(pid) and time.monotonic() - began < at and not (aim and _bytes(trial.run) >= aim):
            time.sleep(0.002)
        act(pid)

    return How(meanwhile=watch, cold=trial.chance.random() < 0.05)


def _bytes(run: Path) -> int:
    total = 0
    for path in [*run.glob("*/outputs.jsonl"), *run.glob("*/scores/*.jsonl")]:
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


def _send(number: int) -> Callable[[int], None]:
    def send(pid: int) -> None:
        if running(pid):
            os.kill(pid, number)

    return send


def killed(trial: Trial) -> None:
    prepare(trial)
    trial.first = trial.do(trial.words(), meanwhile(trial, _send(signal.SIGKILL)))


def told_to_end(trial: Trial) -> None:
    prepare(trial)
    number = trial.chance.choice([signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    trial.first = trial.do(trial.words(), meanwhile(trial, _send(number)))


def killed_often(trial: Trial) -> None:
    prepare(trial, ("run", "score", "merge"))
    for _ in range(3):
        trial.first = trial.do(trial.words(), meanwhile(trial, _send(signal.SIGKILL)))


def halted(trial: Trial) -> None:
    """SIGSTOP, a second process meanwhile, SIGCONT."""
    prepare(trial, ("run", "run", "score"))

    def halt(pid: int) -> None:
        if running(pid):
            os.kill(pid, signal.SIGSTOP)
            second = command(trial.words(), trial.home / "..", How(pictures=False))
            if second.code not in (0, 2):
                trial.marks.append(f"the second process ended with {second.code}")
            os.kill(pid, signal.SIGCONT)

    trial.first = trial.do(trial.words(), meanwhile(trial, halt))


def two_at_once(trial: Trial) -> None:
    prepare(trial, ("run", "score", "signoff", "report"))
    ends: list[Ended] = []
    (trial.home / "other").mkdir()

    def second() -> None:
        ends.append(command(trial.words(), trial.home / "other", How(pictures=False)))

    def start(pid: int) -> None:
        second()

    trial.first = trial.do(trial.words(), meanwhile(trial, start))
    if ends[0].code == 1:
        trial.marks.append("traceback in the second process")
        trial.said.append(ends[0].said[-1500:])


def lock_left(trial: Trial) -> None:
    """A lock file and temporary files of a process that is gone."""
    prepare(trial, ("run", "score", "signoff", "merge"))
    trial.run.mkdir(exist_ok=True)
    (trial.run / ".lock").write_text("99999")
    (trial.run / ".run.json.99999.tmp").write_bytes(b'{"schema": 3, "tas')
    (trial.run / ".results.json.99999.tmp").write_bytes(b"")
    trial.first = trial.do(trial.words())


def moved(trial: Trial) -> None:
    """The folder is moved, or copied, while a command writes it; the next one works on where it is now."""
    prepare(trial, ("run", "score", "signoff"))
    target, copies = trial.home / "moved", trial.chance.random() < 0.5

    def move(pid: int) -> None:
        if not trial.run.exists():
            return
        if copies:
            subprocess.run(["cp", "-r", trial.run, target], check=False, capture_output=True)
        else:
            trial.run.rename(target)

    trial.first = trial.do(trial.words(), meanwhile(trial, move))
    if target.exists():
        trial.run = target


def clock_back(trial: Trial) -> None:
    """The clock jumps back, by a minute to ten years, while the command runs."""
    prepare(trial)
    back, left = trial.chance.choice([60, 86400, 3.2e8]), trial.chance.randrange(12)

    def prelude() -> None:
        real_time, real_gmtime, calls = time.time, time.gmtime, iter(range(10**9))

        def jumped(*given: float) -> time.struct_time:
            late = next(calls) >= left
            return real_gmtime(*given) if given else real_gmtime(real_time() - (back if late else 0))

        time.gmtime = jumped  # type: ignore[assignment]
        time.time = lambda: real_time() - (back if next(calls) >= left else 0)

    trial.first = trial.do(trial.words(), How(prelude=prelude))
    trial.may_refuse = True


def _on_disk(trial: Trial) -> bool:
    """Move the folder to a tmpfs of its own, which needs root; False where that is not to be had."""
    disk = trial.home / "disk"
    disk.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=2g", "tmpfs", str(disk)]
    if subprocess.run(words, check=False, capture_output=True).returncode:
        return False
    if trial.run.exists():
        shutil.copytree(trial.run, disk / "run")
    trial.run = disk / "run"
    return True


def _remount(trial: Trial, options: str) -> bool:
    words = ["mount", "-o", f"remount,{options}", str(trial.home / "disk")]
    return subprocess.run(words, check=False, capture_output=True).returncode == 0


def disk_full(trial: Trial) -> None:
    """A small tmpfs (as root), else a limit on the size of a file; later there is room."""
    prepare(trial, ("run", "score", "report", "signoff", "merge"))
    room = trial.chance.randrange(0, 300) << 10
    if not _on_disk(trial):
        return file_limit(trial)

    def shrink(_: int) -> None:
        used = shutil.disk_usage(trial.home / "disk").used
        _remount(trial, f"size={max(4096, used + room)}")

    how = meanwhile(trial, shrink)
    trial.first = trial.do(trial.words(), how)
    _remount(trial, "size=2g")


def read_only(trial: Trial) -> None:
    """A file system that becomes read-only under the command, and writable again."""
    prepare(trial, ("run", "score", "report", "signoff", "merge"))
    if not _on_disk(trial):
        return file_limit(trial)

    def remount(pid: int) -> None:
        # A file that is open for writing keeps a mount writable: then again, until none is.
        while running(pid) and not _remount(trial, "ro"):
            time.sleep(0.005)

    trial.first = trial.do(trial.words(), meanwhile(trial, remount))
    _remount(trial, "rw")


def file_limit(trial: Trial) -> None:
    """RLIMIT_FSIZE: a file may not grow beyond some size (as a quota)."""
    prepare(trial, ("run", "score", "report", "signoff", "merge"))
    limit = {resource.RLIMIT_FSIZE: trial.chance.randrange(500, 60_000)}
    ignore = (lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN)) if trial.chance.random() < 0.7 else None
    trial.first = trial.do(trial.words(), How(limits=limit, prelude=ignore))


def few_files(trial: Trial) -> None:
    prepare(trial)
    trial.first = trial.do(trial.words(), How(limits={resource.RLIMIT_NOFILE: trial.chance.randrange(4, 24)}))


def little_memory(trial: Trial) -> None:
    """RLIMIT_AS a little above what the process holds when it begins."""
    prepare(trial)
    extra = trial.chance.randrange(0, 60) << 20

    def prelude() -> None:
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + extra, held + extra))

    trial.first = trial.do(trial.words(), How(prelude=prelude))


def pipe_closed(trial: Trial) -> None:
    """Whoever reads what the command prints goes away."""
    prepare(trial)
    read, write = os.pipe()

    def close(_: int) -> None:
        os.close(write)
        os.close(read)

    trial.first = trial.do(trial.words(), How(output=write, meanwhile=close))


def odd_terminal(trial: Trial) -> None:
    """TERM, columns, language, home and umask as nobody has them, in part on a real terminal."""
    prepare(trial)
    chance = trial.chance
    odd = {
        "TERM": chance.choice(["dumb", "-", "xterm-256color", ""]),
        "COLUMNS": chance.choice(["40", "-", "1", "100000", "x"]),
        "LANG": chance.choice(["C", "POSIX", "-", "de_DE.UTF-8", "nonsense"]),
        "LC_ALL": chance.choice(["C", "-", "-"]),
        "PYTHONIOENCODING": chance.choice(["ascii", "latin-1", "-"]),
        "HOME": chance.choice(["-", "/nonexistent", str(trial.home)]),
        "XDG_CACHE_HOME": "-",
    }
    mask = chance.choice([0, 0o022, 0o077, 0o177])
    cold = chance.random() < 0.2
    how = How(environment=odd, prelude=lambda: os.umask(mask), cold=cold)
    if chance.random() < 0.5:
        ours, theirs = pty.openpty()
        threading.Thread(target=_drain, args=(ours,), daemon=True).start()
        how.output = theirs
    trial.first = trial.do(trial.words(), how)
    if how.output is not None:
        os.close(how.output)
    if mask == 0o177:  # a folder that even its owner cannot enter, but for root
        for path in trial.home.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)


def _drain(end: int) -> None:
    try:
        while os.read(end, 4096):
            pass
    except OSError:
        os.close(end)


DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "torn": lambda b, c: b[: c.randrange(len(b) + 1)],
    "empty": lambda b, c: b"",
    "garbage at the end": lambda b, c: b + c.randbytes(c.randrange(1, 300)),
    "garbage line at the end": lambda b, c: b + c.randbytes(c.randrange(1, 300)) + b"\n",
    "zeros at the end": lambda b, c: b[: c.randrange(len(b) + 1)] + bytes(c.randrange(1, 4096)),
    "a byte changed": lambda b, c: _flip(b, c),
    "a block of zeros": lambda b, c: _zeros(b, c),
    "a line taken out": lambda b, c: b"".join(_without(b.splitlines(keepends=True), c)),
    "a line doubled": lambda b, c: b"".join(_doubled(b.splitlines(keepends=True), c)),
    "lines turned round": lambda b, c: b"".join(reversed(b.splitlines(keepends=True))),
}


def _flip(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    if changed:
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(7)
    return bytes(changed)


def _zeros(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(content) + 1)
    return content[:at] + bytes(min(512, len(content) - at)) + content[at + 512 :]


def _without(lines: list[bytes], chance: random.Random) -> list[bytes]:
    at = chance.randrange(len(lines) + 1)
    return lines[:at] + lines[at + 1 :]


def _doubled(lines: list[bytes], chance: random.Random) -> list[bytes]:
    at = chance.randrange(len(lines) + 1)
    return lines[:at] + lines[at : at + 1] * 2 + lines[at + 1 :]


def _files(run: Path) -> list[Path]:
    kept = [p for p in sorted(run.rglob("*")) if p.is_file() and p.name != ".lock"]
    return [p for p in kept if not {"charts", "evidence"} & set(p.relative_to(run).parts)]


def damaged(trial: Trial) -> None:
    """A file of a run is torn, emptied, changed, or takes another's place; then the chain goes on."""
    trial.step, trial.run = "run", trial.home / "run"
    shutil.copytree(trial.scene.finished(trial.verdict), trial.run)
    half = trial.chance.random() < 0.5
    if half:
        _unfinish(trial)
    files = _files(trial.run)
    path = trial.chance.choice(files)
    kind = trial.chance.choice([*DAMAGES, "swapped", "gone"])
    if kind == "swapped":
        other = trial.chance.choice([p for p in files if p != path])
        content = other.read_bytes()
        other.write_bytes(path.read_bytes())
        path.write_bytes(content)
    elif kind == "gone":
        path.unlink()
    else:
        path.write_bytes(DAMAGES[kind](path.read_bytes(), trial.chance))
    trial.said.append(f"{kind}: {path.relative_to(trial.run)}{', half done' if half else ''}")
    trial.may_refuse = True
    first = trial.scene.signoff(trial.verdict, trial.run)
    others = [first, ("report", str(trial.run)), ("score", str(trial.run)), trial.scene.verify(trial.run)]
    trial.first = trial.do(trial.chance.choice(others))
    if trial.first.words[0] == "verify" and trial.first.code == 0 and _differs(trial):
        trial.marks.append("verify says yes to a damaged run")


def _unfinish(trial: Trial) -> None:
    """Take the folder back to where some answers are owed, as a kill leaves it."""
    shutil.rmtree(trial.run)
    trial.do(trial.words(), meanwhile(trial, _send(signal.SIGKILL)))
    if not trial.run.exists() or not _files(trial.run):
        shutil.rmtree(trial.run, ignore_errors=True)
        shutil.copytree(trial.scene.finished(trial.verdict), trial.run)


def _differs(trial: Trial) -> bool:
    try:
        return bool(scene.harms(trial.run, trial.scene.finished(trial.verdict)))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return True


SCORER = """
import time
from dataclasses import replace
from safety_eval.core.interfaces import ScorerEntry
from safety_eval.core.records import Score, key


class Given:
    identity = {{"name": "given", "version": {version}}}

    def __init__(self, spec):
        pass

    def score(self, answers):
        for i, (prompt, output) in enumerate(list(answers)):
            good = Score(key(output), output.prompt_id, output.sample, "given", values={{"sentiment": {value}}})
            {odd}
            yield good

    def close(self):
        pass


SCORER = ScorerEntry(Given, lambda args: frozenset({{"sentiment"}}))
"""
ODD_SCORERS = {
    "raises": "if i == AT: raise RuntimeError('broken')",
    "ends the program": "if i == AT: raise SystemExit(0)",
    "is interrupted": "if i == AT: raise KeyboardInterrupt",
    "gives NaN": "if i == AT: good = replace(good, values={'sentiment': float('nan')})",
    "gives infinity": "if i == AT: good = replace(good, values={'sentiment': 1e999})",
    "gives a list": "if i == AT: good = replace(good, values={'sentiment': [0.1]})",
    "gives a text": "if i == AT: good = replace(good, values={'sentiment': 'bad'})",
    "gives None": "if i == AT: good = replace(good, values={'sentiment': None})",
    "gives no score": "if i == AT: good = None",
    "gives a number": "if i == AT: good = 0.5",
    "gives too few": "if i == AT: continue",
    "ends too soon": "if i == AT: return",
    "gives one twice": "if i == AT: yield good",
    "scores what was not asked": "if i == AT: good = Score('0' * 32, 'nobody', 0, 'given', {'sentiment': 0.1})",
    "names another value": "if i == AT: good = replace(good, values={'mood': 0.1})",
    "hangs": "if i == AT: time.sleep(1000)",
    "runs out of memory": "if i == AT: raise MemoryError",
    "meets a full disk": "if i == AT: raise OSError(28, 'No space left on device')",
}


def odd_scorer(trial: Trial) -> None:
    """A scorer of somebody's own misbehaves at one answer; then its file is mended, and the command goes on."""
    kind = trial.chance.choice(sorted(ODD_SCORERS))
    odd = ODD_SCORERS[kind].replace("AT", str(trial.chance.randrange(90)))
    path = trial.home / "given.py"
    path.write_text(SCORER.format(version=1, value="0.5", odd=odd))
    trial.said.append(f"a scorer {kind}")
    trial.step, trial.run, trial.may_refuse, trial.alone = "run", trial.home / "run", True, True
    words = trial.scene.ask(trial.verdict, trial.run, "--scorer", f"steady={path}")
    how = meanwhile(trial, lambda pid: _after(pid, 4.0)) if kind == "hangs" else How()
    trial.first = trial.do(words, how)
    if trial.first.code == 0:
        trial.marks.append(f"silent: exit 0 although a scorer {kind}")
    path.write_text(SCORER.format(version=1, value="0.5", odd="pass"))
    # A word is a value too; a measure that wants a number says so, and the scores that hold it stay as they were.
    _own_scores(trial, words, may_refuse=kind == "gives a text")


def _after(pid: int, seconds: float) -> None:
    end = time.monotonic() + seconds
    while running(pid) and time.monotonic() < end:
        time.sleep(0.01)
    _send(signal.SIGKILL)(pid)


def _own_scores(trial: Trial, words: tuple[str, ...], may_refuse: bool) -> None:
    """With the mended scorer every answer has its one score, or the command says why not."""
    ended = trial.do(words)
    counted, times = scene.records(trial.run)
    scores = {name: row for name, row in counted.items() if name[0] == "score" and name[2] == "given"}
    values = [row["values"].get("sentiment") for row in scores.values()]
    if ended.code == 0 and (len(scores) != 90 or set(values) != {0.5}):
        trial.marks.append(f"after mending, {len(scores)} scores, values {sorted(map(str, set(values)))}")
    if ended.code != 0 and not (may_refuse and ended.code == 2):
        trial.marks.append("stuck after mending")
    if max((n for name, n in times.items() if name[0] == "score"), default=0) > 1 and ended.code == 0:
        trial.said.append("a score stands twice")


ENGINE = """
import time
from dataclasses import replace
from safety_eval.core.interfaces import EngineEntry
from safety_eval.core.records import Output, key

CAPABILITIES = frozenset({{"generate", "choose", "chat_template"}})


class Given:
    capabilities = CAPABILITIES

    def __init__(self, spec):
        self.identity = {{"name": "given", "model": spec.model, "revision": "", "weights": "{weights}", "tokenizer": "",
                         "chat_template": "{template}", "dtype": "none", "device": "none",
                         "versions": {{"p": "{version}"}}}}

    def generate(self, prompts, settings):
        for i, prompt in enumerate(prompts):
            time.sleep(0.002)
            made = {{"prompt_key": key(prompt), "prompt_id": prompt.id, "sample": settings.sample}}
            good = Output(**made, text="{text}", stop_reason="eos")
            {odd}
            yield good

    def choose(self, prompts, settings):
        for i, prompt in enumerate(prompts):
            made = {{"prompt_key": key(prompt), "prompt_id": prompt.id, "sample": settings.sample}}
            good = Output(**made, choice_logprobs=(-1.0, -2.0), stop_reason="choice")
            {odd}
            yield good

    def close(self):
        pass


ENGINE = EngineEntry(Given, CAPABILITIES, default_model="given")
"""
ODD_ENGINES = {
    "raises": "if i == AT: raise RuntimeError('broken')",
    "ends the program": "if i == AT: raise SystemExit(0)",
    "gives too few": "if i == AT: continue",
    "ends too soon": "if i == AT: return",
    "gives one twice": "if i == AT: yield good",
    "answers what was not asked": "if i == AT: good = Output(prompt_key='0' * 32, prompt_id='nobody', text='x')",
    "answers another's prompt": "if i == AT: good = replace(good, prompt_key='0' * 32)",
    "answers another sample": "if i == AT: good = Output(key(prompt), prompt.id, 77, text='x', stop_reason='eos')",
    "gives NaN": "if i == AT: good = replace(good, choice_logprobs=(float('nan'), -1.0))",
    "gives a number": "if i == AT: good = 0.5",
    "gives a text of another type": "if i == AT: good = Output(**made, text=5, stop_reason='eos')",
    "gives neither text nor error": "if i == AT: good = Output(**made)",
    "runs out of memory": "if i == AT: raise MemoryError",
}


def odd_engine(trial: Trial) -> None:
    """An engine of somebody's own misbehaves at one prompt; then it is mended, and the command goes on."""
    kind = trial.chance.choice(sorted(ODD_ENGINES))
    odd = ODD_ENGINES[kind].replace("AT", str(trial.chance.randrange(20)))
    path, facts = trial.home / "given.py", {"weights": "w", "template": "t", "version": "1", "text": "It was fine."}
    path.write_text(ENGINE.format(**facts, odd=odd))
    trial.said.append(f"an engine {kind}")
    trial.step, trial.run, trial.may_refuse, trial.alone = "run", trial.home / "run", True, True
    words = _with_engine(trial, path)
    trial.first = trial.do(words)
    if trial.first.code == 0:
        trial.marks.append(f"silent: exit 0 although an engine {kind}")
    path.write_text(ENGINE.format(**facts, odd="pass"))
    ended = trial.do(words)
    counted, _ = scene.records(trial.run)
    outputs = [name for name in counted if name[0] == "output"]
    if ended.code != 0:
        trial.marks.append("stuck after mending")
    elif len(outputs) != 114:
        trial.marks.append(f"after mending, {len(outputs)} answers where 114 were asked")


def _with_engine(trial: Trial, path: Path) -> tuple[str, ...]:
    words = list(trial.scene.ask(trial.verdict, trial.run))
    words[words.index("--engine") + 1] = str(path)
    words[words.index("--model") + 1] = "given"
    return tuple(words)


def changed(trial: Trial) -> None:
    """Something changes between a kill and the resume; the resumed run is of one piece, or it is refused."""
    trial.step, trial.run, trial.may_refuse, trial.alone = "run", trial.home / "run", True, True
    what = trial.chance.choice(["data", "measure", "model", "template", "engine's version", "scorer", "package"])
    trial.said.append(f"changed: the {what}")
    engine = trial.home / "given.py"
    facts = {"weights": "w", "template": "t", "version": "1", "text": "It was fine.", "odd": "pass"}
    engine.write_text(ENGINE.format(**facts))
    scorer = trial.home / "judge.py"
    scorer.write_text(SCORER.format(version=1, value="0.25", odd="time.sleep(0.002)"))
    for name, task in (("steady", STEADY), ("picks", PICKS)):
        (trial.home / f"{name}.py").write_text(task_text(task))
    words = list(_with_engine(trial, engine))
    words[words.index("--tasks") + 1] = f"{trial.home / 'steady.py'},{trial.home / 'picks.py'}"
    if what == "scorer":
        words += ["--scorer", f"steady={scorer}"]
    trial.first = trial.do(tuple(words), meanwhile(trial, _send(signal.SIGKILL)))
    how = How()
    if what == "data":
        (trial.home / "steady.py").write_text(task_text(STEADY, words=" indeed"))
    elif what == "measure":
        (trial.home / "steady.py").write_text(task_text(STEADY, measure='v["sentiment"] < 2'))
    elif what == "scorer":
        scorer.write_text(SCORER.format(version=2, value="0.75", odd="pass"))
    elif what == "package":
        how = How(prelude=_newer)
    else:
        other = {"model": ("weights", "v"), "template": ("template", "u"), "engine's version": ("version", "2")}[what]
        engine.write_text(ENGINE.format(**{**facts, other[0]: other[1], "text": "It was awful."}))
    ended = trial.do(tuple(words), how)
    if ended.code in (0, 4):
        _of_one_piece(trial, what)


def _newer() -> None:
    real = importlib.metadata.version
    importlib.metadata.version = lambda name: "99.0" if name == "vaderSentiment" else real(name)


def _of_one_piece(trial: Trial, what: str) -> None:
    counted, _ = scene.records(trial.run)
    texts = {row["text"] for name, row in counted.items() if name[:2] == ("output", "steady")}
    values = {str(row["values"]) for name, row in counted.items() if name[0] == "score" and name[2] == "judge"}
    words = {"indeed" in row["text"] for name, row in counted.items() if name[:2] == ("prompt", "steady")}
    for many, kind in ((texts, "answers"), (values, "scores"), (words, "prompts")):
        if len(many) > 1:
            trial.marks.append(f"mixed {kind} after another {what}")


KINDS: dict[str, tuple[Callable[[Trial], None], int]] = {
    "SIGKILL": (killed, 9),
    "SIGKILL three times": (killed_often, 3),
    "SIGTERM, SIGINT, SIGHUP": (told_to_end, 6),
    "SIGSTOP, a second process, SIGCONT": (halted, 2),
    "two processes in one folder": (two_at_once, 3),
    "a stale lock and temporary files": (lock_left, 1),
    "folder moved or copied meanwhile": (moved, 3),
    "clock jumps back": (clock_back, 3),
    "full disk": (disk_full, 5),
    "disk becomes read-only": (read_only, 3),
    "file size limit": (file_limit, 2),
    "too many open files": (few_files, 3),
    "memory limit": (little_memory, 4),
    "broken pipe": (pipe_closed, 2),
    "terminal, language, home, umask": (odd_terminal, 4),
    "a file torn, empty, swapped, garbage": (damaged, 12),
    "a scorer misbehaves": (odd_scorer, 7),
    "an engine misbehaves": (odd_engine, 5),
    "something changes before the resume": (changed, 6),
}
"""Each disturbance with its share of the trials."""
IMPORT_KINDS = {
    f"import: {name}": kind
    for name, kind in KINDS.items()
    if kind[0] not in (damaged, odd_scorer, odd_engine, changed, halted)
}
"""Those that may strike `import`, whatever the engine."""
