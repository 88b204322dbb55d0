"""The cluster: what the arguments ask of it, whether that fits, and joining and leaving it."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from safety_eval.core import plugins
from safety_eval.core.errors import UserError, nearest
from safety_eval.core.interfaces import ModelSpec

ARGS = frozenset({"inner", "replicas", "cpus", "gpus", "address"})
"""Names that --model-args may give the engine ray; the others are the inner engine's."""
_STARTS = 10
"""Tries to start a cluster here: Ray gives its own processes 15 seconds, which no setting changes, and a busy machine
needs longer at first."""
_STORE_BYTES = 80 * 2**20
"""Shared memory of a cluster that is started here: prompts and outputs are small."""
_OURS: dict[int, str] = {}
"""Engines on the cluster that was started or joined here -> its folder; the last one that closes leaves it."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The arguments, read.

    Attributes:
        inner: the engine of each replica. spec: what it is built from.
        replicas, cpus: 0 = as the cluster has room. gpus: of each replica, -1 = as the inner engine needs.
        address: of a running cluster, '' = none.
    """

    inner: str
    spec: ModelSpec
    replicas: int
    cpus: int
    gpus: int
    address: str


def why(error: Exception) -> str:
    """The line of Ray's page of words that says why."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return next((line for line in lines if "is dead because" in line), lines[0])[:200]


def terms(spec: ModelSpec) -> Terms:
    """What the arguments say, the inner engine's left to it.

    Raises:
        UserError: an argument or value that neither engine knows.
    """
    inner = spec.args.get("inner", "transformers")
    able = [name for name in plugins.names("engines") if name != "ray"]
    if inner not in able:
        raise UserError(f"inner is '{inner}'", nearest(inner, able))
    address = spec.args.get("address", os.environ.get("RAY_ADDRESS", ""))
    if address.startswith("ray://"):
        raise UserError(f"address is '{address}'", "Run this command on a machine of the cluster: address=auto.")
    rest = {name: value for name, value in spec.args.items() if name not in ARGS}
    return Terms(
        inner,
        replace(spec, args=rest),
        _whole(spec.args, "replicas", 0, 1),
        _whole(spec.args, "cpus", 0, 1),
        _whole(spec.args, "gpus", -1, 0),
        "" if address == "local" else address,
    )


def _whole(args: Mapping[str, str], name: str, default: int, least: int) -> int:
    text = args.get(name, "")
    if not text and name not in args:
        return default
    if not text.isdecimal() or int(text) < least:
        raise UserError(f"{name} is '{text}'", f"Use a whole number of at least {least}.")
    return int(text)


def fitted(terms: Terms, machines: list[tuple[int, int]]) -> tuple[int, int, int]:
    """(replicas, cpus of each, gpus of each) on machines of (processors, cards).

    Raises:
        UserError: they do not fit.
    """
    processors, cards = (sum(column) for column in zip(*machines, strict=True)) if machines else (0, 0)
    gpus = terms.gpus if terms.gpus >= 0 else _cards(terms) if cards else 0
    replicas = terms.replicas or (sum(g // gpus for _, g in machines) if gpus else len(machines))

    def room(cpus: int) -> int:
        return sum(min(c // cpus, g // gpus if gpus else c) for c, g in machines)

    shares = range(processors // max(replicas, 1), 0, -1)
    cpus = terms.cpus or next((share for share in shares if room(share) >= replicas), 1)
    if not 0 < replicas <= room(cpus):
        raise UserError(
            f"{max(replicas, 1)} replicas of {cpus} processors and {gpus} cards do not fit into "
            f"{processors} processors and {cards} cards on {len(machines)} machines",
            "Give fewer replicas=, or fewer cpus= or gpus= of each.",
        )
    return replicas, cpus, gpus


def _cards(terms: Terms) -> int:
    """Cards that the inner engine needs where there are any."""
    if terms.inner not in ("transformers", "vllm") or terms.spec.device == "cpu":
        return 0
    spread = ("tensor_parallel_size", "pipeline_parallel_size")
    return math.prod(_whole(terms.spec.args, name, 1, 1) for name in spread)


def machines() -> list[tuple[int, int]]:
    """(processors, cards) of every machine of the cluster."""
    import ray

    have = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [(int(each.get("CPU", 0)), int(each.get("GPU", 0))) for each in have]


def join(engine: int, address: str) -> bool:
    """Join a cluster, or start one here; one that the caller has joined already is used as it is. Whether it is shared:
    on one of our own a model and its judge lie side by side, whatever the number of processors.

    Raises:
        UserError: there is none at the address, or none starts.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray tells of a dead worker on standard output, in colours; the engine tells it as a warning.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "A worker died or was killed")
    if not address:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # Ray's name for: listen on loopback alone
    import ray

    if ray.is_initialized():
        if _OURS:
            _OURS[engine] = next(iter(_OURS.values()))
    elif address:
        try:
            ray.init(address=address, log_to_driver=False, configure_logging=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            hint = "Start one (`ray start`), or leave address= out."
            raise UserError(f"no Ray cluster at {address}: {why(error)}", hint) from error
        _OURS[engine] = ""
    else:
        _OURS[engine] = _start()
    return not _OURS.get(engine)


def _start() -> str:
    """Start a cluster on this machine; its folder.

    Raises:
        UserError: it does not start.
    """
    import ray

    folder = tempfile.mkdtemp(prefix="ray-")
    for tries in range(_STARTS, 0, -1):
        try:
            ray.init(
                address="local",
                include_dashboard=False,
                object_store_memory=_STORE_BYTES,
                log_to_driver=False,
                configure_logging=False,
                _temp_dir=folder,
            )
            break
        except Exception as error:  # Ray raises nothing narrower
            ray.shutdown()
            end_processes(folder)
            if tries == 1 or "timed out" not in str(error):
                shutil.rmtree(folder, ignore_errors=True)
                hint = "Set TMPDIR to a folder with a short path, and see that the machine is not too busy."
                raise UserError(f"Ray does not start here: {why(error)}", hint) from error
    return folder


def end_processes(folder: str) -> None:
    """Kill what a start that failed left behind, which Ray ends only with this process: until then it is in the way of
    the next try."""
    import psutil

    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if any(folder in argument for argument in child.cmdline()):
                child.kill()


def leave(engine: int, processes: list[Any]) -> None:
    """End processes; the last engine on a cluster that was joined here leaves it."""
    import ray

    if ray.is_initialized():
        for process in processes:
            ray.kill(process)
    folder = _OURS.pop(engine, None)
    if folder is not None and not _OURS:
        ray.shutdown()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
