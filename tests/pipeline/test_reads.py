"""A run reads what it wrote as seldom as it can: counted, since a run of days has files of gigabytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from safety_eval.cli import main
from safety_eval.core import journal, store


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file was parsed, by its path below the run folder."""
    counted: Counter[str] = Counter()
    read_lines = store.read_lines

    def counting(path: Path) -> Iterator[dict[str, Any]]:
        counted["/".join(path.parts[path.parts.index("run") + 1 :])] += path.exists()
        return read_lines(path)

    monkeypatch.setattr(store, "read_lines", counting)
    monkeypatch.setattr(journal, "read_lines", counting)
    return counted


def test_a_run_with_its_report_parses_each_record_file_at_most_twice(tmp_path: Path, reads: Counter[str]) -> None:
    command = ["run", "--model", "echo", "--engine", "echo", "--tasks", "xstest,bold", "--data-version", "quickstart"]
    assert main([*command, "--output-path", str(tmp_path / "run")]) in (0, 4)
    records = {name: count for name, count in reads.items() if name != "journal.jsonl"}
    assert {"xstest/prompts.jsonl", "bold/outputs.jsonl", "bold/scores/vader.jsonl"} <= set(records)
    assert max(records.values()) <= 2, records
    assert reads["journal.jsonl"] <= 1, reads["journal.jsonl"]
