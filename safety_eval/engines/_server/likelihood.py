"""Log-likelihoods of choices from a server: token ids in, the log-probabilities of the prompt's own tokens back.

Some servers take `echo` and `logprobs` and answer without them, or with zeros: every reply is checked to hold one
number for each token, none for the first, and not all of them zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from safety_eval.core.errors import UserError
from safety_eval.core.interfaces import ModelSpec, Settings
from safety_eval.core.records import Output, Prompt, key
from safety_eval.engines._server.asking import TEXT, StrangeReplyError, lost
from safety_eval.engines._server.dialect import DIALECTS
from safety_eval.engines._server.handshake import PROBE, Handshake
from safety_eval.engines._server.wire import LostError, RefusedError, Wire


class Weigher:
    """Choices of prompts, weighed by one server.

    Attributes:
        tokenizer: digest of the tokenizer's files, '' without one.
    """

    def __init__(self, wire: Wire, spec: ModelSpec, tokenizer: str, seen: Handshake) -> None:
        self._wire, self._seen = wire, seen
        self._echo = DIALECTS[seen.dialect].echo or {}
        self._tokens: Any = None
        self.tokenizer = ""
        self._checked = False
        if tokenizer:
            from safety_eval.torch_runtime.loading import load_tokenizer
            from safety_eval.torch_runtime.weights import find

            weights = find(tokenizer, tokenizer_only=True)
            self._tokens, self.tokenizer = load_tokenizer(weights), weights.settings_digest

    def check(self, seconds: float) -> None:
        """Ask for the log-probabilities of a known text, once.

        Raises:
            UserError: there is no tokenizer, or the server ignores the question.
        """
        if self._checked:
            return
        if self._tokens is None:
            raise UserError(
                "log-likelihoods of choices need the model's own tokenizer",
                "Add --model-args tokenizer=FOLDER (or a Hub id), or leave out the tasks that choose.",
            )
        if not self._echo:
            raise UserError(
                f"this server (dialect {self._seen.dialect}) has no log-probabilities of a prompt's tokens",
                "Use vLLM's server, or leave out the tasks that choose.",
            )
        try:
            self._of_tokens(self._tokens(PROBE)["input_ids"], seconds)
        except (RefusedError, LostError, StrangeReplyError) as error:
            raise UserError(
                f"this server ignores or refuses log-probabilities of a prompt's tokens: {error}",
                "Use vLLM's server, or leave out the tasks that choose.",
            ) from error
        self._checked = True

    def weigh(self, prompt: Prompt, settings: Settings, seconds: float) -> Output:
        """The Output of a prompt's choices.

        Raises:
            RefusedError, LostError, StrangeReplyError: no log-likelihoods came.
        """
        from safety_eval.engines._transformers.work import Asking, prepare_choices

        if settings.chat_template:
            return lost(prompt, settings, "choices are weighed without a chat template")
        (ready,) = prepare_choices(Asking(self._tokens, self._seen.context), [prompt], settings)
        if isinstance(ready, Output):
            return ready
        sums = [math.fsum(self._of_tokens(ids, seconds)[start:]) for ids, start in ready.choices]
        return Output(
            prompt_key=key(prompt),
            prompt_id=prompt.id,
            sample=settings.sample,
            choice_logprobs=tuple(sums),
            stop_reason="choice",
            prompt_tokens=min(start for _, start in ready.choices),
            output_tokens=sum(len(ids) - start for ids, start in ready.choices),
        )

    def _of_tokens(self, ids: Sequence[int], seconds: float) -> list[float]:
        """The log-probability of each token but the first (0.0 in its place)."""
        body = {"model": self._seen.model, "prompt": list(ids), "temperature": 0.0, **self._echo}
        return _checked(self._wire.post(TEXT, body, seconds).body, len(ids))


def _checked(body: Mapping[str, Any], expected: int) -> list[float]:
    try:
        found = body["choices"][0]["logprobs"]["token_logprobs"]
    except (KeyError, IndexError, TypeError) as error:
        raise StrangeReplyError("the reply holds no log-probabilities") from error
    if not isinstance(found, list) or len(found) < expected:
        count = len(found) if isinstance(found, list) else "no"
        raise StrangeReplyError(f"{count} log-probabilities came for {expected} tokens")
    first, rest = found[0], found[1:expected]
    if first is not None:
        raise StrangeReplyError("the first token has a log-probability: these are not the prompt's own")
    if not all(isinstance(p, int | float) and math.isfinite(p) and p <= 1e-6 for p in rest):
        raise StrangeReplyError("a log-probability is no number, or above 0")
    if rest and not any(p < 0 for p in rest):
        raise StrangeReplyError("every log-probability is 0")
    return [0.0, *map(float, rest)]
