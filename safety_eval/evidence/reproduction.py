"""Some of a bundle's prompts asked again: does its model give these answers?

Which prompts is decided by the bundle's own digest, and by a number of the evaluator's that the maker of the bundle did
not know.
"""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from safety_eval.core.errors import UserError
from safety_eval.core.records import Output
from safety_eval.evidence import bundles, verification
from safety_eval.evidence.hashes import sha256
from safety_eval.runs import run_file
from safety_eval.runs.asked_again import Pair, Place, answered, ask_again
from safety_eval.runs.run_file import RunFile
from safety_eval.show.words import printable

CLOSE = 1e-3
"""Log-likelihoods of a choice that differ by less are equal."""
_NOT_COMPARED = frozenset({"model", "weights", "versions"})


@dataclass(frozen=True, slots=True)
class Draw:
    """What to ask again: how many answers, by which number of the evaluator's, and where the model is and runs ('' = as
    the run says). `trusted`: run code and open variables that the run names."""

    sample: int
    seed: int = 0
    model: str = ""
    device: str = ""
    trusted: bool = False


@dataclass(frozen=True, slots=True)
class Reproduction:
    """Answers asked again.

    Attributes:
        pairs: old and new. total: answers that the bundle holds. seed: of the evaluator.
        other: what is otherwise here than where the run was made, in words; () = every answer should be equal.
    """

    pairs: tuple[Pair, ...]
    total: int
    seed: int
    other: tuple[str, ...]

    @property
    def unequal(self) -> tuple[Pair, ...]:
        """The pairs whose answers differ."""
        return tuple(pair for pair in self.pairs if not same(pair.before, pair.now))

    @property
    def exit_code(self) -> int:
        """0 when every answer is equal, else 4."""
        return 4 if self.unequal else 0

    @property
    def lines(self) -> list[str]:
        """The reproduction in words. No prompt and no answer is shown."""
        many, wrong = len(self.pairs), self.unequal
        told = [
            f"asked again: {many} of {self.total:,} answers, drawn by the bundle's digest and the seed {self.seed}",
            f"equal: {many - len(wrong)} of {many}",
        ]
        if self.other:
            told.append("expected: equal but for rounding, since this machine is another: " + "; ".join(self.other))
        else:
            told.append(f"expected: all {many} equal: the same engine, precision, device and versions")
        for pair in wrong:
            why = "no answer now" if pair.now.error else "another answer"
            place = pair.place
            told.append(f"differs: {place.task}, prompt {place.prompt_id}, sample {place.sample}: {why}")
        if wrong and self.other:
            told.append("cannot decide: ask again on a machine like that of the run")
        elif wrong:
            told.append("not reproduced: the bundle holds answers that its model does not give")
        return [printable(line) for line in told]


def reproduce(path: Path, asked: Draw, keys: Sequence[Path] = ()) -> Reproduction:
    """Verify a bundle, draw some of its answers and ask for them again.

    Raises:
        UserError: a redacted copy, nothing to ask, or the model cannot be loaded here. EvidenceError: the bundle does
            not verify, or this is another model.
    """
    folder = bundles.find(path)
    if (folder / bundles.REDACTION).exists():
        raise UserError(f"{folder} is a redacted copy: it holds no prompts to ask", "Ask for the full bundle.")
    verification.verify(path, keys, own_tasks=asked.trusted)
    run = folder / "run"
    places = list(answered(run))
    if not places:
        raise UserError(f"{folder} holds no answers", "Ask for the evidence of a run that was finished.")
    chosen = draw(places, asked.sample, sha256((folder / bundles.MANIFEST).read_bytes()), asked.seed)
    again = ask_again(run, chosen, asked.model, asked.device, asked.trusted)
    return Reproduction(again.pairs, len(places), asked.seed, tuple(_other(run_file.read(run), again.engine)))


def draw(places: Sequence[Place], many: int, digest: str, seed: int) -> list[Place]:
    """So many of the places, in an order that only the bundle's digest and the seed decide."""

    def rank(place: Place) -> bytes:
        parts = (digest, str(seed), place.task, place.prompt_id, str(place.sample))
        return hashlib.sha256("".join(f"{len(p)}:{p}" for p in parts).encode("utf-8", "surrogatepass")).digest()

    return sorted(places, key=rank)[:many]


def same(before: Output, now: Output) -> bool:
    """Whether two answers are equal: the same words and end, or the same log-likelihoods."""
    if now.error:
        return False
    if before.choice_logprobs or now.choice_logprobs:
        both = list(zip(before.choice_logprobs, now.choice_logprobs, strict=False))
        whole = len(before.choice_logprobs) == len(now.choice_logprobs)
        return whole and all(abs(a - b) < CLOSE for a, b in both)
    return (before.text, before.reasoning, before.stop_reason) == (now.text, now.reasoning, now.stop_reason)


def _other(file: RunFile, engine: Mapping[str, Any]) -> Iterator[str]:
    """What may change the last bits of a forward pass and is not as it was."""
    for name in sorted({*file.engine, *engine} - _NOT_COMPARED):
        if file.engine.get(name) != engine.get(name):
            yield f"{name} {engine.get(name)!r}, was {file.engine.get(name)!r}"
    here = {"processor": platform.machine(), "python": sys.version.split()[0]}
    for name, now in here.items():
        if file.machine.get(name) != now:
            yield f"{name} {now}, was {file.machine.get(name, 'not known')}"
    for name, was in sorted(file.versions.items()):
        if name in ("torch", "transformers", "numpy") and (now := _installed(name)) != was:
            yield f"{name} {now or 'missing'}, was {was}"


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
