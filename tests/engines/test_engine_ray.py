"""Engine `ray`: replicas on a real cluster of several processes of this machine.

The cluster takes ten seconds to start, and a replica several to open a model: what needs one is slow, but for the
journey of the installed command (tests/journeys/test_ray_journey.py), in which a replica is killed.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from engine_conformance import EngineContract, by_id, prompts, with_choices
from tiny_models import CHATML, causal_lm, ponderer

from safety_eval.core import packages
from safety_eval.core.errors import UserError
from safety_eval.core.interfaces import Engine, ModelSpec, Settings
from safety_eval.core.records import Output, Prompt, key
from safety_eval.engines import ray as engine
from safety_eval.engines._ray_cluster import end_processes, fitted, terms
from safety_eval.engines._ray_pieces import AHEAD, MOST, Piece, Queue
from safety_eval.engines._ray_worker import Opened

needs_ray = pytest.mark.skipif(not packages.installed("ray"), reason="needs safety-eval[ray]")
HOT = Settings("ray", max_new_tokens=24, temperature=0.9, top_p=0.95, seed=5)


def asked(count: int) -> list[Prompt]:
    return [Prompt("ray", f"n{i}", text=f"On day {i} the nurse said") for i in range(count)]


def emptied(queue: Queue) -> list[Piece]:
    return list(iter(queue.take, None))


# --- the pieces: no cluster


@pytest.mark.parametrize("count", [0, 1, 2, 15, 16, 17, 817, 10_000])
@pytest.mark.parametrize("replicas", [1, 2, 9])
def test_every_prompt_goes_out_once_and_the_last_pieces_are_small(count: int, replicas: int) -> None:
    pieces = emptied(Queue(asked(count), replicas))
    assert [p.id for piece in pieces for p in piece.left.values()] == [p.id for p in asked(count)]
    assert all(len(piece.left) <= MOST for piece in pieces)
    if count >= 817:
        assert len(pieces[-1].left) <= (16 if replicas > 1 else 64) and len(pieces) >= 2 * replicas


def test_no_more_of_a_stream_is_held_than_goes_out_soon() -> None:
    drawn = 0

    def stream() -> Iterator[Prompt]:
        nonlocal drawn
        for prompt in asked(30_000):
            drawn += 1
            yield prompt

    queue, out = Queue(stream(), 2), 0
    for _ in range(5):
        out += len((queue.take() or Piece({})).left)
        assert drawn - out <= AHEAD * 2 * MOST


def test_the_same_prompt_twice_is_asked_twice() -> None:
    (prompt,) = asked(1)
    assert [len(piece.left) for piece in emptied(Queue([prompt, prompt], 1))] == [1, 1]


def test_what_killed_a_replica_is_found_and_all_else_is_answered() -> None:
    """One prompt kills whatever asks it: it alone is given up, after three deaths alone."""
    poison, queue = "n333", Queue(asked(500), 1)
    answered: list[str] = []
    given_up: list[str] = []
    deaths = 0
    while piece := queue.take():
        for name, prompt in list(piece.left.items()):
            if prompt.id == poison:
                deaths += 1
                given_up += [p.id for p in queue.suspect(piece)]
                break
            del piece.left[name]
            answered.append(prompt.id)
    assert given_up == [poison] and sorted([*answered, poison]) == sorted(p.id for p in asked(500))
    assert 3 <= deaths <= 6


def test_a_piece_that_only_waited_is_asked_again_as_it_was() -> None:
    queue = Queue(asked(40), 1)
    first = queue.take()
    assert first is not None
    first.left.pop(key(asked(1)[0]))
    queue.again(first)
    again = queue.take()
    assert again is not None and again.left == first.left and again.deaths == 0


# --- what replicas tell of themselves: no cluster


@needs_ray
@pytest.mark.parametrize("other", [{"identity": {"weights": "2"}}, {"capabilities": frozenset({"choose"})}])
def test_a_replica_that_opened_something_else_is_refused(other: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """What they tell is a value; that it comes from another process is left to the slow tests."""
    import ray

    monkeypatch.setattr(ray, "get", lambda told: told)
    first = Opened({"weights": "1"}, frozenset({"generate"}))
    driver = object.__new__(engine.RayEngine)
    driver._told = None
    for _ in range(2):
        driver._hear_opening(engine.Replica(None, first))
    with pytest.raises(UserError, match="replicas differ"):
        driver._hear_opening(engine.Replica(None, replace(first, **other)))


# --- the arguments: no cluster


@pytest.mark.parametrize(
    ("args", "machines", "expected"),
    [
        ({}, [(16, 0)], (1, 16, 0)),
        ({"replicas": "2"}, [(16, 0)], (2, 8, 0)),
        ({"replicas": "3"}, [(16, 0), (16, 0)], (3, 8, 0)),
        ({}, [(16, 0), (8, 0)], (2, 8, 0)),
        ({}, [(64, 8)], (8, 8, 1)),
        ({"inner": "vllm", "tensor_parallel_size": "4"}, [(64, 8), (64, 8)], (4, 32, 4)),
        ({"inner": "openai_server", "replicas": "4"}, [(64, 8)], (4, 16, 0)),
        ({"gpus": "0", "replicas": "4", "cpus": "2"}, [(64, 8)], (4, 2, 0)),
    ],
)
def test_replicas_share_what_the_cluster_has(
    args: dict[str, str], machines: list[tuple[int, int]], expected: tuple[int, int, int]
) -> None:
    assert fitted(terms(ModelSpec("m", args)), machines) == expected


@pytest.mark.parametrize(
    ("args", "machines"),
    [
        ({"replicas": "3"}, [(2, 0)]),
        ({"replicas": "2", "cpus": "12"}, [(16, 0), (8, 0)]),
        ({"replicas": "2", "gpus": "1"}, [(64, 1)]),
        ({"inner": "vllm", "tensor_parallel_size": "8"}, [(64, 4), (64, 4)]),
        ({}, []),
    ],
)
def test_what_does_not_fit_is_refused_and_never_waited_for(
    args: dict[str, str], machines: list[tuple[int, int]]
) -> None:
    with pytest.raises(UserError, match="do not fit into"):
        fitted(terms(ModelSpec("m", args)), machines)


@pytest.mark.parametrize(
    ("args", "naming"),
    [
        ({"replicsa": "2"}, "replicas"),
        ({"replicas": "0"}, "at least 1"),
        ({"replicas": "two"}, "at least 1"),
        ({"inner": "vlm"}, "vllm"),
        ({"inner": "ray"}, "Known: echo"),
        ({"atn_implementation": "eager"}, "attn_implementation"),
        ({"address": "ray://head:10001"}, "address=auto"),
        ({"inner": "openai_server"}, "base_url"),
    ],
)
def test_wrong_arguments_are_named(args: dict[str, str], naming: str) -> None:
    with pytest.raises(UserError) as error:
        engine.requires(ModelSpec("nobody/model", args))
    assert naming in str(error.value)


def test_what_a_start_that_failed_left_behind_is_ended_and_nothing_else(tmp_path: Path) -> None:
    waits = [sys.executable, "-c", "import time; time.sleep(600)"]
    left, other = (subprocess.Popen([*waits, f"--temp-dir={folder}"]) for folder in (tmp_path, "elsewhere"))
    try:
        end_processes(str(tmp_path))
        assert left.wait() == -signal.SIGKILL and other.poll() is None
    finally:
        for process in (left, other):
            process.kill()
            process.wait()


def test_it_needs_ray_and_what_the_inner_engine_needs() -> None:
    needs = engine.requires(ModelSpec("nobody/model", {"inner": "vllm", "replicas": "2"}))
    assert needs.packages[:2] == ("ray", "vllm") and needs.models[0].model == "nobody/model"
    assert "safety-eval[ray]" in packages.advice("ray")


# --- a cluster


def workers() -> list[psutil.Process]:
    """Processes of replicas below this one."""
    below = psutil.Process().children(recursive=True)
    return [p for p in below if p.status() != psutil.STATUS_ZOMBIE and "".join(p.cmdline()).startswith("ray::Worker")]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return causal_lm(tmp_path_factory.mktemp("ray") / "tiny", "llama", seed=1, chat_template=CHATML)


def opened(model: str, **args: str) -> engine.RayEngine:
    return engine.build(ModelSpec(model, {"replicas": "2", "cpus": "1", **args}, dtype="float32", device="cpu"))


@pytest.fixture(scope="module")
def two(tiny: Path) -> Iterator[engine.RayEngine]:
    """Two replicas of the tiny model; their cluster is the one of all tests of this file."""
    two = opened(str(tiny))
    yield two
    two.close()


@pytest.fixture(scope="module")
def one(tiny: Path) -> Iterator[Engine]:
    from safety_eval.engines import transformers

    one = transformers.build(ModelSpec(str(tiny), dtype="float32", device="cpu"))
    yield one
    one.close()


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
class TestRayOfTransformers(EngineContract):
    too_long = "long " * 400
    tolerance = 1e-4

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def folder(cls, tiny: Path, two: engine.RayEngine) -> None:
        cls.tiny = tiny

    @classmethod
    def build(cls, batch_size: str) -> Engine:
        spec = ModelSpec(str(cls.tiny), {"replicas": "2", "cpus": "1"}, dtype="float32", batch_size=batch_size)
        return engine.build(spec)


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
class TestRayOfEcho(EngineContract):
    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def cluster(cls, two: engine.RayEngine) -> None:
        """The one that is there."""

    @classmethod
    def build(cls, batch_size: str) -> Engine:
        return engine.build(ModelSpec("echo", {"inner": "echo", "replicas": "2"}, batch_size=batch_size))

    def check_samples_differ(self, first: dict[str, Output], other: dict[str, Output]) -> None:
        """It has no chance in it."""


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("settings", [HOT, replace(HOT, temperature=0.0), replace(HOT, chat_template=True)])
def test_answers_are_those_of_one_process(two: engine.RayEngine, one: Engine, settings: Settings) -> None:
    many = [*asked(300), *prompts()]
    assert by_id(two.generate(many, settings)) == by_id(one.generate(many, settings))
    if not settings.chat_template:
        ours, theirs = (by_id(e.choose(with_choices(), settings)) for e in (two, one))
        for i, output in theirs.items():
            assert ours[i].choice_logprobs == pytest.approx(output.choice_logprobs, abs=1e-4)
    assert len(workers()) == 2


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_thought_has_the_room_that_it_has_in_one_process(tmp_path: Path) -> None:
    """A template that opens a thought, which is longer than an answer may be."""
    from safety_eval.engines import transformers

    said = " It is Paris."
    folder = ponderer(tmp_path / "m", f"{CHATML}<think>", until=200, answer=said, context=256)
    direct = transformers.build(ModelSpec(str(folder), dtype="float32", device="cpu"))
    spread = opened(str(folder), replicas="1")
    try:
        for thinking, expected in ((0, ""), (200, said)):
            settings = Settings("t", max_new_tokens=24, max_thinking_tokens=thinking, chat_template=True)
            spread.check("generate", settings)
            ours, theirs = (by_id(e.generate(asked(12), settings)) for e in (spread, direct))
            assert ours == theirs and {o.text for o in ours.values()} == {expected}
    finally:
        spread.close()
        direct.close()


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_killed_replica_costs_no_answer_and_adds_none(two: engine.RayEngine, one: Engine) -> None:
    """SIGKILL, three times at chance, once of both replicas."""
    many, chance = asked(1500), random.Random(7)
    whole = by_id(one.generate(many, HOT))
    seen: dict[str, Output] = {}
    at = {200: 1, 500: 1, 900: 2}
    for output in two.generate(many, HOT):
        assert output.prompt_id not in seen, "answered twice"
        seen[output.prompt_id] = output
        for process in chance.sample(workers(), at.pop(len(seen), 0)):
            os.kill(process.pid, signal.SIGKILL)
    assert seen == whole and not at


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_number_of_replicas_is_not_in_the_identity_and_the_inner_engine_is(
    two: engine.RayEngine, one: Engine, tiny: Path
) -> None:
    alone = opened(str(tiny), replicas="1")
    assert alone.identity == two.identity and two.identity["name"] == "ray/transformers"
    assert two.identity["weights"] == one.identity["weights"]
    alone.close()
    assert by_id(two.generate(asked(2), HOT)), "another engine on the same cluster has closed"


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_model_that_no_replica_can_open_is_told_as_the_inner_engine_tells_it(
    two: engine.RayEngine, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="no such folder or file"):
        opened(str(tmp_path / "nothing"))


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_replicas_that_opened_another_model_are_refused(two: engine.RayEngine, tmp_path: Path) -> None:
    """The weights change between the death of a replica and the birth of the next."""
    folder = causal_lm(tmp_path / "tiny", "llama", seed=1)
    changing = opened(str(folder), replicas="1")
    list(changing.generate(asked(3), HOT))
    causal_lm(folder, "llama", seed=2)
    (mine,) = [r for r in changing._replicas]
    import ray

    ray.kill(mine.process)
    with pytest.raises(UserError, match="replicas differ: weights"):
        list(changing.generate(asked(3), HOT))
    changing.close()
