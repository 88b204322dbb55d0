"""`check-table`: can the percentages of a printed table be whole counts over the sizes that it claims?

The file is CSV. First row: a heading and the column names; a row named `n`: how many answers each column
has; one row for each model. A column without a size is taken as the row's printed mean. The arithmetic is
stats/whole_counts.py (GRIM, Brown and Heathers 2017).
"""

from __future__ import annotations

import csv
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safety_eval.core.errors import UserError
from safety_eval.show.words import printable
from safety_eval.stats.whole_counts import best_order, chance_fit, check_row, mean_matches

CAVEAT = (
    "What this shows: a cell that is not a whole count over its n cannot be the share of that column; the number, "
    "its n, or its column is wrong, and this check cannot say which. What it does not show: why (rounding of rounded "
    "numbers, lost answers, a slip in copying the table or in this file do the same), or that a fitting cell is right: "
    "by chance a cell fits {low:.0f} to {high:.0f}% of the time. A mean over columns does not change when they are "
    "permuted."
)


@dataclass(frozen=True, slots=True)
class Row:
    """One printed row.

    Attributes:
        name: of the row. cells: how many have a value. wrong: columns whose cell is not a whole count.
        left: cells that still do not fit under the best order of the columns. shared: other rows that one
            and the same order makes fit. order: (printed under, belongs to) for each value that moves.
        mean: printed mean agrees with the cells; None where none is printed.
    """

    name: str
    cells: int
    wrong: tuple[str, ...]
    left: int
    shared: tuple[str, ...] = ()
    order: tuple[tuple[str, str], ...] = ()
    mean: bool | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """A table that was checked. `chance`: smallest and largest chance with which a cell fits by accident."""

    source: str
    rows: tuple[Row, ...]
    chance: tuple[float, float]

    @property
    def sound(self) -> bool:
        """Every cell can be a count, and every printed mean is that of its row."""
        return all(not row.wrong and row.mean is not False for row in self.rows)


@dataclass(frozen=True, slots=True)
class _Table:
    columns: tuple[str, ...]
    sizes: tuple[int, ...]
    rows: dict[str, tuple[float | None, ...]]
    means: dict[str, float]
    decimals: int


def check(path: Path) -> Checked:
    """Check a printed table.

    Raises:
        UserError: no such file, no row `n`, or a cell that is not a percentage; each with its place.
    """
    table = _read(path)
    orders = _orders(table)
    rows = tuple(_row(table, name, orders) for name in table.rows)
    fits = [chance_fit(n, table.decimals) for n in table.sizes]
    return Checked(path.name, rows, (min(fits), max(fits)))


def text(checked: Checked, width: int = 110) -> str:
    """What was found, in words, with what it does not show."""
    lines = []
    for row in checked.rows:
        lead = f"{'fits' if not row.wrong else 'doubt':<6}{printable(row.name)}: "
        told = f"{row.cells - len(row.wrong)} of {row.cells} cells are whole counts as labelled"
        if row.wrong:
            told += f" (not: {', '.join(map(printable, row.wrong))})"
            told += f"; {row.cells - row.left} of {row.cells} in the best other order of the columns"
        if row.shared:
            told += f", one that also fits {', '.join(map(printable, row.shared))}"
        if row.mean is not None:
            told += f"; the printed mean {'agrees' if row.mean else 'DOES NOT AGREE'}"
        lines += textwrap.wrap(f"{lead}{told}.", width, subsequent_indent="      ")
    low, high = (100 * x for x in checked.chance)
    return "\n".join([*lines, "", *textwrap.wrap(CAVEAT.format(low=low, high=high), width)]) + "\n"


def _row(table: _Table, name: str, orders: dict[str, tuple[str, ...]]) -> Row:
    values = table.rows[name]
    there = [i for i, v in enumerate(values) if v is not None]
    sizes = [table.sizes[i] for i in there]
    numbers = [v for v in values if v is not None]
    found = check_row(numbers, sizes, table.decimals)
    wrong = tuple(table.columns[i] for i, k in zip(there, found.counts, strict=True) if k is None)
    mean = None
    if name in table.means and len(there) == len(values):
        mean = mean_matches(numbers, table.means[name], table.decimals)
    if not wrong:
        return Row(name, len(there), (), 0, mean=mean)
    group = [name, *orders[name]]
    order = best_order([_whole(table, n) for n in group], table.sizes, table.decimals) if _full(values) else None
    if order is None:
        return Row(name, len(there), wrong, len(wrong), mean=mean)
    alone = best_order([numbers], sizes, table.decimals)
    moved = tuple((table.columns[i], table.columns[j]) for i, j in enumerate(order.columns) if i != j)
    return Row(name, len(there), wrong, alone.impossible, orders[name], moved, mean)


def _orders(table: _Table) -> dict[str, tuple[str, ...]]:
    """For each row that does not fit, the other such rows that one common order of columns makes fit."""
    broken = [
        name
        for name, values in table.rows.items()
        if _full(values) and check_row(_whole(table, name), table.sizes, table.decimals).impossible
    ]
    found: dict[str, tuple[str, ...]] = {name: () for name in table.rows}
    groups: list[list[str]] = []
    for name in broken:
        for group in groups:
            rows = [_whole(table, n) for n in (*group, name)]
            if best_order(rows, table.sizes, table.decimals).impossible == 0:
                group.append(name)
                break
        else:
            groups.append([name])
    for group in groups:
        for name in group:
            found[name] = tuple(n for n in group if n != name)
    return found


def _full(values: Sequence[float | None]) -> bool:
    return all(v is not None for v in values)


def _whole(table: _Table, name: str) -> list[float]:
    return [v for v in table.rows[name] if v is not None]


def _read(path: Path) -> _Table:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read the table {path}: {error}", "Give a CSV file.") from error
    sizes = next((row for row in lines[1:] if row[0].strip().lower() == "n"), None)
    if sizes is None:
        raise UserError(f"{path} has no row 'n'", "Add a row named n with the number of answers of each column.")
    wide = len(lines[0])
    if any(len(row) != wide for row in lines):
        raise UserError(f"{path}: every row needs {wide} cells", "Check the commas.")
    kept = [i for i in range(1, wide) if sizes[i].strip()]
    rest = [i for i in range(1, wide) if not sizes[i].strip()]
    numbers = [_size(path, lines[0][i], sizes[i]) for i in kept]
    rows, means, decimals = {}, {}, 0
    for line in lines[1:]:
        if line is sizes:
            continue
        decimals = max([decimals, *(len(line[i].partition(".")[2]) for i in kept)])
        rows[line[0].strip()] = tuple(_percent(path, line[0], lines[0][i], line[i]) for i in kept)
        mean = _percent(path, line[0], lines[0][rest[0]], line[rest[0]]) if rest else None
        if mean is not None:
            means[line[0].strip()] = mean
    return _Table(tuple(lines[0][i].strip() for i in kept), tuple(numbers), rows, means, decimals)


def _size(path: Path, column: str, cell: str) -> int:
    if not cell.strip().isdigit() or int(cell) < 1:
        raise UserError(f"{path}, row n, column {column}: '{cell}' is not a number of answers", "Write a whole number.")
    return int(cell)


def _percent(path: Path, row: str, column: str, cell: str) -> float | None:
    written = cell.strip().removesuffix("%")
    if not written:
        return None
    try:
        value = float(written)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise UserError(f"{path}, row {row}, column {column}: '{cell}' is not a percentage", "Write 12.34.")
    return value
