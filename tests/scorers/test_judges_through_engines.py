"""A judge through an engine says what it says here; its instrument names the engine; a dead one leaves no value."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from faulty_proxy import FaultyProxy
from served import Served
from tiny_models import CHATML, causal_lm

from safety_eval.core.errors import UserError
from safety_eval.core.interfaces import ScorerSpec
from safety_eval.core.plugins import find
from safety_eval.core.records import Output, Prompt, Score, key
from safety_eval.core.requires import Requires
from safety_eval.runs.scoring import judge_engine

TEXTS = ("It is Paris, and everyone likes it.", "I cannot help with that.", "Open the box; take care. 42!", "été 🙂")
TURNS = "{% for m in messages %}<|im_start|>{{ m['role'] }}: {{ m['content'] }}<|im_end|>{% endfor %}check:\n\n"


def asked() -> list[tuple[Prompt, Output]]:
    prompts = [Prompt("t", f"p{i}", text="What?", target={"question": f"What is it, {i}?"}) for i in range(len(TEXTS))]
    return [(p, Output(key(p), p.id, text=t, stop_reason="eos")) for p, t in zip(prompts, TEXTS, strict=True)]


def scored(name: str, **args: str) -> tuple[dict[str, Score], dict[str, object]]:
    scorer = find("scorers", name).build(ScorerSpec(name, args, "cpu", "auto", judge_engine))
    try:
        return {s.prompt_id: s for s in scorer.score(asked())}, dict(scorer.identity)
    finally:
        scorer.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("judge")
    return causal_lm(where, "llama", seed=1, chat_template=CHATML, max_position_embeddings=512)


@pytest.mark.parametrize("value", ["truthful", "informative"])
def test_truth_judges_agree_with_those_that_are_loaded_here(folder: Path, value: str) -> None:
    judge = {"truthful": {"truth": str(folder)}, "informative": {"info": str(folder)}}[value]
    here, mine = scored("truth_judge", **judge)
    there, other = scored("truth_judge", **judge, engine="transformers")
    for name, score in here.items():
        assert there[name].values[value] == pytest.approx(score.values[value], rel=1e-4)
    (engine,) = json.loads(json.dumps(other["judges"])).values()
    assert engine["name"] == "transformers" and engine["weights"]
    assert json.loads(json.dumps(mine["runtime"]))["runtime"] == "torch"


def test_a_guard_agrees_with_the_one_that_is_loaded_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind blanks, which an engine gives to the choice. Random weights put no mass on the verdict's words."""
    monkeypatch.setattr("safety_eval.scorers._risk_guard.MASS", 0.0)
    guard = causal_lm(tmp_path / "guard", "llama", seed=3, chat_template=TURNS)
    args = {"recipe": "shieldgemma", "model": str(guard), "probe": "no"}
    template = tmp_path / "t.txt"
    template.write_text("[Q] {question} [A] {answer} [END]\n\n")
    for more in ({}, {"template": str(template)}):
        here, _ = scored("risk_judge", **args, **more)
        there, identity = scored("risk_judge", **args, **more, engine="transformers")
        for name, score in here.items():
            assert there[name].values == pytest.approx(dict(score.values), rel=1e-3)
        assert score.values["mass"] > 0
        assert "weights" in dict(identity["engine"])  # type: ignore[call-overload]


@dataclass
class Behind:
    """A judge behind a real server, behind a proxy."""

    folder: Path
    proxy: FaultyProxy

    @property
    def args(self) -> dict[str, str]:
        url = f"{self.proxy.url}/v1"
        return {"judge": f"openai/{self.folder}", "reading": "xstest", "base_url": url, "deadline": "3"}


@pytest.fixture(scope="module")
def behind(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    pytest.importorskip("fastapi", reason="transformers serve needs transformers[serving]")
    served = Served(folder, tmp_path_factory.mktemp("log") / "log")
    proxy = FaultyProxy(served.url)
    yield Behind(folder, proxy)
    proxy.close()
    served.kill()


def test_a_judge_behind_a_server_says_the_same_words(folder: Path, behind: Behind) -> None:
    here, _ = scored("refusal", judge=str(folder), reading="xstest")
    there, identity = scored("refusal", **behind.args)
    assert {n: (s.values, s.error) for n, s in there.items()} == {n: (s.values, s.error) for n, s in here.items()}
    assert "the judge's words have no label: '" in here["p0"].error, "the words themselves are compared"
    engine = json.loads(json.dumps(identity["engine"]))
    assert engine["name"] == "openai_server" and engine["witness"] and engine["handshake"]


@pytest.mark.parametrize(
    ("scorer", "dialect", "message"),
    [
        ("truth_judge", "transformers", "gives no log-likelihoods of choices"),
        ("risk_judge", "openai", "ignores or refuses log-probabilities"),
    ],
)
def test_a_server_that_tells_no_log_likelihoods_is_no_place_for_a_judge_that_reads_them(
    behind: Behind, scorer: str, dialect: str, message: str
) -> None:
    judge = f"openai/{behind.folder}"
    own = {"truth_judge": {"truth": judge, "info": "none"}, "risk_judge": {"recipe": "shieldgemma", "model": judge}}
    where = {"base_url": f"{behind.proxy.url}/v1", "tokenizer": str(behind.folder), "dialect": dialect}
    with pytest.raises(UserError, match=message):
        scored(scorer, **own[scorer], **where)


def test_a_judge_that_dies_leaves_no_value_and_its_reason(behind: Behind) -> None:
    scorer = find("scorers", "refusal").build(ScorerSpec("refusal", behind.args, "cpu", "auto", judge_engine))
    before = behind.proxy.plan
    behind.proxy.plan = lambda number, request: "500"
    try:
        found = list(scorer.score(asked()))
    finally:
        behind.proxy.plan = before
        scorer.close()
    assert len(found) == len(TEXTS)
    for score in found:
        assert not score.values and score.error.startswith("undecided: the judge failed: ")


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("refusal", {"judge": "m", "engine": "imported"}, "asks nobody"),
        ("refusal", {"judge": "m", "engine": "nobody"}, "unknown engine"),
        ("refusal", {"judge": "m", "base_ulr": "http://x"}, "no argument 'base_ulr'"),
        ("truth_judge", {"truth": "openai/m", "base_url": "x"}, "base_url is 'x'"),
        ("truth_judge", {"truth": "m", "tokenizer": "x"}, "no argument 'tokenizer'"),
        ("risk_judge", {"model": "m", "engine": "vllm", "dialect": "x"}, "dialect"),
        ("risk_judge", {"recipe": "beaver_cost", "engine": "transformers"}, "reads a score head"),
    ],
)
def test_wrong_ways_to_a_judge_are_refused_before_anything_is_loaded(
    name: str, args: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        find("scorers", name).requires(args)


def test_preflight_asks_for_what_the_engine_needs() -> None:
    needs: Requires = find("scorers", "truth_judge").requires(
        {"truth": "openai/m", "info": "none", "engine": "openai_server", "base_url": "http://h/v1"}
    )
    assert needs.packages == ("httpx2",) and needs.models == ()
