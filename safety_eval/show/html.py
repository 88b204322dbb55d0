"""Tables of words as HTML for notebooks: everything is escaped, control characters are shown."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from safety_eval.show.tables import Row, Table
from safety_eval.show.words import printable


def as_html(title: str, tables: Sequence[Table]) -> str:
    """A heading ('' = none) and tables."""
    heading = f"<h3>{text(title)}</h3>" if title else ""
    return f"<div>{heading}{''.join(map(_table, tables))}</div>"


def text(words: object) -> str:
    """Words as they stand in HTML."""
    return escape(printable(words, keep="\n"))


def _table(table: Table) -> str:
    heads = "".join(f"<th>{text(c)}</th>" for c in table.columns)
    rows = "".join(f"<tr>{_cells(row)}</tr>" for row in table.rows)
    notes = "".join(f"<br><small>{text(note)}</small>" for note in table.notes)
    caption = f"<caption>{text(table.title)}</caption>"
    return f"<table>{caption}<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>{notes}"


def _cells(row: Row) -> str:
    tag = "th" if row.ours else "td"
    return "".join(f"<{tag}>{text(c)}</{tag}>" for c in row.cells)
