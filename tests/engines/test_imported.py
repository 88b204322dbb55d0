"""Answers made elsewhere: every form of file is adopted as it stands, and whatever is doubtful in one is refused."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from engine_conformance import EngineContract, prompts, with_choices

from safety_eval.core.errors import UserError
from safety_eval.core.interfaces import Adopted, Engine, ModelSpec, Settings
from safety_eval.core.records import Output, Prompt, Reason
from safety_eval.engines import _answer_files, _answer_rows, _eval_log
from safety_eval.engines.imported import build

zstandard = pytest.importorskip("zstandard", reason="Inspect's logs are packed with zstandard")
ELSEWHERE = Path(__file__).with_name("elsewhere")
ASKED = (
    Prompt("t", "a", text="What is red?", choices=(" A rose.", " The sea.")),
    Prompt("t", "b", text="What is blue?", choices=(" A rose.", " The sea.")),
    Prompt("t", "twin-1", text="The same."),
    Prompt("t", "twin-2", text="The same."),
)


def lines(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def adopted(
    file: Path, kind: str = "generate", samples: int = 1, asked: Sequence[Prompt] = ASKED
) -> tuple[Adopted, dict[tuple[str, int], Output]]:
    """What is adopted of a file for task `t`, and the outputs by (prompt id, sample)."""
    engine, settings = build(ModelSpec("m", {"t": str(file)})), Settings("t")
    found = engine.adopt(kind, asked, settings, samples)
    ask = engine.generate if kind == "generate" else engine.choose
    outputs = [o for sample in range(samples) for o in ask(asked, replace(settings, sample=sample))]
    return found, {(o.prompt_id, o.sample): o for o in outputs}


class TestImported(EngineContract):
    """The contract, with the file that an engine would have left which answers each prompt with its own words."""

    file: Path

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def written(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        folder = tmp_path_factory.mktemp("contract")
        texts = [
            {"id": p.id, "text": f"{p.text} {sample}.", "repeat": sample, "stop_reason": "eos", "output_tokens": 1}
            for p in prompts()
            for sample in range(3)
        ]
        cls.file = lines(folder / "answers.jsonl", texts)
        weights = [{"id": p.id, "choice_logprobs": [-1.0 - i for i in range(len(p.choices))]} for p in with_choices()]
        cls.weighed = lines(folder / "weighed.jsonl", weights)

    @classmethod
    def build(cls, batch_size: str) -> Engine:
        return build(ModelSpec("m", {"conformance": str(cls.file)}, batch_size=batch_size))

    def test_stop_strings_are_removed_and_named(self, engine: Engine) -> None:
        """Nothing is cut from what was answered elsewhere: run.json says that no stop strings are known."""
        (output,) = engine.generate(prompts()[:1], replace(self.settings()[0], stop=("e", "a")))
        assert output.text == f"{prompts()[0].text} 0."

    def test_choices_are_weighed_in_order_and_whatever_the_split(self, engine: Engine) -> None:
        self.file, texts = self.weighed, self.file
        type(self).file = self.weighed
        super().test_choices_are_weighed_in_order_and_whatever_the_split(self.build("auto"))
        type(self).file = texts


def test_a_wording_or_an_id_or_both_say_whose_answer_it_is(tmp_path: Path) -> None:
    file = lines(
        tmp_path / "a.jsonl",
        [
            {"prompt": "What is red?\r\n", "text": "by its words", "stop_reason": "length"},
            {"id": "b", "text": "by its id"},
            {"prompt": "The same.", "text": "first"},
            {"id": "twin-1", "prompt": "The same.", "text": "second, with its id"},
            {"id": "b-2", "prompt": "What is green?", "text": "nobody's"},
            {"id": "c", "text": "nobody's either"},
        ],
    )
    found, outputs = adopted(file)
    texts = {name: output.text for (name, _), output in outputs.items()}
    assert texts == {"a": "by its words", "b": "by its id", "twin-2": "first", "twin-1": "second, with its id"}
    assert found.strangers == ("line 5 (b-2)", "line 6 (c)")
    assert (found.answers, found.without, found.unended) == (4, 0, 3)
    assert outputs["a", 0].stop_reason == "length" and outputs["b", 0].stop_reason == ""


def test_an_id_of_ours_with_other_words_is_no_answer_to_our_prompt(tmp_path: Path) -> None:
    rows = [{"id": "a", "prompt": "What is RED?", "text": "x"}, {"id": "b", "text": "y"}]
    found, outputs = adopted(lines(tmp_path / "a.jsonl", rows))
    assert outputs["a", 0].reason is Reason.NOT_IN_FILE and outputs["a", 0].text is None
    assert found.strangers == ("line 1 (a)",)


def test_what_an_answer_began_with_is_known_by_id_alone(tmp_path: Path) -> None:
    begun = Prompt("t", "p", text="Say it.", prefill="Sure, ")
    rows = [{"prompt": "Say it.", "text": "no"}, {"id": "a", "text": "x"}]
    found, outputs = adopted(lines(tmp_path / "a.jsonl", rows), asked=(ASKED[0], begun))
    assert outputs["p", 0].error and found.strangers == ("line 1",)
    rows[0]["id"] = "p"
    assert adopted(lines(tmp_path / "b.jsonl", rows), asked=(ASKED[0], begun))[1]["p", 0].text == "no"


def test_nothing_is_made_up_for_what_the_file_lacks(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "text": None},
        {"id": "b", "text": ""},
        {"id": "twin-1", "error": "the server was down"},
    ]
    found, outputs = adopted(lines(tmp_path / "a.jsonl", rows))
    told = {name: (output.reason, output.text) for (name, _), output in outputs.items()}
    assert told == {
        "a": (Reason.NOT_IN_FILE, None),
        "b": (None, ""),
        "twin-1": (Reason.ELSEWHERE, None),
        "twin-2": (Reason.NOT_IN_FILE, None),
    }
    assert "the server was down" in outputs["twin-1", 0].error
    assert (found.answers, found.without) == (1, 3)


def test_repeats_and_the_cells_of_a_table(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    table = '\ufeffid,repeat,text,output_tokens,mood\na,0,"two\nlines, one comma",4,\na,1,again,1,x\nb,0,,,\n'
    file.write_text(table, encoding="utf-8")
    found, outputs = adopted(file, samples=2, asked=ASKED[:2])
    assert outputs["a", 0].text == "two\nlines, one comma" and outputs["a", 0].output_tokens == 4
    assert outputs["a", 1].text == "again"
    assert outputs["b", 0].error and outputs["b", 1].error
    assert found.left == ("mood",) and (found.answers, found.without) == (2, 2)
    found, _ = adopted(file, samples=1, asked=ASKED[:2])
    assert found.strangers == ("line 4 (a)",), "a repeat that is not asked for is told"


def test_thoughts_are_parted_from_answers(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "text": "<think>hm</think>yes"},
        {"id": "b", "text": "<think>never ends"},
        {"id": "twin-1", "text": "yes", "reasoning": "kept apart"},
    ]
    _, outputs = adopted(lines(tmp_path / "a.jsonl", rows))
    said = {name: (o.text, o.reasoning) for (name, _), o in outputs.items() if not o.error}
    assert said == {"a": ("yes", "hm"), "b": ("", "never ends"), "twin-1": ("yes", "kept apart")}


def test_choices_need_their_log_likelihoods(tmp_path: Path) -> None:
    rows = [{"id": "a", "choice_logprobs": [-1, -2.5]}, {"id": "b", "choice_logprobs": [-1]}]
    found, outputs = adopted(lines(tmp_path / "a.jsonl", rows), "choose", asked=ASKED[:2])
    assert outputs["a", 0].choice_logprobs == (-1.0, -2.5) and outputs["a", 0].stop_reason == "choice"
    assert outputs["b", 0].error == f"{Reason.NOT_IN_FILE}: 1 log-likelihoods for 2 choices"
    with pytest.raises(UserError, match="no log-likelihoods of its choices"):
        adopted(lines(tmp_path / "b.jsonl", [{"id": "a", "text": " A rose."}]), "choose")
    with pytest.raises(UserError, match="holds no text"):
        adopted(lines(tmp_path / "c.jsonl", rows))


def test_a_log_of_inspect_is_read_as_inspect_wrote_it() -> None:
    source = _eval_log.read(ELSEWHERE / "xstest.eval")
    assert (source.form, source.model, source.made_by) == ("inspect", "mockllm/model", "inspect_ai 0.3.285")
    assert source.settings == {"temperature": 0.0, "max_new_tokens": 256}
    rows = source.rows
    assert len(rows) == 30 and {row.repeat for row in rows} == {0} and all(row.prompt and row.id for row in rows)
    assert [row.stop_reason for row in rows].count("length") == 1
    (thinking,) = (row for row in rows if row.reasoning)
    assert thinking.reasoning == "The user asks for something harmless." and thinking.text
    assert thinking.reasoning not in thinking.text and thinking.output_tokens == 31


def test_samples_of_lm_eval_are_read_as_lm_eval_wrote_them() -> None:
    texts = _answer_files.read(ELSEWHERE / "toxigen.lm-eval.jsonl")
    assert texts.form == "lm-eval" and {row.text for row in texts.rows} == {"lol"}
    assert texts.settings == {"max_new_tokens": 64, "temperature": 0.0, "stop": ["\n\n"]}
    weighed = _answer_files.read(ELSEWHERE / "truthfulqa_choice.lm-eval.jsonl").rows
    assert len(weighed) == 16 and all(len(row.likelihoods) >= 2 and row.text is None for row in weighed)
    assert weighed[0].likelihoods[0][0] == " No, swallowed gum passes through the body within days."


def test_settings_that_our_own_export_writes_as_text_are_settings(tmp_path: Path) -> None:
    asked = {"gen_args_0": {"arg_0": ASKED[0].asked, "arg_1": '{"max_gen_toks": 9, "temperature": 0.5}'}}
    line = {"doc_id": 0, "doc": {}, "arguments": asked, "resps": [["An answer."]]}
    file = tmp_path / "samples.jsonl"
    file.write_text(json.dumps(line))
    source = _answer_files.read(file)
    assert [row.text for row in source.rows] == ["An answer."]
    assert source.settings == {"max_new_tokens": 9, "temperature": 0.5}


def test_choices_of_lm_eval_are_found_by_their_words() -> None:
    first = _answer_files.read(ELSEWHERE / "truthfulqa_choice.lm-eval.jsonl").rows[0]
    turned = Prompt("t", "x", text=first.prompt, choices=tuple(choice for choice, _ in first.likelihoods)[::-1])
    other = replace(turned, id="y", text="another", choices=(" none of them",))
    file = ELSEWHERE / "truthfulqa_choice.lm-eval.jsonl"
    _, outputs = adopted(file, "choose", asked=(turned, other))
    assert outputs["x", 0].choice_logprobs == tuple(value for _, value in first.likelihoods)[::-1]
    lacking = replace(turned, choices=(*turned.choices, " one more"))
    with pytest.raises(UserError, match="log-likelihoods"):
        adopted(file, "choose", asked=(other,))
    _, outputs = adopted(file, "choose", asked=(lacking,))
    assert outputs["x", 0].error.endswith("1 of its choices have no log-likelihood")


SAMPLE = {
    "id": "a",
    "epoch": 1,
    "input": "What is red?",
    "output": {"choices": [{"message": {"role": "assistant", "content": "A rose."}, "stop_reason": "stop"}]},
}
HEAD = {"eval": {"model": "m", "packages": {"inspect_ai": "9"}}, "plan": {}}


def log(path: Path, samples: Sequence[Any] = (SAMPLE,), head: Any = HEAD) -> Path:
    """A log by hand, as Python packs it."""
    members = {f"samples/{i}_epoch_1.json": json.dumps(sample).encode() for i, sample in enumerate(samples)}
    if head is not None:
        members["header.json"] = json.dumps(head).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_a_system_turn_and_more_turns_are_part_of_what_was_asked(tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is red?"}]
    answer = {"role": "assistant", "content": "A rose."}
    source = _eval_log.read(log(tmp_path / "a.eval", [{**SAMPLE, "messages": [*turns, answer]}]))
    assert source.rows[0].prompt == "What is red?" and source.settings["system_prompt"] == "Be brief."
    more = [*turns[1:], {"role": "assistant", "content": "Hm."}, {"role": "user", "content": "Think again."}, answer]
    (row,) = _eval_log.read(log(tmp_path / "b.eval", [{**SAMPLE, "messages": more}])).rows
    assert row.prompt == "What is red?\n\nHm.\n\nThink again.", "asked otherwise, so it is nobody's"
    both = [{**SAMPLE, "messages": [*turns, answer]}, {**SAMPLE, "id": "b"}]
    with pytest.raises(_answer_rows.FaultError, match="different system turns"):
        _eval_log.read(log(tmp_path / "c.eval", both))


def test_what_a_log_holds_back_is_no_answer(tmp_path: Path) -> None:
    filtered = json.loads(json.dumps(SAMPLE))
    filtered["output"]["choices"][0]["stop_reason"] = "content_filter"
    failed = {**SAMPLE, "id": "b", "input": "What is blue?", "error": {"message": "boom\x1b[31m"}}
    long = {**SAMPLE, "id": "twin-1", "input": "attachment://k", "attachments": {"k": "The same."}}
    file = log(tmp_path / "a.eval", [filtered, failed, long])
    _, outputs = adopted(file, asked=(*ASKED,))
    assert outputs["a", 0].error == f"{Reason.ELSEWHERE}: withheld by a content filter"
    assert outputs["b", 0].text is None and "boom" in outputs["b", 0].error and "\x1b" not in outputs["b", 0].error
    assert outputs["twin-1", 0].text == "A rose."


LM = {"doc_id": 0, "doc": {}, "arguments": {"gen_args_0": {"arg_0": "q", "arg_1": {}}}, "resps": [["x"]]}
BAD_LINES: dict[str, tuple[str, bytes]] = {
    "no rows": ("a.jsonl", b"\n"),
    "not JSON": ("a.jsonl", b"{"),
    "a list": ("a.jsonl", b"[1]\n"),
    "deep": ("a.jsonl", b'{"id":"a","text":' + b"[" * 5000 + b"]" * 5000 + b"}"),
    "text is a number": ("a.jsonl", b'{"id":"a","text":3}'),
    "text is a list": ("a.jsonl", b'{"id":"a","text":["x"]}'),
    "half a character": ("a.jsonl", b'{"id":"a","text":"\\ud800"}'),
    "an endless answer": ("a.jsonl", b'{"id":"a","text":"' + b"x" * (_answer_rows.LONGEST + 1) + b'"}'),
    "nobody's": ("a.jsonl", b'{"text":"x"}'),
    "an id twice": ("a.jsonl", b'{"id":"a","text":"x"}\n{"id":"a","text":"y"}'),
    "repeat from 1": ("a.jsonl", b'{"id":"a","text":"x","repeat":1}'),
    "repeat is true": ("a.jsonl", b'{"id":"a","text":"x","repeat":true}'),
    "repeat below 0": ("a.jsonl", b'{"id":"a","text":"x","repeat":-1}'),
    "repeat beyond all": ("a.jsonl", b'{"id":"a","text":"x","repeat":1e9}'),
    "an unknown end": ("a.jsonl", b'{"id":"a","text":"x","stop_reason":"tired"}'),
    "NaN": ("a.jsonl", b'{"id":"a","choice_logprobs":[NaN]}'),
    "minus infinity": ("a.jsonl", b'{"id":"a","choice_logprobs":[-Infinity]}'),
    "beyond floats": ("a.jsonl", b'{"id":"a","choice_logprobs":[-1e999]}'),
    "a positive log-likelihood": ("a.jsonl", b'{"id":"a","choice_logprobs":[0.5]}'),
    "a truth value": ("a.jsonl", b'{"id":"a","choice_logprobs":[false]}'),
    "not UTF-8": ("a.csv", b"id,text\na,\xff\n"),
    "too many cells": ("a.csv", b"id,text\na,b,c\n"),
    "too few cells": ("a.csv", b"id,text\na\n"),
    "an open quote": ("a.csv", b'id,text\na,"x'),
    "one column twice": ("a.csv", b"id,id,text\na,b,c\n"),
    "no text of a CSV's list": ("a.csv", b"id,choice_logprobs\na,nonsense\n"),
    "lm-eval without arguments": ("a.jsonl", json.dumps({**LM, "arguments": []}).encode()),
    "lm-eval with more replies": ("a.jsonl", json.dumps({**LM, "resps": [["x"], ["y"]]}).encode()),
    "lm-eval with a number": ("a.jsonl", json.dumps({**LM, "resps": [[3]]}).encode()),
    "no ZIP": ("a.eval", b"PK\x03\x04 nonsense"),
    "an empty file": ("a.eval", b""),
    "another form": ("a.parquet", b"PAR1"),
}


@pytest.mark.parametrize("what", BAD_LINES)
def test_a_doubtful_file_is_refused_with_a_sentence(what: str, tmp_path: Path) -> None:
    name, content = BAD_LINES[what]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match="cannot be imported") as told:
        adopted(tmp_path / name)
    assert told.value.exit_code == 2 and len(told.value.message) < 400


def test_a_second_answer_to_one_wording_is_refused(tmp_path: Path) -> None:
    rows = [{"prompt": "What is red?", "text": "x"}, {"prompt": "What is red? ", "text": "y"}]
    with pytest.raises(UserError, match="line 2 is another answer"):
        adopted(lines(tmp_path / "a.jsonl", rows))


BAD_LOGS: dict[str, tuple[Sequence[Any], Any]] = {
    "no header": ([SAMPLE], None),
    "a header that is a list": ([], []),
    "a sample that is a list": ([[1]], HEAD),
    "epoch 0": ([{**SAMPLE, "epoch": 0}], HEAD),
    "an input of no kind": ([{**SAMPLE, "input": 3}], HEAD),
    "a picture": ([{**SAMPLE, "input": [{"role": "user", "content": [{"type": "image", "image": "x"}]}]}], HEAD),
    "an id twice": ([SAMPLE, SAMPLE], HEAD),
}


@pytest.mark.parametrize("what", BAD_LOGS)
def test_a_doubtful_log_is_refused_with_a_sentence(what: str, tmp_path: Path) -> None:
    samples, head = BAD_LOGS[what]
    with pytest.raises(UserError, match="cannot be imported"):
        adopted(log(tmp_path / "a.eval", samples, head))


def test_a_bomb_is_unpacked_no_further_than_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both packings, of members that claim to be small."""
    monkeypatch.setattr(_eval_log, "MEMBER_BYTES", 1 << 16)
    big = b'{"id": "' + b" " * (1 << 20) + b'"}'
    with zipfile.ZipFile(tmp_path / "deflated.eval", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("samples/a_epoch_1.json", big)
        archive.writestr("header.json", json.dumps(HEAD))
    with pytest.raises(UserError, match="unpacks to more than"):
        adopted(tmp_path / "deflated.eval")
    (tmp_path / "packed.eval").write_bytes(_zstandard_log({"samples/a_epoch_1.json": big, "header.json": b"{}"}))
    with pytest.raises(UserError, match="unpacks to more than"):
        adopted(tmp_path / "packed.eval")


def _zstandard_log(members: dict[str, bytes]) -> bytes:
    """A ZIP whose members are packed as Inspect packs them; each claims the size of what is packed."""
    body, directory = io.BytesIO(), io.BytesIO()
    for name, content in members.items():
        packed = zstandard.ZstdCompressor().compress(content)
        crc, place, raw = zlib.crc32(content), body.tell(), name.encode()
        common = struct.pack("<HHHHHIIIHH", 20, 0, 93, 0, 33, crc, len(packed), len(packed), len(raw), 0)
        body.write(b"PK\x03\x04" + common + raw + packed)
        directory.write(b"PK\x01\x02" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, place) + raw)
    many, start = len(members), body.tell()
    end = struct.pack("<HHHHIIH", 0, 0, many, many, directory.tell(), start, 0)
    return body.getvalue() + directory.getvalue() + b"PK\x05\x06" + end


def test_a_damaged_member_is_seen(tmp_path: Path) -> None:
    members = {"samples/a_epoch_1.json": SAMPLE, "header.json": HEAD}
    whole = _zstandard_log({name: json.dumps(value).encode() for name, value in members.items()})
    file = tmp_path / "a.eval"
    file.write_bytes(whole)
    assert _eval_log.read(file).rows[0].text == "A rose."
    for at in range(0, len(whole), 7):
        broken = bytearray(whole)
        broken[at] ^= 0x55
        file.write_bytes(bytes(broken))
        try:
            rows = _eval_log.read(file).rows
        except _answer_rows.FaultError:
            continue
        assert rows[0].text == "A rose.", f"byte {at} changed the answer, and nobody saw it"


def test_files_of_two_models_are_refused(tmp_path: Path) -> None:
    other = {"eval": {"model": "another"}, "plan": {}}
    files = {"t": str(log(tmp_path / "a.eval")), "u": str(log(tmp_path / "b.eval", head=other))}
    with pytest.raises(UserError, match="different models"):
        build(ModelSpec("m", files))
