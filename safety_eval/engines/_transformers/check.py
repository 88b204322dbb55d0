"""Check at load: does the fast path give the plain path's numbers?"""

from __future__ import annotations

import torch

from safety_eval.core.records import Prompt
from safety_eval.engines._transformers import plain
from safety_eval.engines._transformers.attention import Unsupported
from safety_eval.engines._transformers.flat import can_run_flat
from safety_eval.engines._transformers.likelihood import weigh_all
from safety_eval.engines._transformers.load import Loaded
from safety_eval.engines._transformers.work import Asked
from safety_eval.torch_runtime.batches import Limit

_TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.1, torch.bfloat16: 0.5}
"""Mean difference of the probe's log-likelihoods (two or three tokens each) that rounding explains. A wrong mask or
position moves them by whole units."""

def why_plain(loaded: Loaded) -> str:
    """Why this model must take the plain path; '' = the fast path gave the same log-likelihoods on a probe."""
    reason = can_run_flat(loaded.model)
    if reason:
        return reason
    probe = _probe(loaded)
    try:
        fast = weigh_all(loaded, probe, budget=64)
    except Unsupported as error:
        return f"it asks its attention for {error}"
    except (TypeError, ValueError, IndexError, RuntimeError, AttributeError) as error:
        return f"it does not run flat ({type(error).__name__}: {error})"
    slow = [v or [] for v in plain.choose(loaded, probe, Limit(loaded.device, 4))]
    gaps = [abs(a - b) for f, s in zip(fast, slow, strict=True) for a, b in zip(f, s, strict=True)]
    gap = max(gaps) if loaded.model.dtype == torch.float32 else sum(gaps) / len(gaps)
    allowed = _TOLERANCE.get(loaded.model.dtype, 1e-3)
    return "" if gap <= allowed else f"the fast path differs by {gap:.2g} on the probe"


def _probe(loaded: Loaded) -> list[Asked]:
    """Prompts of random tokens: a shared prefix, contexts of several lengths, choices that branch late and early."""
    size = int(loaded.model.get_input_embeddings().weight.shape[0])
    generator = torch.Generator().manual_seed(1)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(
            torch.randint(0, min(size, len(loaded.tokenizer)), (count,), generator=generator).tolist()
        )

    prefix = tokens(9)
    asked = []
    for own in (1, 4, 7):
        context = prefix + tokens(own)
        first, second = tokens(3), tokens(2)
        choices = (context + first, context + second, context + first[:1] + second)
        asked.append(Asked(Prompt("probe", str(own)), tuple((ids, len(context)) for ids in choices)))
    return asked
