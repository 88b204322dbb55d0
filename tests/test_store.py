"""The record files survive what happens to files."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_eval.core.errors import EvidenceError, UserError
from safety_eval.core.records import Message, Output, Prompt, canonical, from_plain, key, plain
from safety_eval.core.store import Appender, read_json, read_lines, read_records, write_atomic, write_json, writing


def rows(path: Path) -> list[dict]:
    return list(read_lines(path))


@given(st.integers(0, 400))
def test_a_file_cut_anywhere_loses_at_most_the_torn_line(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("store") / "r.jsonl"
    with Appender(path) as file:
        for i in range(10):
            file.append({"i": i, "text": "é\n" * i})
    data = path.read_bytes()
    cut = min(cut, len(data))
    path.write_bytes(data[:cut])
    whole = data[:cut].count(b"\n")
    assert [r["i"] for r in rows(path)] == list(range(whole))
    with Appender(path) as file:
        file.append({"i": "next"})
    assert [r["i"] for r in rows(path)] == [*range(whole), "next"]


def test_a_damaged_line_in_the_middle_is_named_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text('{"i": 1}\n{"i": \n{"i": 3}\n')
    with pytest.raises(EvidenceError, match="line 2"):
        rows(path)


def test_a_line_that_is_another_record_is_named_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text('{"prompt_key": "k", "prompt_id": "a"}\n{"nonsense": 1}\n')
    with pytest.raises(EvidenceError, match="line 2 is no Output"):
        list(read_records(path, Output))


def test_a_full_disk_stops_cleanly_and_leaves_no_part_of_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.jsonl"
    file = Appender(path)
    file.append({"i": 1})
    real = file._file

    class Full:
        def __getattr__(self, name: str):
            return getattr(real, name)

        def write(self, data: bytes) -> int:
            if len(data) < 20:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real.write(data[: len(data) // 2])

    file._file = Full()  # type: ignore[assignment]
    with pytest.raises(UserError, match="no space left"):
        file.append({"text": "x" * 100})
    real.close()
    assert path.read_text() == '{"i":1}\n'


def test_a_folder_without_permission_or_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="a file, not a folder"):
        write_atomic(tmp_path / "file" / "x", "")
    with pytest.raises(UserError, match="a file, not a folder"):
        Appender(tmp_path / "file" / "x" / "r.jsonl")


def test_a_file_of_another_instrument_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    Appender(path, {"identity": {"name": "a", "revision": "1"}}).close()
    Appender(path, {"identity": {"name": "a", "revision": "1"}}).close()
    with pytest.raises(UserError, match="revision was '1', is '2'"):
        Appender(path, {"identity": {"name": "a", "revision": "2"}})


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with (
        writing(tmp_path / "run"),
        pytest.raises(UserError, match="another process"),
        writing(tmp_path / "run"),
    ):
        pass
    with writing(tmp_path / "run"):
        pass


text = st.text(max_size=20)
prompts = st.builds(
    Prompt,
    task=text,
    id=text,
    text=text,
    messages=st.lists(st.builds(Message, text, text), max_size=2).map(tuple),
    choices=st.lists(text, max_size=3).map(tuple),
    groups=st.dictionaries(text, st.lists(text, max_size=2).map(tuple), max_size=2),
    factors=st.dictionaries(text, text, max_size=2),
    target=st.dictionaries(text, st.one_of(st.integers(), text, st.lists(st.integers(), max_size=3)), max_size=2),
)


@given(prompts)
def test_a_record_comes_back_as_it_was_with_the_same_key(prompt: Prompt) -> None:
    import json

    back = from_plain(Prompt, json.loads(canonical(prompt)))
    assert plain(back) == plain(prompt)
    assert key(back) == key(prompt)


def test_a_number_that_is_not_finite_never_reaches_a_file() -> None:
    with pytest.raises(ValueError):
        canonical({"x": float("nan")})


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_is_not_finite_is_neither_read_nor_written(tmp_path: Path, word: str) -> None:
    for name in ("r.jsonl", "r.json"):
        (tmp_path / name).write_text(f'{{"x":{word}}}\n')
    with pytest.raises(EvidenceError, match="line 1 is damaged"):
        rows(tmp_path / "r.jsonl")
    with pytest.raises(EvidenceError, match="damaged"):
        read_json(tmp_path / "r.json")
    with pytest.raises(ValueError):
        write_json(tmp_path / "new.json", {"x": float(word)})
    assert not (tmp_path / "new.json").exists()


def test_a_text_where_a_number_belongs_is_no_record(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text('{"prompt_key":"k","prompt_id":"a","sample":0}\n{"prompt_key":"k","prompt_id":"a","sample":"1"}\n')
    with pytest.raises(EvidenceError, match="line 2 is no Output: sample"):
        list(read_records(path, Output))


def test_a_line_is_in_the_file_before_the_next_is_made(tmp_path: Path) -> None:
    with Appender(tmp_path / "r.jsonl") as file:
        for i in range(3):
            file.append({"i": i})
            assert len(rows(tmp_path / "r.jsonl")) == i + 1


def test_records_and_replaced_files_are_on_the_disk_before_anybody_relies_on_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda number: (happened.append("synced"), sync(number)))
    monkeypatch.setattr(Path, "replace", lambda self, to: (happened.append("replaced"), replace(self, to)))
    with Appender(tmp_path / "r.jsonl") as file:
        file.append({"i": 1})
        assert happened == []
    assert happened == ["synced"]
    write_atomic(tmp_path / "a.json", "{}")
    assert happened == ["synced", "synced", "replaced"]


def test_a_file_that_could_not_be_replaced_is_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_atomic(path, "the old one")

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="no space left"):
        write_atomic(path, "the new one")
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"] and path.read_text() == "the old one"
