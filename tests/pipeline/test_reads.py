"""A run reads what it wrote as seldom as it can without holding it: counted, since a long run has files of gigabytes.

A record file is parsed from its beginning to its end at most twice: by a run and by its report, each to learn where its
records lie. After that every stage walks over the answers by themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from safety_eval.cli import main
from safety_eval.core import journal, store
from safety_eval.core.store import RecordFile

WALKS = 10
"""Of a run with two instruments: asking, each instrument, measuring, what is left, the report's numbers, its list of
answers (those counted against the model, then the others), and the charts."""


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> dict[str, Counter[str]]:
    """How often each file was parsed whole, and walked over, by its path below the run folder."""
    counted: dict[str, Counter[str]] = {"whole": Counter(), "walked": Counter()}
    lines, opened, read_lines = store._lines, RecordFile.__init__, store.read_lines

    def place(path: Path) -> str:
        return "/".join(path.parts[path.parts.index("run") + 1 :])

    def counting(path: Path) -> Iterator[tuple[int, bytes, dict[str, Any]]]:
        counted["whole"][place(path)] += path.exists()
        return lines(path)

    def walking(self: RecordFile[Any], path: Path, kind: type) -> None:
        counted["walked"][place(path)] += 1
        opened(self, path, kind)

    def journal_lines(path: Path) -> Iterator[dict[str, Any]]:
        counted["whole"][place(path)] += path.exists()
        return (row for _, _, row in lines(path))

    monkeypatch.setattr(store, "_lines", counting)
    monkeypatch.setattr(RecordFile, "__init__", walking)
    assert read_lines is journal.read_lines
    monkeypatch.setattr(journal, "read_lines", journal_lines)
    return counted


def test_a_run_with_its_report_parses_each_record_file_at_most_twice(
    tmp_path: Path, reads: dict[str, Counter[str]]
) -> None:
    command = ["run", "--model", "echo", "--engine", "echo", "--tasks", "xstest,bold", "--data-version", "quickstart"]
    assert main([*command, "--output-path", str(tmp_path / "run")]) in (0, 4)
    records = {name: count for name, count in reads["whole"].items() if name != "journal.jsonl"}
    assert {"xstest/prompts.jsonl", "bold/outputs.jsonl", "bold/scores/vader.jsonl"} <= set(records)
    assert max(records.values()) <= 2, records
    assert reads["whole"]["journal.jsonl"] <= 1, reads["whole"]["journal.jsonl"]
    assert max(reads["walked"].values()) <= WALKS, reads["walked"]
