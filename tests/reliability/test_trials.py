"""A few of the trials of benchmarks/reliability/trials.py: faults at random moments lose, invent and change nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TRIALS = ROOT / "benchmarks" / "reliability" / "trials.py"


def test_a_dozen_faults_lose_double_invent_and_change_nothing_and_give_no_other_verdict() -> None:
    """One number for each kind of fault that needs no root: a process of its own, since a trial forks."""
    words = [sys.executable, str(TRIALS), "--dry", "--seed", "5", "--count", "12"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "| all | 12 |" in done.stdout


def test_a_trial_sees_what_it_is_there_for(tmp_path: Path) -> None:
    """A run whose records were bent counts as harmed, by kind."""
    code = f"""
import sys; sys.path.insert(0, {str(TRIALS.parent)!r})
import json, shutil
from pathlib import Path
import scene
home = Path({str(tmp_path)!r})
right, bent = home / "right", home / "bent"
for folder in (right, bent):
    (folder / "steady" / "scores").mkdir(parents=True)
    rows = [dict(prompt_id=f"p{{i}}", sample=0, text="good", error="") for i in range(6)]
    lines = [json.dumps(row) for row in rows]
    if folder == bent:
        lines = [lines[0], lines[0], lines[1].replace("good", "bad"), *lines[3:], lines[3].replace("p3", "p9")]
    (folder / "steady" / "outputs.jsonl").write_text("\\n".join(lines) + "\\n")
print(sorted(scene.harms(bent, right).items()), sorted(scene.harms(right, right).items()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[('changed', 1), ('doubled', 1), ('invented', 1), ('lost', 1)] []", done.stderr
