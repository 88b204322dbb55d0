"""Engine `ray`: replicas of another engine on a Ray cluster, or as several processes of this machine.

    --model ray/ID --model-args replicas=8
    --model ray/vllm/ID --model-args replicas=4,tensor_parallel_size=2

Arguments: inner=transformers|vllm|openai_server|echo (or `ray/INNER/ID`; default transformers); replicas (default: one
for each card, or for each machine where there are none); cpus and gpus of each replica (default: an equal share of the
processors, and the cards that the inner engine needs); address of a running cluster (default: RAY_ADDRESS, else
processes of this machine alone, on loopback). Every other argument is the inner engine's.

Prompts go out in pieces, two to a replica at a time, and outputs come back one by one to the one writer on the driver.
What a dead replica left unanswered is asked again, in smaller pieces each time; a prompt that three replicas died of,
alone, is an error of its own. How many replicas there are decides no answer, and no identity.

Ray Data's LLM processors are not used: they ask vLLM in their own way, with neither our token split for choices nor our
thoughts and identity, so that the answers would not be those of the inner engine; and they keep rows in blocks, of
which a lost worker's are all computed again. Actors hold the very engine that one process would.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from safety_eval.core import plugins
from safety_eval.core.errors import UserError, nearest
from safety_eval.core.interfaces import EngineEntry, ModelSpec, Settings
from safety_eval.core.records import Output, Prompt, key
from safety_eval.core.requires import Requires
from safety_eval.engines._ray_cluster import ARGS, fitted, join, leave, machines, terms, why
from safety_eval.engines._ray_pieces import AHEAD, Piece, Queue
from safety_eval.engines._ray_worker import Opened, Worker, raise_problem

LOG = logging.getLogger(__name__)

CAPABILITIES = frozenset({"generate", "choose", "prefill", "chat_template"})
_BARREN = 10
"""Deaths for each replica, without one answer between them, after which the run stops."""
_UNOPENED = 3
"""Deaths for each replica while the model is opened."""
_PATIENCE_SECONDS = 60.0
"""After which a wait is spoken of."""


@dataclass(slots=True, eq=False)
class Replica:
    """One process with a model. `opening`: its word on what it opened, None once heard. `pieces`: in their order."""

    process: Any
    opening: Any
    pieces: deque[Piece] = field(default_factory=deque)

    @property
    def talks(self) -> bool:
        """Whether anything is expected of it."""
        return self.opening is not None or bool(self.pieces)


class RayEngine:
    """Replicas of one engine, in processes of their own."""

    def __init__(self, spec: ModelSpec) -> None:
        self._terms = terms(spec)
        self._replicas: list[Replica] = []
        self._barren = self._unopened = 0
        self._told: Opened | None = None
        self._joined = True
        try:
            shared = join(id(self), self._terms.address)
            import ray

            self._count, self._cpus, gpus = fitted(self._terms, machines())
            kept = self._cpus if shared else 0
            self._worker: Any = ray.remote(num_cpus=kept, num_gpus=gpus, max_restarts=0)(Worker)
            self._replicas = [self._started() for _ in range(self._count)]
            while self._told is None:
                if (replica := self._next()) is not None:
                    self._hear_opening(replica)
        except BaseException:
            self.close()
            raise
        inner = self._told.identity
        versions = {**inner.get("versions", {}), "ray": ray.__version__}
        self.identity: Mapping[str, Any] = {**inner, "name": f"ray/{self._terms.inner}", "versions": versions}
        self.capabilities = self._told.capabilities

    def check(self, kind: str, settings: Settings) -> None:
        """Refuse what the inner engine refuses, before the first prompt of any task.

        Raises:
            UserError: the inner engine's own.
        """
        import ray
        from ray.exceptions import RayError, RayTaskError

        for replica in (r for r in self._open() if r.opening is None):
            try:
                problem = ray.get(replica.process.check.remote(kind, settings))
            except RayTaskError:
                raise
            except RayError:
                continue  # it has died, which is seen when it is asked
            raise_problem(problem)
            return

    def generate(self, prompts: Iterable[Prompt], settings: Settings) -> Iterator[Output]:
        """Answers as they finish.

        Raises:
            UserError: the inner engine's own; or no replica lives long enough to answer anything.
        """
        return self._ask("generate", prompts, settings)

    def choose(self, prompts: Iterable[Prompt], settings: Settings) -> Iterator[Output]:
        """Log-likelihood of each choice after the prompt.

        Raises:
            UserError: as `generate`.
        """
        return self._ask("choose", prompts, settings)

    def _ask(self, kind: str, prompts: Iterable[Prompt], settings: Settings) -> Iterator[Output]:
        queue = Queue(prompts, len(self._open()))
        try:
            while self._feed(queue, kind, settings):
                replica = self._next()
                if replica is None:
                    continue
                if replica.opening is not None:
                    self._hear_opening(replica)
                else:
                    yield from self._hear_piece(replica, queue, settings)
        finally:
            for replica in self._replicas:
                replica.pieces.clear()

    def _feed(self, queue: Queue, kind: str, settings: Settings) -> bool:
        """Give every replica what it has room for; whether anything is under way or waits."""
        for most in range(1, AHEAD + 1):  # each has its first piece before any has its second
            for replica in self._open():
                if replica.opening is None and len(replica.pieces) < most and (piece := queue.take()):
                    stream = replica.process.ask.options(num_returns="streaming")
                    piece.stream = stream.remote(kind, list(piece.left.values()), settings)
                    replica.pieces.append(piece)
        return any(replica.pieces for replica in self._replicas) or queue.waits()

    def _next(self) -> Replica | None:
        """A replica that has something to say; None = none had for a while."""
        import ray

        says = {r.opening if r.opening is not None else r.pieces[0].stream: r for r in self._open() if r.talks}
        ready, _ = ray.wait(list(says), num_returns=1, timeout=_PATIENCE_SECONDS, fetch_local=False)
        if ready:
            replica = says[ready[0]]
            self._replicas.sort(key=lambda r: r is replica)  # the others are heard before it is heard again
            return replica
        if all(r.opening is not None for r in self._replicas):
            fitted(self._terms, machines())  # a cluster that has lost its machines has no room any more
            LOG.warning("waiting for a replica: the cluster is full, or the model still loads")
        return None

    def _hear_opening(self, replica: Replica) -> None:
        """What a replica has opened: the same as every other one, or nothing is asked.

        Raises:
            UserError: it cannot open the model, or has opened another one.
        """
        import ray
        from ray.exceptions import RayError, RayTaskError

        try:
            told = ray.get(replica.opening)
        except RayTaskError:
            raise
        except RayError as error:
            self._unopened += 1
            if self._unopened >= _UNOPENED * self._count:
                hint = "Is there enough memory for each? Give cpus=, gpus= or fewer replicas."
                raise UserError(f"replicas die while they open the model: {why(error)}", hint) from error
            self._restart(replica)
            return
        self._unopened, replica.opening = 0, None
        raise_problem(told)
        self._told = self._told or told
        differ = [n for n in sorted(told.identity) if told.identity[n] != self._told.identity.get(n)]
        if differ or told != self._told:
            raise UserError(
                f"replicas differ: {', '.join(differ)}",
                "Give every machine the same model, packages and kind of processor or card.",
            )

    def _hear_piece(self, replica: Replica, queue: Queue, settings: Settings) -> Iterator[Output]:
        """The next output of a replica's first piece; or its end; or the death of the replica."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        piece = replica.pieces[0]
        try:
            output = ray.get(next(piece.stream))
        except StopIteration:
            replica.pieces.popleft()
            yield from (failed(p, settings, "the inner engine gave no output") for p in piece.left.values())
            return
        except RayTaskError:
            raise
        except RayError as error:
            yield from (failed(p, settings, "replicas die of this prompt") for p in self._bury(replica, queue, error))
            return
        raise_problem(output)
        if piece.left.pop(output.prompt_key, None) is None or output.sample != settings.sample:
            raise RuntimeError(f"the engine {self._terms.inner} answers what it was not asked: {output.prompt_id}")
        self._barren = 0
        yield output

    def _bury(self, replica: Replica, queue: Queue, error: Exception) -> list[Prompt]:
        """Put another replica in the place of a dead one and ask again what it had; the prompts that are given up.

        Raises:
            UserError: replicas die and answer nothing.
        """
        running, *waiting = replica.pieces
        lost = sum(len(piece.left) for piece in replica.pieces)
        LOG.warning("a replica has died (%s); %d prompts are asked again", why(error), lost)
        self._barren += 1
        if self._barren >= _BARREN * self._count:
            hint = "Nothing is lost: the same command goes on. Is there enough memory for each replica?"
            raise UserError(f"replicas die before they answer anything: {why(error)}", hint) from error
        for piece in waiting:
            queue.again(piece)
        given_up = queue.suspect(running)
        if given_up:
            self._barren = 0
        self._restart(replica)
        return given_up

    def _restart(self, replica: Replica) -> None:
        import ray

        ray.kill(replica.process)
        replica.pieces.clear()
        new = self._started()
        replica.process, replica.opening = new.process, new.opening

    def _started(self) -> Replica:
        """A process that opens the model."""
        process = self._worker.remote()
        terms = self._terms
        return Replica(process, process.open.remote(terms.inner, terms.spec, self._cpus, str(Path.cwd())))

    def _open(self) -> list[Replica]:
        if not self._joined:
            raise UserError("the engine is closed", "Build it again.")
        return self._replicas

    def close(self) -> None:
        """End the replicas, and the cluster where it was started here. Repeating it does nothing."""
        if not self._joined:
            return
        self._joined = False
        leave(id(self), [replica.process for replica in self._replicas])
        self._replicas = []


def failed(prompt: Prompt, settings: Settings, error: str) -> Output:
    """An Output that says why there is no answer."""
    return Output(key(prompt), prompt.id, settings.sample, stop_reason="error", error=error)


def build(spec: ModelSpec) -> RayEngine:
    """Open the model of `spec` in every replica; gives back when the first is ready.

    Raises:
        UserError: no cluster, no room in it, or what the inner engine raises.
    """
    return RayEngine(spec)


def requires(spec: ModelSpec) -> Requires:
    """Ray, and what the inner engine needs (on every machine; looked at on this one).

    Raises:
        UserError: an argument that neither engine has.
    """
    asked = terms(spec)
    try:
        needs = plugins.find("engines", asked.inner).requires(asked.spec)
    except UserError as error:
        for name in asked.spec.args:
            if f"'{name}'" in error.message and get_close_matches(name, ARGS, n=1, cutoff=0.7):
                raise UserError(f"the ray engine has no model argument '{name}'", nearest(name, ARGS)) from error
        raise
    return replace(needs, packages=("ray", *needs.packages))


ENGINE = EngineEntry(build, CAPABILITIES, requires=requires)
