"""Every form in which a run can be exported, and what each writes into RUN/export."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safety_eval.core import packages
from safety_eval.core.errors import UserError, nearest
from safety_eval.core.store import write_atomic
from safety_eval.export import cyclonedx, every_eval_ever, hub, inspect_log, lm_eval_files, model_card, parquet
from safety_eval.export.opened import read
from safety_eval.show.notebook import Run


@dataclass(frozen=True, slots=True)
class Asked:
    """How a run is exported.

    Attributes:
        texts: write prompts and answers; else their SHA-256 stands in their place (numbers are written as they are).
        by: who evaluated, for every-eval-ever.
    """

    texts: bool = False
    by: every_eval_ever.By = every_eval_ever.By()


Content = Iterable[tuple[str, str | bytes]]
"""(path below the target, content) of each file."""


def write(folder: Path, form: str, asked: Asked) -> list[Path]:
    """Write RUN/export in a form; returns the files.

    Raises:
        UserError: no such form, or a run of which nothing was measured.
    """
    if form not in FORMS:
        raise UserError(f"no export is called '{form}'", nearest(form, FORMS))
    return FORMS[form](folder, asked)


def _model_card(folder: Path, asked: Asked) -> list[Path]:
    return _written(folder / "export", [("model-card-section.md", model_card.section(folder))])


def _cyclonedx(folder: Path, asked: Asked) -> list[Path]:
    return _written(folder / "export", [("cyclonedx.json", json.dumps(cyclonedx.fragment(folder), indent=1) + "\n")])


def _github(folder: Path, asked: Asked) -> list[Path]:
    """The model-card section, also at the end of the job's summary where a GitHub job runs."""
    text = model_card.section(folder)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY", ""):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(text)
    return _written(folder / "export", [("github-summary.md", text)])


def _inspect(folder: Path, asked: Asked) -> list[Path]:
    return _written(folder / "export" / "inspect", inspect_log.logs(read(folder, asked.texts)))


def _lm_eval(folder: Path, asked: Asked) -> list[Path]:
    return _written(folder / "export" / "lm-eval", lm_eval_files.files(read(folder, asked.texts)))


def _every_eval_ever(folder: Path, asked: Asked) -> list[Path]:
    made = every_eval_ever.files(read(folder, asked.texts), asked.by)
    return _written(folder / "export" / "every-eval-ever", made)


def _hub(folder: Path, asked: Asked) -> list[Path]:
    return _written(folder / "export" / "hub", hub.files(read(folder, asked.texts)))


def _parquet(folder: Path, asked: Asked) -> list[Path]:
    """Answers as they are: they may be harmful, and the file's name says so."""
    packages.need("pyarrow", "an export as Parquet")
    run, target = Run(folder), folder / "export"
    target.mkdir(parents=True, exist_ok=True)
    run.estimates().astype({"missing": str}).to_parquet(target / "estimates.parquet")
    written = [target / "estimates.parquet"]
    for name in run.tasks:
        written.append(target / f"{name}.answers-may-be-harmful.parquet")
        parquet.write(written[-1], lambda task=name: run.output_rows(task, texts=True))  # type: ignore[misc]
    return sorted(written)


FORMS: Mapping[str, Callable[[Path, Asked], list[Path]]] = {
    "model-card": _model_card,
    "cyclonedx": _cyclonedx,
    "parquet": _parquet,
    "inspect": _inspect,
    "lm-eval": _lm_eval,
    "every-eval-ever": _every_eval_ever,
    "hub": _hub,
    "github": _github,
}


def _written(target: Path, files: Content) -> list[Path]:
    paths = []
    for name, content in files:
        write_atomic(target / name, content)
        paths.append(target / name)
    return paths
