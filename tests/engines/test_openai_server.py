"""Engine `openai_server` before a real server (transformers serve), and before one that a proxy breaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from engine_conformance import EngineContract, by_id, prompts
from faulty_proxy import FaultyProxy, harmless
from served import Served
from tiny_models import CHATML, causal_lm

from safety_eval.core.errors import UserError
from safety_eval.core.interfaces import Engine, ModelSpec, Settings
from safety_eval.core.records import Prompt, Reason
from safety_eval.engines import openai_server
from safety_eval.engines._server import handshake
from safety_eval.engines._server.handshake import Draws

pytest.importorskip("fastapi", reason="transformers serve needs transformers[serving]")
GREEDY = Settings("served", max_new_tokens=8)
HOT = replace(GREEDY, temperature=0.9, top_p=0.95)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One tiny model behind a real server, for all tests of this file."""
    folder = tmp_path_factory.mktemp("served")
    causal_lm(folder / "tiny", "llama", seed=1, chat_template=CHATML)
    served = Served(folder / "tiny", folder / "log")
    yield served
    served.kill()


@pytest.fixture(scope="session")
def proxy(served: Served) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(served.url)
    yield proxy
    proxy.close()


@pytest.fixture
def broken(proxy: FaultyProxy) -> Iterator[FaultyProxy]:
    """The proxy with a plan of the test's, counted from its own first request."""
    proxy.posts = 0
    proxy.happened.clear()
    yield proxy
    proxy.plan = harmless


Opened = Callable[..., openai_server.OpenaiServer]


@pytest.fixture
def opened(served: Served) -> Iterator[Opened]:
    """Engines of the tiny model at a url, closed after the test."""
    engines = []

    def build(url: str, **args: str) -> openai_server.OpenaiServer:
        spec = ModelSpec(str(served.folder), {"base_url": f"{url}/v1", "dialect": "transformers", **args})
        engines.append(openai_server.build(spec))
        return engines[-1]

    yield build
    for engine in engines:
        engine.close()


@pytest.fixture(scope="module", autouse=True)
def hurried() -> Iterator[None]:
    """This server breaks at an empty prompt: no use in waiting for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handshake, "EMPTY_SECONDS", 0.3)
        yield


class TestServer(EngineContract):
    unanswered = frozenset({"p2"})  # this server breaks at an empty text

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def server(cls, served: Served) -> None:
        cls.served = served

    @classmethod
    def build(cls, batch_size: str) -> Engine:
        spec = ModelSpec(str(cls.served.folder), {"base_url": f"{cls.served.url}/v1"}, batch_size=batch_size)
        return openai_server.build(spec)


def test_the_handshake_sees_what_this_server_takes_and_ignores(served: Served, opened: Opened) -> None:
    """A temperature without a configuration of its own is ignored in silence; log-probabilities are, too."""
    found = opened(served.url, dialect="openai")
    seen = found.identity["handshake"]
    assert seen["draws"] is Draws.IGNORED and seen["limits"] and seen["repeats"] and not seen["prefill"]
    with pytest.raises(UserError, match="ignores temperature"):
        found.check("generate", HOT)
    found.check("generate", GREEDY)
    with pytest.raises(UserError, match="tokenizer"):
        found.check("choose", GREEDY)
    found.close()
    mine = opened(served.url, dialect="openai", tokenizer=str(served.folder))
    with pytest.raises(UserError, match="ignores or refuses log-probabilities"):
        mine.check("choose", GREEDY)
    best = opened(served.url, dialect="")
    assert best.identity["handshake"]["dialect"] == "transformers"
    assert best.identity["handshake"]["draws"] is Draws.SEEDED_ALONE


def test_greedy_answers_are_those_of_the_model_itself(served: Served, opened: Opened) -> None:
    from safety_eval.engines import transformers

    asked = [p for p in prompts() if p.text]
    direct = transformers.build(ModelSpec(str(served.folder), dtype="float32", device="cpu"))
    engine = opened(served.url)
    for settings in (GREEDY, replace(GREEDY, chat_template=True), replace(GREEDY, system_prompt="Be brief.")):
        ours, theirs = (by_id(e.generate(asked, settings)) for e in (engine, direct))
        assert {i: o.text for i, o in ours.items()} == {i: o.text for i, o in theirs.items()}
        assert {i: o.prompt_tokens for i, o in ours.items()} == {i: o.prompt_tokens for i, o in theirs.items()}


def test_a_server_that_answers_otherwise_each_time_is_refused_or_named(broken: FaultyProxy, opened: Opened) -> None:
    broken.plan = lambda number, asked: "other"
    engine = opened(broken.url)
    with pytest.raises(UserError, match="another answer each time"):
        engine.check("generate", GREEDY)
    assert engine.identity["handshake"]["draws"] is Draws.UNSEEDED
    with pytest.raises(UserError, match="ignores the seed"):
        engine.check("generate", HOT)
    accepted = opened(broken.url, unseeded="true")
    accepted.check("generate", GREEDY)
    accepted.check("generate", HOT)
    assert accepted.identity["unseeded"] is True


def test_a_server_that_takes_a_begun_turn_and_ends_it_is_not_asked_to_continue_one(
    broken: FaultyProxy, opened: Opened
) -> None:
    broken.plan = lambda number, asked: "deaf"
    seen = opened(broken.url, dialect="vllm").identity["handshake"]
    assert seen["chat"] and not seen["prefill"]


def test_a_server_that_ignores_the_token_limit_is_refused(broken: FaultyProxy, opened: Opened) -> None:
    broken.plan = lambda number, asked: "long"
    with pytest.raises(UserError, match="ignores max_tokens"):
        opened(broken.url)


def test_a_full_server_is_not_asked_for_more_than_its_prompts(broken: FaultyProxy, opened: Opened) -> None:
    """Only a break may hide another server: in a storm of 429 nothing but the prompts is asked again."""
    engine = opened(broken.url)
    asked = [p for p in prompts() if p.text]
    list(engine.generate(asked, GREEDY))
    start = broken.posts
    broken.plan = lambda number, text: "429" if (number - start) % 2 == 1 else ""
    list(engine.generate(asked, GREEDY))
    assert broken.posts - start == len(asked) + broken.happened["429"] + 1  # and the witness at the beginning


def test_what_passes_is_asked_again_and_changes_no_answer(broken: FaultyProxy, opened: Opened) -> None:
    engine = opened(broken.url)
    whole = by_id(engine.generate(prompts(), GREEDY))
    start, faults = broken.posts, ("429", "500", "half", "json", "list", "reset")
    broken.plan = lambda number, asked: faults[(number - start) // 3 % 6] if (number - start) % 3 == 1 else ""
    for _ in range(2):
        assert by_id(engine.generate(prompts(), GREEDY)) == whole
    assert set(broken.happened) == set(faults)


def test_what_does_not_pass_is_an_error_that_is_owed_again_never_an_empty_answer(
    broken: FaultyProxy, opened: Opened
) -> None:
    engine = opened(broken.url, deadline="1")
    faults = ("two", "json", "429", "stall")
    broken.plan = lambda number, asked: next((f for f in faults if f"day {f} " in asked), "")
    asked = [*(Prompt("t", fault, f"On day {fault} the nurse said") for fault in faults), Prompt("t", "well", "It is")]
    found = by_id(engine.generate(asked, GREEDY))
    for fault in faults:
        assert found[fault].error and found[fault].text is None and found[fault].stop_reason == "error"
    assert found["well"].text and set(broken.happened) == set(faults)
    broken.plan = harmless
    assert all(output.text for output in engine.generate(asked, GREEDY))


def test_a_refused_prompt_is_its_own_error_and_a_server_that_refuses_all_stops_the_run(
    broken: FaultyProxy, opened: Opened
) -> None:
    engine = opened(broken.url)
    asked = [Prompt("t", "a", "What is the capital of France?"), Prompt("t", "b", "The nurse said that")]
    broken.plan = lambda number, asked: "400" if "capital" in asked else ""
    found = by_id(engine.generate(asked, GREEDY))
    assert "status 400" in found["a"].error and found["b"].text
    assert broken.happened["400"] == 1, "what is refused is not asked again"
    first = broken.posts
    broken.plan = lambda number, asked: "401" if number > first else ""
    with pytest.raises(UserError, match="status 401"):
        list(engine.generate(asked, GREEDY))


def test_a_withheld_answer_is_no_refusal_of_the_models(broken: FaultyProxy, opened: Opened) -> None:
    engine = opened(broken.url)
    broken.plan = lambda number, asked: "filter" if "nurse" in asked else ""
    (found,) = engine.generate([Prompt("t", "b", "The nurse said that")], GREEDY)
    assert found.reason is Reason.FILTERED and found.text is None


def test_another_model_in_the_middle_stops_the_run(
    served: Served, tmp_path: Path, proxy: FaultyProxy, opened: Opened
) -> None:
    """The same name, other weights: only its answers tell."""
    folder = served.folder
    engine = opened(proxy.url)
    list(engine.generate(prompts()[:2], GREEDY))
    kept = folder.rename(tmp_path / "kept")
    try:
        causal_lm(folder, "llama", seed=2, chat_template=CHATML)
        other = Served(folder, tmp_path / "log")
        proxy.target = other.url
        with pytest.raises(UserError, match="changed during the run"):
            list(engine.generate(prompts()[:2], GREEDY))
        proxy.target = served.url
        began = proxy.posts

        def exchanged(number: int, asked: str) -> str:
            """The first prompt's connection breaks, and another server stands there from then on."""
            if number != began + 1:
                return ""
            proxy.target = other.url
            return "reset"

        proxy.plan = exchanged
        with pytest.raises(UserError, match="changed during the run"):
            list(engine.generate(prompts()[:1], GREEDY))
        other.kill()
    finally:
        proxy.plan, proxy.target = harmless, served.url
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
        kept.rename(folder)
    assert by_id(engine.generate(prompts()[:2], GREEDY))["p0"].text


def test_a_server_that_is_gone_stops_the_run_and_says_that_nothing_is_lost(
    proxy: FaultyProxy, served: Served, opened: Opened
) -> None:
    engine = opened(proxy.url, deadline="1")
    proxy.target = "http://127.0.0.1:9"
    try:
        with pytest.raises(UserError, match="no longer answers"):
            list(engine.generate(prompts()[:2], GREEDY))
    finally:
        proxy.target = served.url


@pytest.mark.parametrize(
    ("args", "naming"),
    [
        ({}, "base_url"),
        ({"base_url": "localhost:8000"}, "base_url"),
        ({"base_url": "http://127.0.0.1:9/v1"}, "no model server answers"),
        ({"base_url": "http://127.0.0.1:9/v1", "concurency": "3"}, "concurrency"),
        ({"base_url": "http://127.0.0.1:9/v1", "concurrency": "0"}, "from 1 to"),
        ({"base_url": "http://127.0.0.1:9/v1", "deadline": "nan"}, "from 1 to"),
        ({"base_url": "http://127.0.0.1:9/v1", "dialect": "vlm"}, "vllm"),
        ({"base_url": "http://127.0.0.1:9/v1", "unseeded": "yes"}, "true or false"),
    ],
)
def test_wrong_arguments_are_named(args: dict[str, str], naming: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshake, "LISTED_SECONDS", 0.5)
    with pytest.raises(UserError) as error:
        openai_server.build(ModelSpec("m", args))
    assert naming in str(error.value)


def test_a_model_that_the_server_does_not_have_is_named(served: Served) -> None:
    with pytest.raises(UserError, match="no model 'another'.*\n.*tiny"):
        openai_server.build(ModelSpec("another", {"base_url": f"{served.url}/v1"}))
