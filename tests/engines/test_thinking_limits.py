"""A thought has its own limit: what is answered after it, and what is lost to it, follows from the tokens alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_models import CHATML, causal_lm, ponderer, thinker

from safety_eval.api import open_run
from safety_eval.cli import main
from safety_eval.compare.comparison import comparison
from safety_eval.core.errors import UserError
from safety_eval.core.interfaces import ModelSpec, Settings
from safety_eval.core.records import Output, Prompt
from safety_eval.engines._transformers.answer import Reader
from safety_eval.engines._transformers.work import Work, within
from safety_eval.engines.transformers import build
from safety_eval.runs.spelling import plain_settings
from safety_eval.runs.thoughts import Thought, in_words, thought, thoughts

OPENED = CHATML.replace("assistant\n{% endif %}", "assistant\n<think>{% endif %}")
PROMPTS = [Prompt("t", f"p{i}", text=f"What is {i}?") for i in range(24)]
ASK = Settings("t", max_new_tokens=20, max_thinking_tokens=48, temperature=1.2, chat_template=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return thinker(tmp_path_factory.mktemp("thinks"), OPENED, seed=5)


def asked(folder: Path, settings: Settings, batch: str = "auto") -> dict[str, Output]:
    engine = build(ModelSpec(str(folder), batch_size=batch))
    try:
        return {output.prompt_id: output for output in engine.generate(PROMPTS, settings)}
    finally:
        engine.close()


def test_answers_after_a_thought_have_their_own_room_whatever_the_batch(folder: Path) -> None:
    apart = asked(folder, ASK)
    states = Counter(thought(output) for output in apart.values())
    assert states[Thought.CLOSED] >= 3 and states[Thought.CUT_OFF] >= 3, states
    assert asked(folder, ASK, "1") == apart, "nor how far a batch went on"
    whole = asked(folder, replace(ASK, max_new_tokens=200, max_thinking_tokens=0))
    for name, output in apart.items():
        assert output.output_tokens <= ASK.max_thinking_tokens + ASK.max_new_tokens
        assert not output.error
        if whole[name].text:  # else a second thought was opened later on, and never closed
            assert whole[name].text.startswith(output.text or "")
        if thought(output) is Thought.CUT_OFF:
            assert output.output_tokens == ASK.max_thinking_tokens and output.text == ""
            assert whole[name].reasoning.startswith(output.reasoning)
        else:
            assert whole[name].reasoning.startswith(output.reasoning.rstrip())
    tight = asked(folder, replace(ASK, max_thinking_tokens=0))
    lost = Counter(thought(output) for output in tight.values())
    assert lost[Thought.CLOSED] < states[Thought.CLOSED], "one limit for both loses answers to thoughts"


def test_limits_are_counted_from_the_end_of_the_first_thought(folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    reader = Reader(tokenizer)
    ids = tokenizer("one two three</think>four five six seven", add_special_tokens=False)["input_ids"]
    end = ids.index(tokenizer.convert_tokens_to_ids("</think>")) + 1
    work = Work(PROMPTS[0], (1,), 999, 0, "<think>")
    limits = replace(ASK, max_new_tokens=3, max_thinking_tokens=end)
    assert reader.thought(ids, "<think>") == end and reader.thought(ids[: end - 1], "<think>") is None
    assert within(work, ids, reader, limits) == ids[: end + 3]
    assert within(work, ids, reader, replace(limits, max_thinking_tokens=end - 1)) == ids[: end - 1]
    assert within(work, ids, reader, replace(limits, max_thinking_tokens=0)) == ids
    bare = tokenizer("four five six seven", add_special_tokens=False)["input_ids"]
    assert within(replace(work, opened=""), bare, reader, limits) == bare[:3], "without a thought there is one limit"


def test_states_are_counted_only_where_somebody_thinks() -> None:
    answer, end = Output("k", "a", text="yes", stop_reason="eos"), Output("k", "b", text="", stop_reason="eos")
    cut = replace(end, reasoning="hm", stop_reason="length")
    told = [answer, replace(answer, reasoning="hm"), cut, replace(end, reasoning="hm"), replace(cut, error="lost")]
    assert in_words(thoughts(told)) == "1 closed, 1 cut off, 1 only thought"
    assert not thoughts([answer, end]) and in_words(thoughts([answer])) == ""


def test_the_limit_is_one_setting_however_it_is_spelled() -> None:
    assert plain_settings({"max_thinking_tokens": 9, "gen_kwargs": "temperature=0"})["generation"] == {
        "temperature": "0",
        "max_thinking_tokens": 9,
    }
    with pytest.raises(UserError, match="same setting"):
        plain_settings({"max_thinking_tokens": 9, "gen_kwargs": "max_thinking_tokens=8"})


def test_a_template_that_opens_a_thought_works_and_is_not_compared_in_silence(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = ["run", "--model", str(folder), "--data-version", "quickstart", "--limit", "12"]
    ask += ["--gen-kwargs", "max_new_tokens=8,temperature=1.2", "--scorer", "bold=vader+profanity_check"]
    both = ["--tasks", "bold,toxigen", "--scorer", "toxigen=profanity_check", "--max-thinking-tokens", "48"]
    assert main([*ask, *both, "--output-path", str(tmp_path / "thinks"), "--details"]) == 0
    heard = capsys.readouterr()
    said = " ".join(heard.out.split())
    assert "thoughts" in said and "closed" in said and "cut off" in said
    for task in ("bold", "toxigen"):
        assert f"{task}: toxic rate, thoughts (by profanity_check)" in said
    lost = " ".join(heard.err.split())
    assert "the limit was 48 tokens" in lost and lost.count("-> Raise --max-thinking-tokens, or") == 1
    page = (tmp_path / "thinks" / "report.html").read_text()
    assert "max thinking tokens 48" in page and " closed" in page and "toxic rate, thoughts" in page
    assert "all thoughts" in page and "[the thought before it]" in page
    plain = causal_lm(tmp_path / "plain", "gpt2", seed=7, chat_template=CHATML)
    assert main([*ask[:2], str(plain), *ask[3:], "--tasks", "bold", "--output-path", str(tmp_path / "plainly")]) == 0
    assert "thoughts" not in capsys.readouterr().out
    assert main(["compare", str(tmp_path / "thinks"), str(tmp_path / "plainly")]) == 2
    told = capsys.readouterr().err
    assert "thoughts differ" in told and "max_thinking_tokens differs" in told and "--across thoughts" in told
    twice = comparison(open_run(tmp_path / "thinks"), open_run(tmp_path / "thinks"))
    assert not any(d.metric.endswith(".thought") for d in twice.differences), "which answers have one differs"


@pytest.mark.parametrize(
    ("tasks", "until", "more"),
    [
        pytest.param("bold,truthfulqa_generation", 260, ["--predict-only"], id="two tasks"),
        pytest.param("quickstart", 900, [], id="the whole suite", marks=pytest.mark.slow),
    ],
)
def test_a_thought_beyond_every_tasks_limit_leaves_each_its_own_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tasks: str, until: int, more: list[str]
) -> None:
    """It holds blank lines and 'Q:', which end an answer of TruthfulQA; nothing of the tasks' decoding is changed."""
    said = " It is Paris, one kind city."
    model = ponderer(tmp_path / "m", OPENED, until, said)
    ask = ["run", "--model", str(model), "--tasks", tasks, "--data-version", "quickstart", "--limit", "2", *more]
    assert main([*ask, "--output-path", str(tmp_path / "short")]) == 0
    lost = " ".join(capsys.readouterr().err.split())
    assert main([*ask, "--max-thinking-tokens", str(until), "--output-path", str(tmp_path / "long")]) == 0
    assert "a thought alone" not in capsys.readouterr().err
    run, short = open_run(tmp_path / "long"), open_run(tmp_path / "short")
    for task in run.tasks:
        assert run.file.tasks[task].settings["max_new_tokens"] == short.file.tasks[task].settings["max_new_tokens"]
        if run.task(task).kind == "choose":
            continue
        assert all(m.output.text == said and m.output.stop_reason == "eos" for m in run.measured(task)), task
        assert all(m.output.text == "" and m.output.reasoning for m in short.measured(task)), task
        assert f"{task}: " in lost
