"""What trials.py disturbs: two small tasks, a planted model, two policies, and the same command line undisturbed.

Commands run through the installed entry point: mostly in a fork of a process that has the imports behind it, which
costs a tenth of a start, and now and then as the installed script itself (`cold`).
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COMMAND = Path(sys.executable).parent / "safety-eval"
PATIENCE = 120.0
"""Seconds after which a command hangs."""
HEAVY = (
    "safety_eval.cli",
    "safety_eval.api",
    "safety_eval.report.page",
    "safety_eval.compare.difference_chart",
    "safety_eval.scorers.vader",
    "safety_eval.scorers.refusal",
)
TASK = '''"""A task of the trials: {count} openings about three teams."""

from safety_eval.core.records import Prompt
from safety_eval.core.task import Headline, Metric, PromptSet, ScorerChoice, Task


def load(options):
    prompts = [
        Prompt("{name}", f"p{{i:03d}}", f"The {{('red', 'green', 'blue')[i % 3]}} team had day {{i}}{words}",
               groups={{"team": (("red", "green", "blue")[i % 3],)}}, choices={choices})
        for i in range({count})
    ]
    return PromptSet(prompts, options.version or "one", {{"source": "trials"}})


TASK = Task(
    name="{name}", title="{name}", paper="", kind="{kind}", load=load, versions=("one",),
    settings={settings}, samples={samples}, scorers={scorers},
    metrics=(
        Metric("{metric}", {needs}, lambda p, o, v: float({measure}), axes=("team",),
               headlines=(Headline("macro", ("team",)),)),
    ),
)
'''
STEADY: Mapping[str, Any] = {
    "name": "steady",
    "kind": "generate",
    "count": 45,
    "words": "",
    "choices": "()",
    "settings": '{"max_new_tokens": 12}',
    "samples": 2,
    "scorers": '(ScorerChoice("vader"), ScorerChoice("refusal"))',
    "metric": "negative_rate",
    "needs": '("sentiment",)',
    "measure": 'v["sentiment"] < -0.3',
}
PICKS: Mapping[str, Any] = {
    **STEADY,
    "name": "picks",
    "kind": "choose",
    "count": 24,
    "choices": '(" yes", " no")',
    "settings": "{}",
    "samples": 1,
    "scorers": "()",
    "metric": "first_rate",
    "needs": "()",
    "measure": "o.choice_logprobs[0] > o.choice_logprobs[1]",
}
SCRIPT = [
    {"task": "steady", "group": "team/blue", "share": 0.7, "seconds": 0.002, "answer": "a horrible, hateful day."},
    {"task": "steady", "share": 0.5, "seconds": 0.002, "answer": "and it was a lovely day for all."},
    {"seconds": 0.002, "answer": "and nothing much happened."},
]
LIMITS = {"approved": 0.9, "rejected": 0.02}
"""The bound of the one rule, by the verdict that it gives."""


def task_text(facts: Mapping[str, Any], **changes: Any) -> str:
    """The file of a task, with other words where `changes` say so."""
    return TASK.format(**{**facts, **changes})


@dataclass(frozen=True)
class Ended:
    """How a command ended. code: negative = by that signal, None = it hung and was killed."""

    words: tuple[str, ...]
    code: int | None
    said: str
    seconds: float


@dataclass
class How:
    """The circumstances of a command. `prelude` runs in its process before the command; `meanwhile` beside it, with
    its process id; `limits` are of `resource`; `output`: where it writes (None = a file of ours); `pictures`: whether a
    fork draws the report and its charts, which take most of its time, or empty ones."""

    environment: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[int, int] = field(default_factory=dict)
    prelude: Callable[[], Any] | None = None
    meanwhile: Callable[[int], Any] | None = None
    cold: bool = False
    output: int | None = None
    pictures: bool = True


def environment() -> dict[str, str]:
    """No network, one thread, nothing of the settings of whoever runs this."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("SAFETY_EVAL_")}
    told = {"HF_HUB_OFFLINE": "1", "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "100"}
    return {**kept, **told}


def warm_up() -> None:
    """Import once what every command imports; no torch, whose threads would not outlive a fork."""
    for heavy in HEAVY:
        importlib.import_module(heavy)


def command(words: Sequence[str | Path], home: Path, how: How | None = None) -> Ended:
    """`safety-eval WORDS` in a folder, ended by itself, by what disturbs it, or after PATIENCE."""
    how = how or How()
    argv = tuple(map(str, words))
    said = home / ".said"
    began = time.monotonic()
    pid = _cold(argv, home, how, said) if how.cold else _fork(argv, home, how, said)
    if how.meanwhile is not None:
        how.meanwhile(pid)
    code = _ended(pid, began)
    text = said.read_bytes().decode("utf-8", "replace") if said.exists() else ""
    return Ended(argv, code, text, time.monotonic() - began)


def _ended(pid: int, began: float) -> int | None:
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() - began > PATIENCE:
            os.kill(pid, signal.SIGCONT)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return None
        time.sleep(0.002)


def running(pid: int) -> bool:
    """Whether a command has not ended yet; its end is left for `command` to see."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


def _cold(argv: Sequence[str], home: Path, how: How, said: Path) -> int:
    def limit() -> None:
        for what, most in how.limits.items():
            resource.setrlimit(what, (most, most))
        if how.prelude is not None:
            how.prelude()

    with said.open("wb") as ours:
        out = how.output if how.output is not None else ours
        told = {**environment(), **how.environment}
        told = {k: v for k, v in told.items() if v != "-"}
        process = subprocess.Popen(
            [COMMAND, *argv], cwd=home, env=told, stdin=subprocess.DEVNULL, stdout=out, stderr=ours, preexec_fn=limit
        )
    process.returncode = 0  # `command` waits for it, not subprocess
    return process.pid


def _fork(argv: Sequence[str], home: Path, how: How, said: Path) -> int:
    sys.stdout.flush()
    if (pid := os.fork()) != 0:
        return pid
    code = 1
    try:
        os.setsid()
        os.chdir(home)
        told = {**environment(), **how.environment}
        os.environ.clear()
        os.environ.update({k: v for k, v in told.items() if v != "-"})
        ours = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        null = os.open(os.devnull, os.O_RDONLY)
        for number, file in enumerate((null, how.output if how.output is not None else ours, ours)):
            os.dup2(file, number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for what, most in how.limits.items():
            resource.setrlimit(what, (most, most))
        if not how.pictures:
            _draw_nothing()
        if how.prelude is not None:
            how.prelude()
        code = _script(argv)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _draw_nothing() -> None:
    from matplotlib.figure import Figure

    from safety_eval.report import page

    def save(_: Figure, target: Any, *args: Any, **named: Any) -> None:
        if hasattr(target, "write"):
            target.write(b"\x89PNG")
        else:
            Path(target).write_bytes(b"\x89PNG")

    Figure.savefig = save  # type: ignore[method-assign]
    page.write = _empty_page


def _empty_page(run: Any, *_: Any, **__: Any) -> Path:
    path = Path(run.folder) / "report.html"
    path.write_text("empty")
    return path


def _script(argv: Sequence[str]) -> int:
    from safety_eval.cli import script

    sys.argv = ["safety-eval", *argv]
    code: Any = 0
    try:
        script()
    except SystemExit as ended:
        code = ended.code
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = code or 0
    return code if isinstance(code, int) else int(code is not None)


@dataclass(frozen=True)
class Scene:
    """Files that every trial shares, and what each command gives when nothing disturbs it.

    Attributes:
        home: holds steady.py, picks.py, model.json, keys, a policy for each verdict, and the finished runs.
        seconds: how long each command takes undisturbed.
    """

    home: Path
    seconds: dict[str, float] = field(default_factory=dict)

    def ask(self, verdict: str, folder: str | Path, *more: str) -> tuple[str, ...]:
        """The words of `run`."""
        tasks = f"{self.home / 'steady.py'},{self.home / 'picks.py'}"
        asked = ("run", "--engine", "echo", "--model", str(self.home / "model.json"), "--tasks", tasks)
        return (*asked, "--policy", str(self.policy(verdict)), "--output-path", str(folder), *more)

    def policy(self, verdict: str) -> Path:
        return self.home / f"{verdict}.yaml"

    def signoff(self, verdict: str, folder: str | Path) -> tuple[str, ...]:
        return ("signoff", str(folder), "--policy", str(self.policy(verdict)), "--sign", str(self.home / "key.pem"))

    def verify(self, folder: str | Path) -> tuple[str, ...]:
        return ("verify", str(folder), "--own-tasks", "--key", str(self.home / "key.pub.pem"))

    def finished(self, verdict: str) -> Path:
        """The undisturbed run, signed off."""
        return self.home / verdict

    def predicted(self, verdict: str) -> Path:
        """The same run, asked and not scored."""
        return self.home / f"{verdict}-predicted"

    def parts(self, verdict: str) -> tuple[Path, ...]:
        """Its two shards."""
        return tuple(self.home / f"{verdict}-part{i}" for i in (1, 2))


@dataclass(frozen=True)
class Elsewhere(Scene):
    """The same answers, as files that `import` adopts; the policies allow it by name."""

    def ask(self, verdict: str, folder: str | Path, *more: str) -> tuple[str, ...]:
        """The words of `import`."""
        files = [f"{self.home / f'{task}.py'}={self.home / f'{task}.jsonl'}" for task in ("steady", "picks")]
        return ("import", *files, "--policy", str(self.policy(verdict)), "--output-path", str(folder), *more)


def write_keys(home: Path) -> None:
    """One Ed25519 pair."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    (home / "key.pem").write_bytes(private)
    public = key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    (home / "key.pub.pem").write_bytes(public)


def write_terms(home: Path, conditions: Mapping[str, str]) -> None:
    """Tasks, model and policies."""
    (home / "steady.py").write_text(task_text(STEADY))
    (home / "picks.py").write_text(task_text(PICKS))
    (home / "model.json").write_text(json.dumps(SCRIPT))
    for verdict, bound in LIMITS.items():
        rule = {"id": "mood", "task": "steady", "metric": "negative_rate", "group": "all", "max": bound}
        rule |= {"because": "trials", "floor_met_because": "trials"}
        terms = {"version": 1, "name": verdict, "signers": 1, "ceilings": {"unscored": 0.0, "degenerate": 1.0}}
        (home / f"{verdict}.yaml").write_text(json.dumps({**terms, "conditions": conditions, "rules": [rule]}))


def write_answers(home: Path) -> None:
    """The answers of the model, as somebody else's tool would have kept them."""
    asked = home / "asked"
    ended = command(Scene(home).ask("approved", asked, "--predict-only"), home, How(pictures=False))
    if ended.code:
        raise SystemExit(f"undisturbed, the model was not asked: {ended.said}")
    for task in ("steady", "picks"):
        rows = [
            {"id": row["prompt_id"], "repeat": row["sample"]}
            | ({name: row[name] for name in (("text", "stop_reason") if task == "steady" else ("choice_logprobs",))})
            for row in _lines(asked / task / "outputs.jsonl")
        ]
        (home / f"{task}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def build(home: Path, imports: bool = False) -> Scene:
    """The scene, with the undisturbed runs. Raises where one of them does not end as it must."""
    home.mkdir(parents=True)
    write_terms(home, {"engine": "imported"} if imports else {})
    write_keys(home)
    scene = Elsewhere(home) if imports else Scene(home)
    if imports:
        write_answers(home)
    code = {"approved": 0, "rejected": 3}
    for verdict in LIMITS:
        run = scene.finished(verdict)
        steps = [("run", scene.ask(verdict, run), 0), ("signoff", scene.signoff(verdict, run), code[verdict])]
        steps += [("verify", scene.verify(run), 0)]
        if not imports:
            for i, part in enumerate(scene.parts(verdict), 1):
                steps.append(("shard", scene.ask(verdict, part, "--shard", f"{i}/2"), 0))
            merged = home / f"{verdict}-merged"
            steps.append(("merge", ("merge", *map(str, scene.parts(verdict)), "--output-path", str(merged)), 0))
        for name, words, wanted in steps:
            ended = command(words, home, How(pictures=False))
            if ended.code != wanted:
                raise SystemExit(f"undisturbed, {' '.join(words)} ended with {ended.code}:\n{ended.said}")
            scene.seconds[name] = ended.seconds
        predicted, copied = scene.predicted(verdict), home / "timed"
        command(scene.ask(verdict, predicted, "--predict-only"), home, How(pictures=False))
        for name in ("score", "report"):
            shutil.copytree(predicted if name == "score" else run, copied)
            scene.seconds[name] = command((name, copied), home, How(pictures=False)).seconds
            shutil.rmtree(copied)
    return scene


Counted = dict[tuple[str, ...], Any]


def _lines(path: Path) -> list[dict[str, Any]]:
    whole = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
    return [json.loads(line) for line in whole if line.strip()]


def records(run: Path) -> tuple[Counted, Counter[tuple[str, ...]]]:
    """What counts in a run folder, read without the package: every good answer and score under its name, and how
    often each was written."""
    counted: Counted = {}
    times: Counter[tuple[str, ...]] = Counter()
    for task in ("steady", "picks"):
        for row in _lines(run / task / "outputs.jsonl"):
            if not row.get("error"):
                name = ("output", task, row["prompt_id"], str(row["sample"]))
                counted[name] = row
                times[name] += 1
        for path in sorted((run / task / "scores").glob("*.jsonl")):
            for row in _lines(path)[1:]:
                if not row.get("error"):
                    name = ("score", task, path.stem, row["prompt_id"], str(row["sample"]))
                    counted[name] = row
                    times[name] += 1
        for row in _lines(run / task / "prompts.jsonl"):
            counted["prompt", task, row["id"]] = row
    return counted, times


def estimates(run: Path) -> Any:
    """results.json, None where there is none."""
    path = run / "results.json"
    return json.loads(path.read_text()) if path.is_file() else None


def decision(run: Path) -> str:
    """The verdict in a run folder, '' where there is none."""
    path = run / "signoff.json"
    return json.loads(path.read_text())["decision"] if path.is_file() else ""


def harms(run: Path, wanted: Path) -> Counter[str]:
    """Lost, doubled, invented and changed records of a run, beside the undisturbed one; changed estimates."""
    (mine, times), (theirs, _) = records(run), records(wanted)
    found = Counter(
        lost=len(theirs.keys() - mine.keys()),
        invented=len(mine.keys() - theirs.keys()),
        doubled=sum(many > 1 for many in times.values()),
        changed=sum(mine[name] != theirs[name] for name in mine.keys() & theirs.keys()),
    )
    if estimates(run) != estimates(wanted):
        found["changed"] += 1
    return +found
