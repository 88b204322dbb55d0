"""Files that would fill the memory are refused before they are parsed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from safety_eval import policy
from safety_eval.core import limits
from safety_eval.core.errors import EvidenceError, UserError
from safety_eval.core.store import read_json, read_lines
from safety_eval.runs.config import read_yaml

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(c)}: &{chr(c)} [{', '.join([f'*{chr(c - 1)}'] * 9)}]\n" for c in range(98, 118)
)


@pytest.mark.parametrize("text", [BOMB, "a: &a [*a]\n", "a: &a {b: *a}\n"])
def test_aliases_that_stand_for_too_much_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    for read in (policy.load, read_yaml):
        with pytest.raises(UserError, match="alias"):
            read(tmp_path / "p.yaml")


def test_aliases_within_reason_are_read() -> None:
    assert limits.yaml_value("a: &a [1, 2]\nb: [*a, *a]\n") == {"a": [1, 2], "b": [[1, 2], [1, 2]]}


def test_what_is_larger_than_any_of_ours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="larger than 1 MB"):
        policy.load(Path("/dev/zero"))
    (tmp_path / "r.json").write_bytes(b"[" + b"[]," * limits.VALUES + b"[]]")
    with pytest.raises(EvidenceError, match="values, more than any of ours"):
        read_json(tmp_path / "r.json")
    with (tmp_path / "big.json").open("wb") as file:
        file.truncate(limits.JSON_BYTES + 1)
    with pytest.raises(EvidenceError, match="larger than 256 MB"):
        read_json(tmp_path / "big.json")
    (tmp_path / "o.jsonl").write_bytes(b'{"a":"' + b"x" * limits.LINE_BYTES + b'"}\n')
    with pytest.raises(EvidenceError, match="line 1 is longer than 16 MB"):
        list(read_lines(tmp_path / "o.jsonl"))


def test_a_pipe_in_a_run_folder_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.json")
    with pytest.raises(EvidenceError, match="not a plain file"):
        read_json(tmp_path / "x.json")
    with pytest.raises(EvidenceError, match="not a plain file"):
        list(read_lines(tmp_path / "x.json"))
