"""Long columns that lie in files, and large sets of names, hold what was put into them."""

from __future__ import annotations

from safety_eval.core.hashed import Hashed
from safety_eval.measure.coded import Spooled


def test_a_column_of_any_length_is_read_as_it_was_written_also_between_two_writes() -> None:
    column, many = Spooled("d"), 40_000
    for number in range(many):
        column.append(number)
        if number == many // 4:
            assert column.read().tolist() == list(range(number + 1))
    column.fill(many + 2, -1.0)
    assert column.read().tolist() == [*range(many), -1, -1]


def test_a_set_of_names_knows_those_of_before_and_after_a_look_and_no_other() -> None:
    names = Hashed()
    names.add("first")
    assert "first" in names and "second" not in names
    names.add("second")
    names.add("first")
    assert "first" in names and "second" in names
    assert not any(f"stranger {i}" in names for i in range(20))
    assert "first" in names.twice() and "second" not in names.twice()
