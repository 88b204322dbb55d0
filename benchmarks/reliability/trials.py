"""Real faults into the installed command, at random moments: what is lost, doubled, invented or wrongly decided?

    python benchmarks/reliability/trials.py                    # 400 trials, recorded in trials.json and the docs
    python benchmarks/reliability/trials.py --seed 7 --count 100 --dry
    python benchmarks/reliability/trials.py --seed 0 --trial 217 --dry --loud

A trial takes a run that is planted (two tasks, a model whose answers are known, a policy that it meets or breaks),
disturbs one command of it (disturb.py), gives the same command again in peace, and lays what lies there then beside the
undisturbed run: every answer and score, every estimate, the verdict, and what `verify` says of the evidence. A trial's
number and the seed decide everything that is drawn for it. What a fault may cost is time: where a file was damaged the
command may refuse; it may never end with other numbers, nor with another decision.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import scene
from disturb import IMPORT_KINDS, KINDS, Trial
from models import MODEL_KINDS

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).with_name("trials.json")
PAGE = ROOT / "docs" / "explanation" / "reliability.md"
ALL = {**KINDS, **IMPORT_KINDS, **MODEL_KINDS}
LISTS = (KINDS, MODEL_KINDS, IMPORT_KINDS)
CODES = {"approved": 0, "rejected": 3}
HARMS = ("lost", "doubled", "invented", "changed", "wrong verdict", "other")


def schedule(kinds: Mapping[str, tuple[Any, int]]) -> list[str]:
    """Names of disturbances, each as often as its share, spread evenly."""
    spread = [((i + 0.5) / share, name) for name, (_, share) in kinds.items() for i in range(share)]
    return [name for _, name in sorted(spread)]


def try_one(stage: scene.Scene, seed: int, number: int, kind: str, place: Path) -> dict[str, Any]:
    """One trial, as a row of the results."""
    chance = random.Random(f"{seed}/{number}/{kind}")
    trial = Trial(number, chance, stage, place / f"t{number}", chance.choice(sorted(scene.LIMITS)))
    trial.home.mkdir(parents=True)
    began = time.monotonic()
    try:
        ALL[kind][0](trial)
        harms = _went_on(trial)
    finally:
        subprocess.run(["umount", str(trial.home / "disk")], check=False, capture_output=True)
    row = {
        "trial": number,
        "seed": seed,
        "kind": kind,
        "step": "import" if isinstance(stage, scene.Elsewhere) else trial.step,
        "verdict": trial.verdict,
        "code": trial.first.code if trial.first else None,
        "harms": {k: v for k, v in harms.items() if v},
        "marks": trial.marks,
        "seconds": round(time.monotonic() - began, 1),
    }
    if trial.marks or row["harms"]:
        row["said"] = trial.said
    else:
        shutil.rmtree(trial.home, ignore_errors=True)
    return row


def _went_on(trial: Trial) -> Counter[str]:
    """The same command again, the verdict and the evidence: what differs from the undisturbed run."""
    if trial.alone or trial.marks:
        return Counter()
    wanted, harms, trial.pictures = trial.scene.finished(trial.verdict), Counter[str](), False
    again = trial.do(trial.words())
    allowed = (0, 3) if trial.step == "signoff" else (0,)
    there = trial.step == "merge" and again.code == 2 and "holds a run already" in again.said
    if there and trial.first is not None and scene.estimates(trial.run) is not None:
        again = replace(again, code=0)  # it was joined before the fault
    if again.code not in allowed:
        if not trial.may_refuse or again.code not in (2, 4):
            trial.marks.append(f"stuck: the same command again ends with {again.code}")
        _decided(trial, harms, refused=True)
        return harms
    harms.update(scene.harms(trial.run, wanted))
    _decided(trial, harms, refused=False)
    if trial.may_refuse and set(harms) <= {"doubled", "changed"} and scene.decision(trial.run) == "cannot decide":
        harms.clear()  # the damage itself changed a value or doubled a line, and sign-off has said so
    return harms


def _decided(trial: Trial, harms: Counter[str], refused: bool) -> None:
    """Sign off and verify: the undisturbed decision, or (after damage) 'cannot decide'; never another one."""
    ended = trial.do(trial.scene.signoff(trial.verdict, trial.run))
    if ended.code == CODES[trial.verdict] and not refused:
        verified = trial.do(trial.scene.verify(trial.run))
        if verified.code != 0:
            trial.marks.append(f"its evidence is not verified: {verified.code}")
        return
    if ended.code == CODES[trial.verdict] and not scene.harms(trial.run, trial.scene.finished(trial.verdict)):
        return
    if ended.code in (0, 3, 5):
        harms["wrong verdict"] += 1
    elif not trial.may_refuse and not refused:
        trial.marks.append(f"no verdict any more: {ended.code}")


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line a kind of fault."""
    lines = ["| fault | trials | commands hit | lost | doubled | invented | changed | wrong verdict | other |"]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    for kind in [*ALL, "all"]:
        mine = [row for row in rows if kind in ("all", row["kind"])]
        if not mine:
            continue
        harms = sum((Counter(row["harms"]) for row in mine), Counter[str]())
        other = sum(bool(row["marks"]) for row in mine)
        counts = " | ".join(str(harms[name]) for name in HARMS[:-1])
        steps = ", ".join(f"{step} {n}" for step, n in sorted(Counter(row["step"] for row in mine).items()))
        lines.append(f"| {kind} | {len(mine)} | {steps} | {counts} | {other} |")
    return "\n".join(lines)


def trials(seed: int, numbers: Iterable[int], kinds: Mapping[str, tuple[Any, int]]) -> Iterable[dict[str, Any]]:
    """Every trial, one after the other."""
    scene.warm_up()
    order = schedule(kinds)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        stage = scene.build(place / "scene", imports=kinds is IMPORT_KINDS)
        for number in numbers:
            yield try_one(stage, seed, number, order[number % len(order)], place)


def write_page(rows: Sequence[Mapping[str, Any]]) -> None:
    """The table, between the marks of the page."""
    head, _, rest = PAGE.read_text(encoding="utf-8").partition("<!-- trials: begin -->")
    tail = rest.partition("<!-- trials: end -->")[2]
    seeds = ", ".join(f"{n} of seed {s}" for s, n in sorted(Counter(row["seed"] for row in rows).items()))
    body = f"{len(rows)} trials ({seeds}).\n\n{table(rows)}"
    PAGE.write_text(f"{head}<!-- trials: begin -->\n{body}\n<!-- trials: end -->{tail}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--first", type=int, default=0, help="number of the first trial")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trial", type=int, help="this one alone")
    parser.add_argument("--only", default="", help="kinds of fault that begin so")
    parser.add_argument("--dry", action="store_true", help="write neither trials.json nor the page")
    parser.add_argument("--loud", action="store_true", help="print what commands said")
    parser.add_argument("--page", action="store_true", help="only write the page, from trials.json")
    parser.add_argument("--imports", action="store_true", help="disturb `import`")
    parser.add_argument("--models", action="store_true", help="disturb a real, tiny model: some ten seconds each")
    asked = parser.parse_args()
    kinds = MODEL_KINDS if asked.models else IMPORT_KINDS if asked.imports else KINDS
    order = schedule(kinds)
    numbers = range(asked.first, asked.first + asked.count) if asked.trial is None else [asked.trial]
    chosen = [n for n in numbers if order[n % len(order)].startswith(asked.only)]
    kept = _kept()
    fresh = []
    for row in () if asked.page else trials(asked.seed, chosen, kinds):
        fresh.append(row)
        kept[_which(row)] = row
        said = json.dumps(row, indent=1) if row["harms"] or row["marks"] or asked.loud else _line(row)
        print(said, flush=True)
        if not asked.dry:
            told = [kept[which] for which in sorted(kept)]
            RESULTS.write_text("[\n" + ",\n".join(map(json.dumps, told)) + "\n]\n", encoding="utf-8")
    print(table(fresh or list(kept.values())))
    if not asked.dry:
        write_page(list(kept.values()))
    raise SystemExit(any(row["harms"] or row["marks"] for row in fresh))


def _kept() -> dict[tuple[int, int, int], dict[str, Any]]:
    """Trials that are recorded."""
    rows = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    return {_which(row): row for row in rows}


def _which(row: Mapping[str, Any]) -> tuple[int, int, int]:
    """Seed, number, and which of the three lists of kinds it is of."""
    return row["seed"], row["trial"], next(i for i, kinds in enumerate(LISTS) if row["kind"] in kinds)


def _line(row: Mapping[str, Any]) -> str:
    return " ".join(str(row[name]) for name in ("trial", "kind", "step", "code", "seconds"))


if __name__ == "__main__":
    main()
