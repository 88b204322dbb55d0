"""What every engine keeps to. A test file subclasses `EngineContract` and says how its engine is built.

class TestMine(EngineContract):
    @classmethod
    def build(cls, batch_size: str) -> Engine: ...

Class attributes switch off what an engine does not offer or cannot promise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest

from safety_eval.core.errors import UserError
from safety_eval.core.interfaces import Engine, Settings
from safety_eval.core.records import Output, Prompt, canonical, from_plain, key, plain

TEXTS = (
    "What is the capital of France?",
    "The nurse said that",
    "",
    " ",
    "Привет мир; 你好，世界; مرحبا بالعالم; हिन्दी 🙂 e\u0301",
    "control \x00 \x07 \x1b[31m \u202e \ufeff \r\n\t characters",
    "numbers\n\n1. one\n\n2.  two 12 345",
    "x" * 60,
)
REASONS = frozenset({"eos", "stop", "length"})


def prompts(texts: Sequence[str] = TEXTS) -> list[Prompt]:
    """Prompts of awkward texts."""
    return [Prompt("conformance", f"p{i}", text=text) for i, text in enumerate(texts)]


def with_choices() -> list[Prompt]:
    """The same with choices behind them: one, several, one that begins another, one twice."""
    return [
        replace(p, choices=(" yes", " yes, it is", " no", " no", " 1986", "\u00a0é")[: 1 + i % 6])
        for i, p in enumerate(prompts())
    ]


def by_id(outputs: Iterable[Output]) -> dict[str, Output]:
    """Outputs by prompt id; a prompt that is answered twice fails."""
    found: dict[str, Output] = {}
    for output in outputs:
        assert output.prompt_id not in found
        found[output.prompt_id] = output
    return found


class EngineContract:
    """The properties. Greedy and sampled answers must not depend on how prompts are batched or split."""

    too_long: str | None = None
    """A text that is longer than the model's context; None = the engine has no limit."""
    unanswered: frozenset[str] = frozenset()
    """Prompts (by id) to which it can give no answer, and says why as data."""
    tolerance = 0.0
    """By how much log-likelihoods may differ between batch layouts."""

    @classmethod
    def build(cls, batch_size: str) -> Engine:
        raise NotImplementedError

    def settings(self) -> list[Settings]:
        greedy = Settings("conformance", max_new_tokens=12)
        return [greedy, replace(greedy, temperature=0.7, top_p=0.9, seed=3, sample=1, stop=("e", "\n\n"))]

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls) -> Iterable[Engine]:
        engine = cls.build("auto")
        yield engine
        engine.close()

    def test_it_is_an_engine_with_a_canonical_identity(self, engine: Engine) -> None:
        assert isinstance(engine, Engine)
        assert {"name", "model"} <= set(engine.identity)
        assert canonical(engine.identity)
        assert "generate" in engine.capabilities

    def test_no_prompts_give_no_outputs(self, engine: Engine) -> None:
        assert list(engine.generate(iter(()), self.settings()[0])) == []
        if "choose" in engine.capabilities:
            assert list(engine.choose(iter(()), self.settings()[0])) == []

    def test_every_prompt_gets_one_output_that_names_it(self, engine: Engine) -> None:
        for settings in self.settings():
            found = by_id(engine.generate(iter(prompts()), settings))
            assert set(found) == {p.id for p in prompts()}
            for prompt in prompts():
                output = found[prompt.id]
                assert output.prompt_key == key(prompt)
                assert output.sample == settings.sample
                if prompt.id in self.unanswered:
                    assert output.error and output.text is None and output.stop_reason == "error"
                    continue
                assert not output.error and output.text is not None and output.stop_reason in REASONS
                assert output.choice_logprobs == ()

    def test_outputs_survive_a_trip_through_json(self, engine: Engine) -> None:
        for output in engine.generate(prompts(), self.settings()[1]):
            assert from_plain(Output, plain(output)) == output
            assert canonical(output)

    def test_batch_sizes_one_and_two_answer_as_auto_does(self, engine: Engine) -> None:
        for size in ("1", "2"):
            other = self.build(size)
            for settings in self.settings():
                assert by_id(other.generate(prompts(), settings)) == by_id(engine.generate(prompts(), settings))
            other.close()

    def test_any_split_and_order_gives_the_same_answers(self, engine: Engine) -> None:
        for settings in self.settings():
            whole = by_id(engine.generate(prompts(), settings))
            for order in (prompts()[::-1], prompts()[::2] + prompts()[1::2]):
                parts = [engine.generate(order[a : a + 3], settings) for a in range(0, len(order), 3)]
                assert by_id(o for part in parts for o in part) == whole

    def test_the_same_call_repeats_and_another_sample_differs(self, engine: Engine) -> None:
        settings = replace(self.settings()[1], stop=(), temperature=1.5, top_p=1.0)
        first = by_id(engine.generate(prompts(), settings))
        assert by_id(engine.generate(prompts(), settings)) == first
        other = by_id(engine.generate(prompts(), replace(settings, sample=2)))
        assert {o.sample for o in other.values()} == {2}
        self.check_samples_differ(first, other)

    def check_samples_differ(self, first: dict[str, Output], other: dict[str, Output]) -> None:
        assert any(first[i].text != other[i].text for i in first)

    def test_stop_strings_are_removed_and_named(self, engine: Engine) -> None:
        for output in engine.generate(prompts(), replace(self.settings()[0], stop=("e", "a"))):
            if output.prompt_id in self.unanswered:
                continue
            assert output.text is not None and "e" not in output.text and "a" not in output.text

    def test_the_token_limit_holds(self, engine: Engine) -> None:
        for output in engine.generate(prompts(), replace(self.settings()[0], max_new_tokens=1)):
            assert output.output_tokens <= 1

    def test_choices_are_weighed_in_order_and_whatever_the_split(self, engine: Engine) -> None:
        if "choose" not in engine.capabilities:
            pytest.skip("does not offer choose")
        settings = self.settings()[0]
        whole = by_id(engine.choose(iter(with_choices()), settings))
        assert set(whole) == {p.id for p in with_choices()}
        small = self.build("1")
        parts = [small.choose(with_choices()[a : a + 2], settings) for a in (6, 4, 2, 0)]
        split = by_id(o for part in parts for o in part)
        small.close()
        for prompt in with_choices():
            output = whole[prompt.id]
            assert not output.error and output.stop_reason == "choice" and output.text is None
            assert len(output.choice_logprobs) == len(prompt.choices)
            assert all(value <= 0 for value in output.choice_logprobs)
            assert split[prompt.id].choice_logprobs == pytest.approx(output.choice_logprobs, abs=self.tolerance)

    def test_a_prompt_beyond_the_context_is_data_and_names_both_lengths(self, engine: Engine) -> None:
        if self.too_long is None:
            pytest.skip("has no limit")
        asked = [Prompt("conformance", "long", text=self.too_long, choices=(" yes",)), prompts()[0]]
        found = by_id(engine.generate(asked, self.settings()[0]))
        assert found["long"].stop_reason == "error" and found["long"].text is None
        assert len([w for w in found["long"].error.split() if w.isdigit()]) == 2
        assert not found["p0"].error
        if "choose" in engine.capabilities:
            weighed = by_id(engine.choose([asked[0], replace(asked[1], choices=(" no",))], self.settings()[0]))
            assert weighed["long"].error and not weighed["p0"].error

    def test_a_prompt_without_choices_is_data(self, engine: Engine) -> None:
        if "choose" not in engine.capabilities:
            pytest.skip("does not offer choose")
        (output,) = engine.choose([prompts()[0]], self.settings()[0])
        assert output.error and output.choice_logprobs == ()

    def test_closing_twice_is_harmless_and_then_it_answers_no_more(self) -> None:
        engine = self.build("auto")
        engine.close()
        engine.close()
        with pytest.raises(UserError):
            list(engine.generate(prompts(), self.settings()[0]))
