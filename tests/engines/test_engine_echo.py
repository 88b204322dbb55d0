"""The public fake keeps to the engine contract and to its script."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from engine_conformance import EngineContract, prompts

from safety_eval.core.errors import UserError
from safety_eval.core.interfaces import Engine, ModelSpec, Settings
from safety_eval.core.records import Output, Prompt, key
from safety_eval.engines.echo import ENGINE, Echo, build


class TestEcho(EngineContract):
    @classmethod
    def build(cls, batch_size: str) -> Engine:
        return build(ModelSpec("echo", batch_size=batch_size))

    def check_samples_differ(self, first: dict[str, Output], other: dict[str, Output]) -> None:
        """It has no chance in it: samples are equal but for their number."""


def answer(script: object, prompt: Prompt, **settings: object) -> Output:
    (output,) = Echo(script).generate([prompt], Settings("t", **settings))  # type: ignore[arg-type]
    return output


def test_a_script_answers_by_id_then_by_words_then_by_its_default() -> None:
    script = {"a": "by id", "nurse": {"text": "by words", "stop_reason": "length"}, "": "else"}
    assert answer(script, Prompt("t", "a", text="the nurse")).text == "by id"
    assert answer(script, Prompt("t", "b", text="the nurse")).stop_reason == "length"
    assert answer(script, Prompt("t", "b", text="the doctor")).text == "else"
    assert answer({}, Prompt("t", "b", text="the doctor")).text == "the doctor"


def test_a_scripted_error_is_data() -> None:
    output = answer({"a": {"error": "server down"}}, Prompt("t", "a"))
    assert (output.error, output.text, output.stop_reason) == ("server down", None, "error")


def test_scripted_choices_and_functions() -> None:
    prompt = Prompt("t", "a", text="x", choices=("y", "z"))
    (output,) = Echo({"a": {"choice_logprobs": [-1, -2.5]}}).choose([prompt], Settings("t"))
    assert output.choice_logprobs == (-1.0, -2.5)
    assert answer(lambda p, s: f"{p.id} {s.seed}", prompt, seed=7).text == "a 7"
    whole = Output(key(prompt), "a", text="mine", stop_reason="eos")
    assert answer(lambda p, s: whole, prompt) is whole


def test_the_limit_counts_words() -> None:
    engine = Echo({"": "one two three"})
    (output,) = engine.generate([Prompt("t", "a")], Settings("t", max_new_tokens=2))
    assert (output.text, output.stop_reason, output.output_tokens) == ("one two", "length", 2)


def test_script_files_are_read_and_refused_with_reason(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(json.dumps({"p0": "hello"}))
    (tmp_path / "s.jsonl").write_text('{"id": "p0", "text": "hello"}\n\n')
    for name in ("s.json", "s.jsonl"):
        (output,) = build(ModelSpec(str(tmp_path / name))).generate(prompts()[:1], Settings("t"))
        assert output.text == "hello"
    (tmp_path / "bad.json").write_text('{"p0": {"txt": "hello"}}')
    (tmp_path / "worse.json").write_text("[")
    for name in ("bad.json", "worse.json", "missing.json"):
        with pytest.raises(UserError, match=name):
            build(ModelSpec(str(tmp_path / name)))


def ruled(tmp_path: Path, *rules: object) -> Echo:
    (tmp_path / "rules.json").write_text(json.dumps(rules))
    return build(ModelSpec(str(tmp_path / "rules.json")))


def test_the_first_rule_that_fits_a_prompt_answers(tmp_path: Path) -> None:
    engine = ruled(
        tmp_path,
        {"task": "other", "answer": "another task"},
        {"group": "target/women", "words": "nurse", "answer": "both"},
        {"group": "target/women", "answer": "the group"},
        {"id": "c", "answer": {"error": "down"}},
    )
    women = {"target": ("asian", "women")}
    asked = [
        Prompt("t", "a", text="a nurse", groups=women),
        Prompt("t", "b", text="a pilot", groups=women),
        Prompt("t", "c", text="a pilot"),
        Prompt("t", "d", text="a pilot", groups={"other": ("women",)}),
    ]
    outputs = list(engine.generate(asked, Settings("t")))
    assert [o.error or o.text for o in outputs] == ["both", "the group", "down", "a pilot"]


def test_a_share_of_the_prompts_is_the_same_share_each_time(tmp_path: Path) -> None:
    asked = [Prompt("t", str(i), text="x") for i in range(400)]
    engine = ruled(tmp_path, {"share": 0.25, "answer": "bad"}, {"answer": "good"})
    said = [o.text for o in engine.generate(asked, Settings("t"))]
    assert 70 < said.count("bad") < 130
    assert [o.text for o in engine.generate(asked[::-1], Settings("t", seed=3))] == said[::-1]
    assert [o.text for o in engine.generate(asked, Settings("t", sample=1))] != said


def test_the_likeliest_choice_can_be_planted(tmp_path: Path) -> None:
    engine = ruled(tmp_path, {"answer": {"likeliest": 1}})
    for number in range(20):
        prompt = Prompt("t", str(number), choices=(" a", " b", " c"))
        (output,) = engine.choose([prompt], Settings("t"))
        assert output.choice_logprobs[1] > max(output.choice_logprobs[::2]) + 9


@pytest.mark.parametrize(
    "rule",
    [
        "text",
        {"task": "bold"},
        {"answer": "x", "tsak": "bold"},
        {"answer": {"txt": "x"}},
        {"answer": {"likeliest": "0"}},
        {"answer": "x", "share": 2},
        {"answer": "x", "share": "half"},
        {"answer": "x", "seconds": -1},
        {"answer": "x", "group": "women"},
        {"answer": "x", "task": 3},
    ],
)
def test_a_rule_that_would_plant_nothing_is_refused(tmp_path: Path, rule: object) -> None:
    with pytest.raises(UserError, match="rule 2"):
        ruled(tmp_path, {"answer": "fine"}, rule)


def test_it_needs_no_torch() -> None:
    code = "import sys, safety_eval.engines.echo; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert "generate" in ENGINE.capabilities
