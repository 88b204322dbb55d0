"""A tracker gets every number of a run and no text; one that fails, or is not there, fails nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from safety_eval import api
from safety_eval.cli import main
from safety_eval.core import packages
from safety_eval.export import trackers
from safety_eval.export.opened import read

ASK = [
    "run",
    "--engine",
    "echo",
    "--model",
    "echo",
    "--tasks",
    "xstest",
    "--data-version",
    "quickstart",
    "--limit",
    "4",
    "--output-path",
    "run",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tracked") / "run"
    api.run(model="echo", engine="echo", tasks="xstest", data_version="quickstart", limit=8, output_path=folder)
    return folder


def test_every_number_has_a_name_of_its_own_that_all_trackers_take(run: Path) -> None:
    found = trackers.numbers(read(run, texts=False))
    estimates = [e for e in json.loads((run / "results.json").read_text())["estimates"] if e["value"] is not None]
    values = [v for name, v in found.items() if not name.endswith(("/missing", "/low", "/high"))]
    assert sorted(values) == sorted(e["value"] for e in estimates) and len(values) > 2
    assert all(re.fullmatch(r"[A-Za-z0-9_. /-]+", name) for name in found)


def test_a_tracker_that_is_not_installed_is_named_and_fails_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    if packages.installed("mlflow"):
        pytest.skip("mlflow is installed here")
    assert main([*ASK, "--log-to", "mlflow"]) == 0
    assert "pip install 'safety-eval[mlflow]'" in capsys.readouterr().err


def test_a_tracker_that_breaks_fails_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A module of that name that ends the program, as a tracker without a login may."""
    broken = "import sys\n\n\ndef init(**_):\n    sys.exit('not logged in')\n"
    (tmp_path / "wandb.py").write_text(broken, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main([*ASK, "--log-to", "wandb"]) == 0
    assert "wandb: nothing or not all was logged (SystemExit: not logged in)" in capsys.readouterr().err
    assert (tmp_path / "run" / "report.html").is_file()
