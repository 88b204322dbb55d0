"""A table of more rows than are held at once comes out of its Parquet file as it went in."""

from __future__ import annotations

from pathlib import Path

from safety_eval.export.parquet import ROWS, write


def test_a_long_table_is_whole_and_its_numbers_stay_numbers(tmp_path: Path) -> None:
    from pyarrow import parquet

    rows = [{"id": f"p{i}", "value": i if i % 2 else i / 4} for i in range(2 * ROWS + 1)]
    rows.append({"id": "last", "value": None})
    write(tmp_path / "table.parquet", lambda: rows)
    assert parquet.read_table(tmp_path / "table.parquet").to_pylist() == rows
