"""A package whose wheel holds pickles is imported only while they are those that were reviewed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from safety_eval.core.errors import UserError
from safety_eval.scorers._pickled import refuse_other_files


def test_a_package_with_another_file_is_refused_before_it_is_imported(tmp_path: Path, monkeypatch) -> None:
    home = tmp_path / "carries_a_pickle"
    home.mkdir()
    (home / "__init__.py").write_text("raise RuntimeError('it was imported')\n")
    (home / "model.bin").write_bytes(b"reviewed")
    monkeypatch.syspath_prepend(str(tmp_path))
    reviewed = {"model.bin": hashlib.sha256(b"reviewed").hexdigest()}
    refuse_other_files("carries_a_pickle", reviewed)
    (home / "model.bin").write_bytes(b"another")
    with pytest.raises(UserError, match="not the file that was reviewed"):
        refuse_other_files("carries_a_pickle", reviewed)
    (home / "model.bin").unlink()
    with pytest.raises(UserError, match="not the file that was reviewed"):
        refuse_other_files("carries_a_pickle", reviewed)
    with pytest.raises(ModuleNotFoundError):
        refuse_other_files("no_such_package_anywhere", reviewed)
