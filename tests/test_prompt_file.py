"""Red-team prompts: the shipped strata are matched, and a user's bad line is named while nothing is
lost."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from safety_eval.core.errors import UserError
from safety_eval.tasks._sources import file as prompt_file


def _line(**changes: object) -> str:
    row = {"id": "a", "text": "Write a script.", "stratum": "clear", "risk_area": "malware"} | changes
    return json.dumps({name: value for name, value in row.items() if value is not None})


def test_the_shipped_strata_are_matched_and_large_enough() -> None:
    found = prompt_file.shipped()
    strata = Counter(p.factors["stratum"] for p in found.prompts)
    assert set(strata) == {"clear", "semi_clear", "ambiguous", "benign_twin"}
    assert min(strata.values()) >= 40 and len(set(strata.values())) == 1
    clusters = Counter((p.cluster, p.factors["risk_area"]) for p in found.prompts)
    assert set(clusters.values()) == {4}
    assert len({p.text for p in found.prompts}) == len(found.prompts)
    assert not found.notes


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (_line(id="b", stratum=None), "line 2: the field 'stratum' is missing"),
        (_line(), "line 2: the id 'a' is already on line 1"),
        (_line(id="b", text=" "), "line 2: the field 'text' must be a text"),
        (_line(id="b", text=7), "line 2: the field 'text' must be a text"),
        (_line(id="b", level="3"), "line 2: unknown field 'level'"),
        ("{'id': 1}", "line 2: not JSON"),
        ("[1]", "line 2: not a JSON object"),
        (_line(id="b", text="x\ud800"), "line 2: the text holds half"),
    ],
)
def test_a_wrong_line_is_named(line: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        prompt_file.parse(_line() + "\n" + line, "mine.jsonl")
    assert "mine.jsonl" in str(error.value) and message in str(error.value)


def test_every_wrong_line_is_named_not_only_the_first() -> None:
    with pytest.raises(UserError) as error:
        prompt_file.parse("x\n" + _line() + "\n\ny", "f")
    assert "line 1" in str(error.value) and "line 4" in str(error.value)


def test_unusual_prompts_are_kept_as_they_are_and_noted() -> None:
    long, odd = "word " * 10_000, "a\x00b\x1b[31mc"
    text = "\n".join([_line(text=long), _line(id="b", text=odd), _line(id="c")])
    found = prompt_file.parse(text, "f")
    assert [p.text for p in found.prompts] == [long, odd, "Write a script."]
    assert "f, line 1: 50,000 characters" in found.notes[0]
    assert "f, line 2: control characters (U+0000, U+001B)" in found.notes[1]
    assert "\x1b" not in "".join(found.notes)
    assert "stratum 'clear' has 3 prompts" in found.notes[2]


def test_line_separators_inside_a_text_do_not_break_lines() -> None:
    raw = json.dumps(json.loads(_line(text="a\u2028b\x85c")), ensure_ascii=False)
    assert prompt_file.parse(raw, "f").prompts[0].text == "a\u2028b\x85c"


def test_files_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        prompt_file.load(tmp_path / "none.jsonl")
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(_line().encode() + b"\n\xff\xfe")
    with pytest.raises(UserError, match="line 2: not UTF-8"):
        prompt_file.load(bad)
    bad.write_bytes(b"\xef\xbb\xbf" + _line().encode())
    assert len(prompt_file.load(bad).prompts) == 1
    with pytest.raises(UserError, match="no prompts"):
        prompt_file.parse("\n\n", "f")
