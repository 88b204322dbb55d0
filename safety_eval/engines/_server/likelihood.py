"""Log-likelihoods of choices from a server: token ids in, the log-probabilities of the prompt's own tokens back.

Some servers take `echo` and `logprobs` and answer without them, or with zeros: every reply is checked to hold one
number for each token, none for the first, and not all of them zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from safety_eval.core.errors import UserError
from safety_eval.core.interfaces import Settings
from safety_eval.core.records import Output, Prompt, key
from safety_eval.engines._server.asking import TEXT, Read, StrangeReplyError, lost, read
from safety_eval.engines._server.dialect import DIALECTS
from safety_eval.engines._server.handshake import PROBE, Handshake
from safety_eval.engines._server.wire import LostError, RefusedError

Post = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
_FEW = 8


class Weigher:
    """Choices of prompts, weighed by one server.

    Attributes:
        tokenizer: digest of the tokenizer's files, '' without one.
    """

    def __init__(self, post: Post, tokenizer: str, seen: Handshake) -> None:
        """`post`: a body to a path of the server. `tokenizer`: folder or Hub id, '' = none."""
        self._post, self._seen = post, seen
        self._dialect = DIALECTS[seen.dialect]
        self._echo = self._dialect.echo or {}
        self._tokens: Any = None
        self.tokenizer = ""
        self._checked = False
        if tokenizer:
            from safety_eval.torch_runtime.loading import load_tokenizer
            from safety_eval.torch_runtime.weights import find

            weights = find(tokenizer, tokenizer_only=True)
            self._tokens, self.tokenizer = load_tokenizer(weights), weights.settings_digest

    def check(self) -> None:
        """Ask for the log-probabilities of a known text, once, and whether its tokens are the server's.

        Raises:
            UserError: there is no tokenizer, it is another model's, or the server ignores the question.
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
        ids = self._tokens(PROBE)["input_ids"]
        try:
            self._of_tokens(ids)
            as_text, as_tokens = (self._greedy(asked) for asked in (PROBE, ids))
        except (RefusedError, LostError, StrangeReplyError) as error:
            raise UserError(
                f"this server ignores or refuses log-probabilities of a prompt's tokens: {error}",
                "Use vLLM's server, or leave out the tasks that choose.",
            ) from error
        same = as_text.text == as_tokens.text or not self._seen.repeats
        if not same or as_text.prompt_tokens not in (0, len(ids)):
            raise UserError(
                "the tokenizer is not that of the server's model: a text and its tokens are read in two ways",
                "Give --model-args tokenizer= the model's own folder.",
            )
        self._checked = True

    def _greedy(self, asked: str | list[int]) -> Read:
        told = self._dialect.parameters(Settings("tokens", max_new_tokens=_FEW), _FEW, 0)
        return read(self._post(TEXT, {"prompt": asked, **told}), chat=False)

    def weigh(self, prompt: Prompt, settings: Settings) -> Output:
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
        sums = [math.fsum(self._of_tokens(ids)[start:]) for ids, start in ready.choices]
        return Output(
            prompt_key=key(prompt),
            prompt_id=prompt.id,
            sample=settings.sample,
            choice_logprobs=tuple(sums),
            stop_reason="choice",
            prompt_tokens=min(start for _, start in ready.choices),
            output_tokens=sum(len(ids) - start for ids, start in ready.choices),
        )

    def _of_tokens(self, ids: Sequence[int]) -> list[float]:
        """The log-probability of each token but the first (0.0 in its place)."""
        return _checked(self._post(TEXT, {"prompt": list(ids), "temperature": 0.0, **self._echo}), len(ids))


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
