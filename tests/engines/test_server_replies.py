"""What a server's reply becomes, without a server: how an answer ended, what was withheld, and which tokens a choice is
weighed by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from tiny_models import causal_lm

from safety_eval.core.interfaces import Settings
from safety_eval.core.records import Prompt, Reason
from safety_eval.engines._server.asking import Read, StrangeReplyError, output, read
from safety_eval.engines._server.handshake import Draws, Handshake
from safety_eval.engines._server.likelihood import Weigher

PROMPT = Prompt("t", "p", "Once upon a time", choices=(" there was a king",))
STOPS = Settings("t", stop=("\n\n",))


@pytest.mark.parametrize(
    ("found", "text", "ended"),
    [
        (Read("A king.", "", "stop"), "A king.", "eos"),
        (Read("A king", "", "length"), "A king", "length"),
        (Read("A king.", "", "stop", stopped_by="\n\n"), "A king.", "stop"),
        (Read("A king.\n\nA queen", "", "length"), "A king.", "stop"),
    ],
)
def test_an_answer_says_how_it_ended(found: Read, text: str, ended: str) -> None:
    made = output(PROMPT, STOPS, found)
    assert (made.text, made.stop_reason, made.error) == (text, ended, "")


@pytest.mark.parametrize(
    ("found", "reason"),
    [(Read("", "", "content_filter"), Reason.FILTERED), (Read("", "", "length"), Reason.UNFINISHED)],
)
def test_what_was_withheld_or_never_began_is_no_empty_answer(found: Read, reason: Reason) -> None:
    made = output(PROMPT, STOPS, found)
    assert (made.reason, made.text, made.stop_reason) == (reason, None, "error")


@pytest.mark.parametrize(
    "body",
    [{}, {"choices": []}, {"choices": [{"text": "a"}, {"text": "b"}]}, {"choices": [{"text": 5}]}, {"choices": [None]}],
)
def test_a_reply_that_holds_no_one_answer_is_none(body: Mapping[str, Any]) -> None:
    with pytest.raises(StrangeReplyError):
        read(body, chat=False)


def test_a_choice_is_weighed_by_its_own_tokens_alone(tmp_path: Path) -> None:
    """The server says of every token how far from the beginning it stands, so that the sum tells which were taken."""

    def post(path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        places = [None, *(-float(i) for i in range(1, len(body["prompt"])))]
        return {"choices": [{"logprobs": {"token_logprobs": places}}]}

    told: dict[str, Any] = dict.fromkeys((f.name for f in fields(Handshake)), True)
    told |= {"context": None, "dialect": "vllm", "draws": Draws.SEEDED}
    weigher = Weigher(post, str(causal_lm(tmp_path / "tiny", "llama")), Handshake(**told))
    made = weigher.weigh(PROMPT, Settings("t"))
    first, many = made.prompt_tokens, made.output_tokens
    assert first > 1 and many > 1 and made.choice_logprobs == (-float(sum(range(first, first + many))),)
