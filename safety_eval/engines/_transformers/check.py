"""Check at load: which way through the model gives the numbers of one sequence at a time?

The reference is the model on one sequence alone, without cache, padding or mask. Beside it stand log-likelihoods and
greedy answers of prompts of unequal lengths, with a shared prefix and slots that are refilled, by each way. The
fastest one that agrees in everything is taken; a model that agrees in none is refused. What was found is remembered
by the model's digest, so that a second start asks nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from safety_eval.core.errors import UserError
from safety_eval.core.fetch import cache_folder
from safety_eval.core.interfaces import Settings
from safety_eval.core.records import Prompt
from safety_eval.engines._transformers import plain
from safety_eval.engines._transformers.answer import Reader
from safety_eval.engines._transformers.attention import Unsupported
from safety_eval.engines._transformers.flat import can_run_flat, read_prefix
from safety_eval.engines._transformers.generation import Loop
from safety_eval.engines._transformers.likelihood import weigh_all
from safety_eval.engines._transformers.load import Loaded
from safety_eval.engines._transformers.tree import shared_prefix
from safety_eval.engines._transformers.work import Asked, Work
from safety_eval.torch_runtime.batches import Limit
from safety_eval.torch_runtime.devices import out_of_memory
from safety_eval.torch_runtime.loading import first_line
from safety_eval.torch_runtime.onednn import matmul

_TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.1, torch.bfloat16: 0.5}
"""Difference of the probe's log-likelihoods (two or three tokens each) that rounding explains: the largest in float32,
the mean in half precision. A wrong mask or position moves them by whole units."""

FLAT, PLAIN, ALONE = "flat", "plain", "one by one"
_SHORT, _WORK, _CELLS = 192, 2e10, 3e7
"""A window of the model is outgrown by the probe up to so many tokens; beyond that while tokens x parameters (some ten
passes: seconds on one core) and tokens x vocabulary (logits that are kept) stay small."""
NEW = 5
"""Tokens of each of the probe's answers."""
Said = tuple[dict[str, list[float]], dict[str, list[int]]]
"""What a way says of the probe: log-likelihoods of choices and tokens of answers, by prompt id."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a model is run.

    Attributes:
        kind: flat, plain or one by one. reason: why not a faster way, '' for the fastest.
        unprobed: the window in tokens that the check did not outgrow (beyond.py does when a prompt does), 0 = none.
    """

    kind: str
    reason: str = ""
    unprobed: int = 0

    def __str__(self) -> str:
        told = f"{self.kind} ({self.reason})" if self.reason else self.kind
        if not self.unprobed:
            return told
        return f"{told}; beyond its window of {self.unprobed:,} tokens alone, and probed when a prompt gets there"


def choose_way(loaded: Loaded, mode: str, asked: str = "auto") -> Way:
    """The fastest way that gives the numbers of one sequence at a time.

    Args:
        mode: of float32 products. asked: 'auto', or 'plain' to leave the fast way out.

    Raises:
        UserError: the model looks at later tokens, gives no finite number, cannot be run, or no way agrees.
    """
    note = _note(loaded, mode, asked)
    known = _remembered(note)
    if known is not None:
        return known
    try:
        with matmul(mode):
            way = _Probe(loaded).way(asked)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise UserError(
            f"{loaded.name} leaves no memory to run it", "Choose a smaller precision (--dtype bfloat16) or more memory."
        ) from error
    _remember(note, way)
    return way


class _Probe:
    """Prompts of random tokens, what the model alone says of them, and what each way says."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._generator = torch.Generator().manual_seed(1)
        self.asked = self._choices()
        self.works = self._works()
        self._known: dict[tuple[int, ...], Tensor] = {}

    def way(self, asked: str) -> Way:
        refusal = self._reference_fails()
        if refusal:
            raise UserError(f"{self._loaded.name} cannot be measured: {refusal}", "Give a causal language model.")
        unprobed = self._unprobed()
        reason = "asked for" if asked == "plain" else can_run_flat(self._loaded.model) or self._why_not(self._flat)
        if not reason:
            return Way(FLAT, unprobed=unprobed)
        second = self._why_not(self._plain)
        if not second:
            return Way(PLAIN, reason, unprobed)
        third = self._why_not(self._alone)
        if not third:
            return Way(ALONE, second, unprobed)
        raise UserError(
            f"{self._loaded.name} cannot be measured: {third}",
            "This version of transformers does not run it rightly; try another one, or another model.",
        )

    def _tokens(self, count: int) -> tuple[int, ...]:
        return some_tokens(self._loaded, count, self._generator)

    def _lengths(self) -> tuple[int, ...]:
        """Own tokens of the prompts: unequal, and where that costs little one whose answer crosses the model's window
        and one beyond it."""
        room = (self._loaded.context or 1 << 30) - 9 - NEW - 3
        reach = self._loaded.reach
        last = (reach - 9 - NEW // 2, reach + 4) if self._outgrows() else (7,)
        return tuple(max(1, min(n, room)) for n in (1, 4, *last))

    def _unprobed(self) -> int:
        """The window that prompts of this model can outgrow and this check did not."""
        reach, context = self._loaded.reach, self._loaded.context or 1 << 40
        return reach if reach < context and not self._outgrows() else 0

    def _outgrows(self) -> bool:
        reach, size = self._loaded.reach, sum(p.numel() for p in self._loaded.model.parameters())
        return reach <= _SHORT or (reach * size <= _WORK and reach * self._loaded.rows <= _CELLS)

    def _choices(self) -> list[Asked]:
        """A shared prefix, contexts of several lengths, choices that branch late and early."""
        prefix = self._tokens(9)
        prompts: list[Asked] = []
        for own in self._lengths():
            context = prefix + self._tokens(own)
            first, second = self._tokens(3), self._tokens(2)
            choices = (context + first, context + second, context + first[:1] + second)
            prompts.append(Asked(Prompt("probe", str(len(prompts))), tuple((ids, len(context)) for ids in choices)))
        return prompts

    def _works(self) -> list[Work]:
        contexts = [a.choices[0][0][: a.choices[0][1]] for a in self.asked]
        return [Work(a.prompt, ids, NEW, 0, "") for a, ids in zip(self.asked, contexts, strict=True)]

    def _alone_says(self, ids: tuple[int, ...]) -> Tensor:
        """Log-probabilities (tokens, vocabulary) of a sequence by itself."""
        if ids not in self._known:
            tokens = torch.tensor([ids], device=self._loaded.device)
            with torch.inference_mode():
                logits = self._loaded.model(
                    input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False
                ).logits
            self._known[ids] = torch.as_tensor(logits)[0].float().log_softmax(-1).cpu()
        return self._known[ids]

    def _reference_fails(self) -> str:
        whole = self.asked[-1].choices[0][0]
        try:
            long, short = self._alone_says(whole), self._alone_says(whole[:6])
        except Exception as error:
            if out_of_memory(error):
                raise
            return f"its forward pass fails ({type(error).__name__}: {first_line(error)})"
        if not torch.isfinite(long.amax(dim=-1)).any():
            return "none of its numbers is finite (NaN or infinite logits)"
        gaps = (long[:6] - short).nan_to_num(0.0, 0.0, 0.0).abs()
        gap = float(gaps.max() if self._loaded.model.dtype == torch.float32 else gaps.mean())
        if gap > self._allowed():
            return f"what it says of a token depends on later tokens (by {gap:.2g}): it is not causal"
        return ""

    def _allowed(self) -> float:
        return allowed(self._loaded)

    def _why_not(self, run: Callable[[], Said]) -> str:
        """Why a way does not serve; '' = its numbers are those of the model alone."""
        try:
            weighed, answers = run()
        except Unsupported as error:
            return f"its attention wants {error}"
        except Exception as error:
            if out_of_memory(error):
                raise
            return f"it does not run this way ({type(error).__name__}: {first_line(error)})"
        return self._differs(weighed) or self._answers_differ(answers)

    def _differs(self, weighed: Mapping[str, Sequence[float]]) -> str:
        gaps = []
        for asked in self.asked:
            for (ids, known), value in zip(asked.choices, weighed[asked.prompt.id], strict=True):
                logprobs = self._alone_says(ids)
                expected = sum(float(logprobs[i - 1, ids[i]]) for i in range(known, len(ids)))
                gaps.append(abs(value - expected))
        gap = max(gaps) if self._loaded.model.dtype == torch.float32 else sum(gaps) / len(gaps)
        return "" if gap <= self._allowed() else f"log-likelihoods differ by {gap:.2g} from those of a sequence alone"

    def _answers_differ(self, answers: Mapping[str, Sequence[int]]) -> str:
        """Every token of a greedy answer must be the likeliest behind what stands before it, up to rounding."""
        for work in self.works:
            ids = answers[work.prompt.id]
            logprobs = self._alone_says((*work.ids, *ids))[len(work.ids) - 1 : -1]
            chosen = logprobs.gather(1, torch.tensor(ids)[:, None])[:, 0]
            gap = float((logprobs.amax(dim=-1) - chosen).max())
            if not gap <= self._allowed():
                return f"answers differ from those of a sequence alone (by {gap:.2g})"
        return ""

    def _flat(self) -> Said:
        """As FlatPath does: what outgrows the model's window or mixes with others goes the plain way."""
        loaded, reach = self._loaded, self._loaded.reach
        near = [a for a in self.asked if a.longest <= reach]
        works = sorted((w for w in self.works if len(w.ids) + w.most <= reach), key=lambda w: -len(w.ids))
        if not near or not works:
            raise Unsupported(f"a window of {reach} tokens, shorter than any prompt")
        weighed = dict(zip((a.prompt.id for a in near), weigh_all(loaded, near, budget=64), strict=True))
        prefix = shared_prefix((w.ids for w in works), min(len(w.ids) for w in works) - 1)
        kept = read_prefix(loaded.model, prefix, loaded.device)
        loop = Loop(loaded, greedy(), Reader(loaded.tokenizer), kept, len(prefix))
        # One slot fewer than prompts: one is refilled.
        slots = max(1, len(works) - 1)
        answers = {work.prompt.id: ids for work, ids, _ in loop.run(works, slots, Limit(loaded.device, tokens=64))}
        slow = self._padded(len(self.works))
        return slow[0] | weighed, slow[1] | answers

    def _plain(self) -> Said:
        return self._padded(len(self.works))

    def _alone(self) -> Said:
        return self._padded(1)

    def _padded(self, rows: int) -> Said:
        loaded, mixing = self._loaded, self._loaded.mixing or 1 << 40
        weighed: dict[str, list[float]] = {}
        answers: dict[str, list[int]] = {}
        for asked in [[a for a in self.asked if a.longest <= mixing], *([a] for a in self.asked if a.longest > mixing)]:
            for one, row in zip(asked, plain.choose(loaded, asked, Limit(loaded.device, rows)), strict=True):
                if row is None:
                    raise MemoryError("out of memory")
                weighed[one.prompt.id] = row
        fit = [w for w in self.works if len(w.ids) + w.most <= mixing]
        parts = [fit[i : i + rows] for i in range(0, len(fit), rows)]
        for part in [*parts, *([w] for w in self.works if w not in fit)]:
            done = plain.generate(loaded, part, greedy(), Reader(loaded.tokenizer))
            answers |= {work.prompt.id: ids for work, (ids, _) in zip(part, done, strict=True)}
        return weighed, answers


def allowed(loaded: Loaded) -> float:
    """Difference that rounding explains in the model's precision."""
    return _TOLERANCE.get(loaded.model.dtype, 1e-3)


def some_tokens(loaded: Loaded, count: int, generator: torch.Generator) -> tuple[int, ...]:
    """Random tokens of the model's vocabulary, without its special ones."""
    most = min(loaded.rows, max(len(loaded.tokenizer), 2))
    ids = torch.randint(0, most, (count * 4 + 16,), generator=generator).tolist()
    special = {*loaded.eos, loaded.pad, *loaded.tokenizer.all_special_ids}
    return tuple(i for i in ids if i not in special)[:count] or tuple(ids[:count])


def greedy() -> Settings:
    """How the check asks for answers."""
    return replace(Settings("probe"), max_new_tokens=NEW)


def _note(loaded: Loaded, mode: str, asked: str) -> Path:
    """Where the result for this model, machine and code is remembered."""
    code = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        code.update(path.read_bytes())
    known = [loaded.identity, str(loaded.model.config), mode, asked, code.hexdigest()]
    what = json.dumps(known, default=str, sort_keys=True)
    return cache_folder() / "probes" / f"{hashlib.sha256(what.encode()).hexdigest()[:32]}.json"


def _remembered(note: Path) -> Way | None:
    try:
        saved: Any = json.loads(note.read_text())
        known = Way(str(saved["kind"]), str(saved["reason"]), int(saved["unprobed"]))
        return known if known.kind in (FLAT, PLAIN, ALONE) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(note: Path, way: Way) -> None:
    # A cache that cannot be written costs time, never the run.
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        draft = note.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(json.dumps(asdict(way)))
        draft.replace(note)
    except OSError:
        return
