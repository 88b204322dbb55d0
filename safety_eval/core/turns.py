"""What a prompt is to any model: plain text or chat turns; and where an answer ends."""

from __future__ import annotations

from collections.abc import Sequence

from safety_eval.core.interfaces import Settings
from safety_eval.core.records import Prompt


def plain_text(prompt: Prompt, settings: Settings) -> str:
    """What a model reads without a chat template: a system prompt stands before the text and a blank line; chat turns
    are joined by blank lines; the prefill follows."""
    system = f"{settings.system_prompt}\n\n" if settings.system_prompt is not None else ""
    return system + prompt.asked + prompt.prefill


def turns(prompt: Prompt, settings: Settings) -> list[dict[str, str]]:
    """Chat turns of a prompt. The run's system prompt comes first; a prompt's own system turn joins it."""
    if prompt.messages:
        chat = [{"role": m.role, "content": m.content} for m in prompt.messages]
    else:
        chat = [{"role": "user", "content": settings.chat_prefix + prompt.text}]
    if settings.system_prompt is None:
        return chat
    if chat[0]["role"] == "system":
        own = chat[0]["content"]
        return [{"role": "system", "content": f"{settings.system_prompt}\n\n{own}"}, *chat[1:]]
    return [{"role": "system", "content": settings.system_prompt}, *chat]


def cut_at(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """The text before the first stop string, and whether there was one."""
    places = [at for at in (text.find(s) for s in stop) if at >= 0]
    return (text[: min(places)], True) if places else (text, False)
