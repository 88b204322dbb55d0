"""A prompt -> the request, and the reply -> an Output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from safety_eval.core import sampling
from safety_eval.core.interfaces import Settings
from safety_eval.core.records import Output, Prompt, Reason, key
from safety_eval.core.thoughts import Text, family_of, parted
from safety_eval.core.turns import cut_at, plain_text, turns
from safety_eval.engines._server.dialect import Dialect

TEXT, CHAT = "/completions", "/chat/completions"
_THOUGHTS = ("reasoning", "reasoning_content")
"""What servers call the channel of thoughts."""


class StrangeReplyError(Exception):
    """A reply that has the status of success and not its form."""


@dataclass(frozen=True, slots=True)
class Read:
    """A reply's answer.

    Attributes:
        text, reasoning: as they came. ended: 'stop', 'length', 'content_filter' or whatever the server said.
        stopped_by: the stop string that ended it, where the server tells.
        prompt_tokens, output_tokens: as the server counted, 0 where it does not.
    """

    text: str
    reasoning: str
    ended: str
    stopped_by: str = ""
    prompt_tokens: int = 0
    output_tokens: int = 0


def read(body: Mapping[str, Any], chat: bool) -> Read:
    """The one answer of a reply.

    Raises:
        StrangeReplyError: it has not exactly one, or not as text.
    """
    chosen = body.get("choices")
    if not isinstance(chosen, list) or len(chosen) != 1 or not isinstance(chosen[0], dict):
        count = len(chosen) if isinstance(chosen, list) else "no"
        raise StrangeReplyError(f"{count} answers came for one prompt")
    row = chosen[0]
    said = row.get("message") if chat else row
    if not isinstance(said, dict):
        raise StrangeReplyError("the answer has no message")
    text = said.get("content") if chat else said.get("text")
    refusal = said.get("refusal") if chat else None
    thought = next((said[name] for name in _THOUGHTS if isinstance(said.get(name), str)), "")
    if text is None:
        text = refusal if isinstance(refusal, str) else ""
    if not isinstance(text, str):
        raise StrangeReplyError("the answer is no text")
    by, used = row.get("stop_reason"), body.get("usage")
    return Read(
        text,
        thought,
        str(row.get("finish_reason") or ""),
        by if isinstance(by, str) else "",
        _count(used, "prompt_tokens"),
        output_tokens(body),
    )


def output_tokens(body: Mapping[str, Any]) -> int:
    """Tokens of a reply's answer as the server counted; 0 where it does not."""
    return _count(body.get("usage"), "completion_tokens")


def _count(used: Any, name: str) -> int:
    found = used.get(name) if isinstance(used, dict) else None
    return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else 0


def draw_seed(prompt: Prompt, settings: Settings) -> int:
    """The seed of one answer: keyed as every draw of ours, so that it depends on no order and no batch."""
    return sampling.draw_key(settings.seed, settings.task, prompt.id, settings.sample)


def request(prompt: Prompt, settings: Settings, dialect: Dialect) -> tuple[str, dict[str, Any]]:
    """(path, body) of a prompt, but for the model's name. Stop strings are cut on our side: a thought may hold one."""
    told = dialect.parameters(settings, settings.max_new_tokens, draw_seed(prompt, settings))
    if not settings.chat_template:
        return TEXT, {"prompt": plain_text(prompt, settings), **_stop(settings), **told}
    chat = turns(prompt, settings)
    if not prompt.prefill:
        return CHAT, {"messages": chat, **told}
    begun = {"role": "assistant", "content": prompt.prefill}
    return CHAT, {"messages": [*chat, begun], **(dialect.prefill or {}), **told}


def _stop(settings: Settings) -> dict[str, Any]:
    """Four stop strings are what every server takes; the rest is cut on our side, as all are."""
    return {"stop": list(settings.stop[:4])} if settings.stop else {}


def output(prompt: Prompt, settings: Settings, found: Read) -> Output:
    """The Output of an answer. A filter's silence is no answer of the model's; text that never began because the limit
    was reached is unfinished, not empty."""
    told = Output(
        prompt_key=key(prompt),
        prompt_id=prompt.id,
        sample=settings.sample,
        prompt_tokens=found.prompt_tokens,
        output_tokens=found.output_tokens,
    )
    if found.ended == "content_filter":
        return replace(told, error=f"{Reason.FILTERED}: the server withheld the answer", stop_reason="error")
    # A model without a chat template writes on: a mark in its text is text.
    whole = bool(found.reasoning) or not settings.chat_template
    said = Text(found.text, found.reasoning, True) if whole else parted(found.text, family_of(found.text))
    text, cut = cut_at(said.answer, settings.stop)
    if not text and not said.reasoning and not cut and found.ended == "length":
        return replace(told, error=f"{Reason.UNFINISHED}: the token limit came before any text", stop_reason="error")
    ended = "stop" if cut or found.stopped_by else "length" if found.ended == "length" else "eos"
    return replace(told, text=text, reasoning=said.reasoning, stop_reason=ended)


def lost(prompt: Prompt, settings: Settings, why: str) -> Output:
    """The Output of a prompt without an answer."""
    made = Output(prompt_key=key(prompt), prompt_id=prompt.id, sample=settings.sample)
    return replace(made, error=why, stop_reason="error")
