"""The whole-count check of printed tables; the worked example is Code Llama's Table 20."""

from __future__ import annotations

from pathlib import Path

import pytest

from safety_eval.audit import check_table
from safety_eval.core.errors import UserError

TABLE = Path(__file__).parents[2] / "docs" / "how-to" / "code-llama-table-20.csv"


def test_code_llama_table_20_has_six_rows_whose_columns_were_permuted():
    rows = {r.name: r for r in check_table.check(TABLE).rows}
    wrong = {name: len(r.wrong) for name, r in rows.items() if r.wrong}
    assert wrong == {
        "StarCoder (Python) 15.5B": 11,
        "Code Llama 7B": 11,
        "Code Llama 13B": 9,
        "Code Llama 34B": 9,
        "Code Llama - Instruct 7B": 3,
        "Code Llama - Instruct 13B": 1,
    }
    assert all(row.left == 0 and row.mean for row in rows.values())
    assert "Code Llama 7B" in rows["StarCoder (Python) 15.5B"].shared
    text = check_table.text(check_table.check(TABLE))
    assert "cannot say which" in text and "4 to 9%" in text
    assert all(len(line) <= 110 for line in text.splitlines())


def test_a_slip_in_one_cell_and_in_a_mean_is_found(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(
        "model,a,b,mean\nn,883,459,\nright,9.06,18.30,13.68\nslip,9.07,18.30,13.69\nmean,9.06,18.30,14.68\n"
    )
    found = check_table.check(path)
    assert [r.wrong for r in found.rows] == [(), ("a",), ()]
    assert [r.mean for r in found.rows] == [True, True, False] and not found.sound


@pytest.mark.parametrize(
    "content, words",
    [
        ("model,a\nx,1.00\n", "no row 'n'"),
        ("model,a\nn,ten\nx,1.00\n", "row n, column a"),
        ("model,a\nn,10\nx,high\n", "row x, column a"),
        ("model,a\nn,10\nx,101\n", "row x, column a"),
        ("model,a\nn,10\nx\n", "2 cells"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_with_its_place(tmp_path, content, words):
    path = tmp_path / "t.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=words):
        check_table.check(path)


def test_our_own_tables_always_fit(tmp_path):
    path = tmp_path / "t.csv"
    rows = [[f"{100 * k / n:.2f}" for n in (431, 883)] for k in range(0, 431, 13)]
    path.write_text("m,a,b\nn,431,883\n" + "".join(f"r{i},{a},{b}\n" for i, (a, b) in enumerate(rows)))
    assert check_table.check(path).sound
