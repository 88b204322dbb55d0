"""TruthfulQA's prompts, for the two tasks that ask them: the QA primer, and rows cleaned the same way.

Source: Lin et al. 2022 (arXiv 2109.07958); sylinrl/TruthfulQA at d71c110, utilities.py and presets.py.
Three versions are not the same benchmark: v0 (2021-09, what the Hub holds and lm-eval scores), v1 (2021-10,
some 300 more reference answers) and 2025 (2025-01, 790 questions). v0 is our default, since most published
numbers stand on it and the papers do not say which they used (817 questions rule out 2025).
"""

from __future__ import annotations

from pathlib import Path

from safety_eval.tasks._sources import sources
from safety_eval.tasks._sources.loading import Loaded, Row, load

VERSIONS = ("v0", "v1", "2025")


def primer(mirror: Path | None) -> str:
    """The six question-answer pairs of preset `qa`: 573 characters, no final newline."""
    return str(load(sources.QA_PROMPT, mirror).rows[0]["text"])


def asked(primer_text: str, question: str) -> str:
    """A question after the primer, as upstream's format_prompt: the model itself writes the 'A:'."""
    return f"{primer_text}\n\nQ: {question}"


def questions(version: str, mirror: Path | None) -> tuple[Loaded, list[Row]]:
    """The questions with their references; blank references (a trailing ';' in the csv file) are dropped.

    Returns:
        what was loaded (with its manifest), and the cleaned rows.
    """
    loaded = load(sources.QUESTIONS[version], mirror)
    return loaded, [_clean(row) for row in loaded.rows]


def _clean(row: Row) -> Row:
    lists = {name: [text for text in row[name] if text] for name in ("correct_answers", "incorrect_answers")}
    return {**row, **lists}
