"""One prompt on its way through the engine, and the Output that it becomes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from safety_eval.core import sampling
from safety_eval.core.errors import UserError
from safety_eval.core.interfaces import Settings
from safety_eval.core.records import Output, Prompt, Reason, key
from safety_eval.core.thoughts import opened_by
from safety_eval.core.turns import cut_at
from safety_eval.engines._transformers.answer import Reader
from safety_eval.engines._transformers.render import Given, Rendered, encode, encode_choices, render
from safety_eval.torch_runtime.loading import first_line

BROKEN_ROW = "broken"
"""How an answer ends whose logits are not finite."""
NOT_FINITE = "the model's numbers are NaN or infinite"


@dataclass(frozen=True, slots=True)
class Work:
    """A prompt that is ready to be answered.

    Attributes:
        ids: token ids of the rendered prompt.
        most: tokens that its answer may have (the token limit, or what the context leaves).
        draw: key of its random stream.
        opened: opening mark of a reasoning channel that the prompt ends with.
    """

    prompt: Prompt
    ids: tuple[int, ...]
    most: int
    draw: int
    opened: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt whose choices are ready: for each, the ids of context + choice and the length of the
    context."""

    prompt: Prompt
    choices: tuple[tuple[tuple[int, ...], int], ...]

    @property
    def tokens(self) -> int:
        return sum(len(ids) for ids, _ in self.choices)

    @property
    def longest(self) -> int:
        """Tokens of the longest choice with its context."""
        return max(len(ids) for ids, _ in self.choices)


def failed(prompt: Prompt, settings: Settings, error: str, prompt_tokens: int = 0) -> Output:
    """An Output that says why there is no answer."""
    return Output(
        prompt_key=key(prompt),
        prompt_id=prompt.id,
        sample=settings.sample,
        stop_reason="error",
        prompt_tokens=prompt_tokens,
        error=error,
    )


def too_long(prompt: Prompt, settings: Settings, length: int, context: int) -> Output:
    """The Output of a prompt that does not fit: data, not a crash."""
    text = f"{Reason.TOO_LONG}: it has {length} tokens and the model's context is {context} tokens"
    return failed(prompt, settings, text, length)


def unknown_token(prompt: Prompt, settings: Settings, token: int, rows: int) -> Output:
    """The Output of a prompt with a token that the model has no embedding for."""
    return failed(prompt, settings, f"the tokenizer gives token {token}, the model knows {rows}")


@dataclass(frozen=True, slots=True)
class Asking:
    """How prompts become token ids.

    Attributes:
        context: the longest sequence, None = no limit. rows: token ids that the model knows, None = any.
        given: what a chat template is given beside the turns. split: of choices (`render.encode_choices`).
    """

    tokenizer: Any
    context: int | None = None
    rows: int | None = None
    given: Given = field(default_factory=Given)
    split: str = "lm_eval"


def _rendered(asking: Asking, prompt: Prompt, settings: Settings) -> Rendered | Output:
    """A prompt as the model reads it, or why its chat template refuses it: a template is code of the model's, and may
    raise anything."""
    try:
        return render(asking.tokenizer, prompt, settings, asking.given)
    except UserError:
        raise
    except Exception as error:
        return failed(prompt, settings, f"the chat template refuses this prompt: {first_line(error)}")


def prepare(asking: Asking, prompts: Iterable[Prompt], settings: Settings) -> list[Work | Output]:
    """Prompts as work, or as the Output that says why not."""
    tokenizer, context, rows = asking.tokenizer, asking.context, asking.rows
    ready: list[Work | Output] = []
    for prompt in prompts:
        rendered = _rendered(asking, prompt, settings)
        if isinstance(rendered, Output):
            ready.append(rendered)
            continue
        ids = encode(tokenizer, rendered)
        if rows is not None and max(ids) >= rows:
            ready.append(unknown_token(prompt, settings, max(ids), rows))
            continue
        if context is not None and len(ids) >= context:
            ready.append(too_long(prompt, settings, len(ids), context))
            continue
        room = settings.max_new_tokens + settings.max_thinking_tokens
        most = room if context is None else min(room, context - len(ids))
        draw = sampling.draw_key(settings.seed, settings.task, prompt.id, settings.sample)
        ready.append(Work(prompt, tuple(ids), most, draw, opened_by(rendered.text)))
    return ready


def prepare_choices(asking: Asking, prompts: Iterable[Prompt], settings: Settings) -> list[Asked | Output]:
    """Prompts with choices as work, or as the Output that says why not."""
    tokenizer, context, rows = asking.tokenizer, asking.context, asking.rows
    ready: list[Asked | Output] = []
    for prompt in prompts:
        rendered = _rendered(asking, prompt, settings)
        if isinstance(rendered, Output):
            ready.append(rendered)
            continue
        if not prompt.choices:
            ready.append(failed(prompt, settings, "the prompt has no choices"))
            continue
        split = encode_choices(tokenizer, rendered, prompt.choices, asking.split)
        longest = max(len(ids) for ids, _ in split)
        highest = max(max(ids) for ids, _ in split)
        empty = [i for i, (ids, known) in enumerate(split) if len(ids) <= known]
        if empty:
            ready.append(failed(prompt, settings, f"choice {empty[0]} adds no token to the prompt"))
        elif rows is not None and highest >= rows:
            ready.append(unknown_token(prompt, settings, highest, rows))
        elif context is not None and longest > context:
            ready.append(too_long(prompt, settings, longest, context))
        else:
            ready.append(Asked(prompt, tuple((tuple(ids), known) for ids, known in split)))
    return ready


def answered(work: Work, ids: list[int], reason: str, reader: Reader, settings: Settings) -> Output:
    """The Output of a finished answer.

    Args:
        ids: generated tokens, the end token included where there was one.
        reason: 'eos', 'stop' or 'length'; BROKEN_ROW where the model gave no finite numbers.
    """
    if reason == BROKEN_ROW:
        return failed(work.prompt, settings, f"{NOT_FINITE} at token {len(ids)} of the answer")
    kept = within(work, ids, reader, settings)
    if len(kept) < len(ids):
        ids, reason = kept, "length"
    text = reader.read(ids[:-1] if reason == "eos" else ids, work.opened)
    answer, hit = cut_at(text.answer, settings.stop)
    return Output(
        prompt_key=key(work.prompt),
        prompt_id=work.prompt.id,
        sample=settings.sample,
        text=answer,
        reasoning=text.reasoning,
        stop_reason="stop" if hit else reason,
        prompt_tokens=len(work.ids),
        output_tokens=len(ids),
    )


def within(work: Work, ids: list[int], reader: Reader, settings: Settings) -> list[int]:
    """An answer's tokens as far as the limits of its first thought and of what follows it allow. A pure function of the
    tokens, so that it does not matter how far somebody went on before looking."""
    budget, limit = settings.max_thinking_tokens, settings.max_new_tokens
    if not budget or len(ids) <= min(budget, limit):
        return ids
    thought = reader.thought(ids, work.opened)
    if thought is None or thought > budget:
        return ids[:budget]
    return ids[: thought + limit]


def chosen(asked: Asked, logprobs: list[float], settings: Settings) -> Output:
    """The Output of a prompt whose choices have been weighed."""
    broken = [i for i, value in enumerate(logprobs) if not math.isfinite(value)]
    if broken:
        return failed(asked.prompt, settings, f"{NOT_FINITE} in choice {broken[0]}")
    return Output(
        prompt_key=key(asked.prompt),
        prompt_id=asked.prompt.id,
        sample=settings.sample,
        choice_logprobs=tuple(logprobs),
        stop_reason="choice",
        prompt_tokens=asked.choices[0][1],
        output_tokens=sum(len(ids) - known for ids, known in asked.choices),
    )
