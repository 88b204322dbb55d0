"""Is what was opened the whole of a causal language model? Whatever is not is named and refused.

transformers fills weights that the files lack with random numbers and says so in a log only: two runs of such a model
differ. `--model-args allow_partial=true` opens it all the same; then the reasons stand in the engine's identity.
"""

from __future__ import annotations

from typing import Any

import torch

from safety_eval.core.errors import UserError
from safety_eval.engines._transformers.shape import inner
from safety_eval.torch_runtime.loading import Report, counted

_HEADS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "WithLMHead")
"""How transformers' classes with a language-model head end."""


def reasons(config: Any, model: Any, report: Report, remote: bool) -> list[str]:
    """Why a model is not what its files say, [] = it is.

    Args:
        config: as the folder holds it. remote: its class comes from the folder and has a name of its own.
    """
    named = [] if remote else [str(name) for name in getattr(config, "architectures", None) or []]
    doubts = []
    if named and not any(name == type(model).__name__ or name.endswith(_HEADS) for name in named):
        doubts.append(f"config.json names {named[0]}, a class without a language-model head")
    if getattr(config, "is_encoder_decoder", False):
        doubts.append("it is an encoder-decoder model, not a causal language model")
    for names, what in (
        (report.missing, "its files lack {} weights, which would be random numbers: {}"),
        (report.mismatched, "{} weights have another shape in its files and would be random numbers: {}"),
        (report.unexpected, "its files hold {} weights that the model has no place for: {}"),
    ):
        if names:
            doubts.append(what.format(len(names), counted(names)))
    if _untied(model):
        doubts.append("config.json ties the output weights to the embedding, but the files hold two different ones")
    return doubts


def _untied(model: Any) -> bool:
    config = inner(model.config)
    head = model.get_output_embeddings()
    if not getattr(config, "tie_word_embeddings", False) or head is None:
        return False
    one, other = getattr(head, "weight", None), model.get_input_embeddings().weight
    if one is None or one is other or one.data_ptr() == other.data_ptr() or one.device.type == "meta":
        return False
    return one.shape == other.shape and not torch.equal(one, other)


def refuse(name: str, doubts: list[str]) -> None:
    """Refuse a model that is not whole.

    Raises:
        UserError: there is any doubt.
    """
    if doubts:
        raise UserError(
            f"{name} is not a whole causal language model: {'; '.join(doubts)}",
            "Give the complete files of one, or accept it with --model-args allow_partial=true (which is recorded).",
        )


def known_tokens(name: str, model: Any) -> int:
    """Rows of the model's embedding.

    Raises:
        UserError: it has none: it does not read tokens.
    """
    try:
        return int(model.get_input_embeddings().weight.shape[0])
    except (AttributeError, NotImplementedError, TypeError) as error:
        raise UserError(f"{name} has no embedding of tokens", "Give a causal language model.") from error


def check_vocabulary(name: str, model: Any, tokenizer: Any) -> None:
    """Refuse a tokenizer whose ordinary tokens the model does not know.

    Raises:
        UserError: some do not fit into the embedding. (An added token beyond it is an error of its prompt.)
    """
    rows = known_tokens(name, model)
    added = set(tokenizer.get_added_vocab())
    beyond = [token for token, number in tokenizer.get_vocab().items() if number >= rows and token not in added]
    if beyond:
        raise UserError(
            f"the tokenizer of {name} has {len(beyond)} tokens that the model does not know (it knows {rows})",
            "Give the tokenizer that belongs to this model, with --model-args tokenizer=FOLDER.",
        )
