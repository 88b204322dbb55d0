"""Packages that carry pickles, which run when they are loaded: loaded only as they were when they were reviewed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from safety_eval.core.errors import UserError


def refuse_other_files(package: str, reviewed: Mapping[str, str]) -> None:
    """Refuse a package of which a file is not the reviewed one. To be called before it is imported.

    Args:
        package: a top-level package, which loads these files when it is imported. reviewed: SHA-256 by path inside it.

    Raises:
        ModuleNotFoundError: it is not installed. UserError: another file, with its name.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"No module named '{package}'", name=package)
    home = Path(spec.submodule_search_locations[0])
    for name, wanted in reviewed.items():
        path = home / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != wanted:
            raise UserError(
                f"{path} is not the file that was reviewed, and loading it would run what it holds",
                "Install with `pip install --require-hashes -r requirements-locked.txt`.",
            )
