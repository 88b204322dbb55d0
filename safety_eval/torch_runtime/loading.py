"""Open networks and tokenizers: no code from the folder, no pickles, no weight that is a random number in silence."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers.utils import logging

from safety_eval.core.errors import UserError
from safety_eval.torch_runtime.devices import out_of_memory
from safety_eval.torch_runtime.quiet import quiet
from safety_eval.torch_runtime.weights import Weights

UNREADABLE = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    OSError,
    ImportError,
    EOFError,
    RuntimeError,
    SafetensorError,
    pickle.UnpicklingError,
    AssertionError,
    StrictDataclassError,
)
"""What transformers raises for files that are torn, of another shape, contradictory, or hold more than tensors."""

_VOCABULARY = ("tokenizer.json", "vocab.*", "*.model", "*.tiktoken")
_KINDS = {
    "AutoModelForCausalLM": "a causal language model",
    "AutoModelForSequenceClassification": "a text classifier",
    "AutoModel": "an encoder",
}


@dataclass(frozen=True, slots=True)
class Report:
    """What transformers said of the weights that it loaded, by the model's own names.

    Attributes:
        missing: weights that the files lack: they are random numbers.
        mismatched: weights of another shape in the files. unexpected: weights that the model has no place for.
    """

    missing: tuple[str, ...]
    mismatched: tuple[str, ...]
    unexpected: tuple[str, ...]


def first_line(error: BaseException) -> str:
    """The first line of an error's text, its class where there is none."""
    lines = [line.strip() for line in str(error).strip().splitlines()] or [type(error).__name__]
    # "Class validation error for validator 'x':" has what is wrong on the next line.
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]


def counted(names: Iterable[str]) -> str:
    """Three names and how many there are in all."""
    ordered = sorted(names)
    more = f" and {len(ordered) - 3} more ({len(ordered)} in all)" if len(ordered) > 3 else ""
    return ", ".join(ordered[:3]) + more


def open_network(kind: str, folder: Path, name: str, **asked: Any) -> tuple[Any, Report]:
    """A model of transformers in evaluation mode, and the report of its loading.

    Args:
        kind: name of the Auto class. name: of the model, for errors.
        asked: what `from_pretrained` is given beside the folder.

    Raises:
        UserError: the files are torn, of another kind, hold pickled objects, or do not fit into memory.
    """
    # Shapes that do not fit are reported with the rest, not raised one by one.
    always = {"weights_only": True, "output_loading_info": True, "ignore_mismatched_sizes": True}
    asked = {"trust_remote_code": False, **asked, **always}
    try:
        with quiet(logging):
            model, said = getattr(transformers, kind).from_pretrained(folder, **asked)
    except (*UNREADABLE, MemoryError) as error:
        raise refusal(error, name, kind, bool(asked["trust_remote_code"])) from error
    missing, mismatched, unexpected = (
        tuple(sorted(_names(said.get(f"{part}_keys", ())))) for part in ("missing", "mismatched", "unexpected")
    )
    return model.eval(), Report(missing, mismatched, unexpected)


def _names(keys: Iterable[Any]) -> set[str]:
    return {str(key[0]) if isinstance(key, tuple) else str(key) for key in keys}


def refusal(error: BaseException, name: str, kind: str, remote: bool) -> UserError:
    """Why a model cannot be opened, and what to do."""
    if out_of_memory(error):
        return UserError(
            f"{name} does not fit into memory",
            "Choose a smaller precision (--dtype bfloat16), or another device; spread a model over several cards with "
            "--model-args device_map=auto.",
        )
    text = str(error)
    if "trust_remote_code" in text and not remote:
        return UserError(
            f"{name} needs code from its own repository, which is not run unless you ask for it",
            "Read that code, then add --model-args trust_remote_code=true.",
        )
    return UserError(
        f"{name} cannot be loaded as {_KINDS.get(kind, kind)}: {first_line(error)}",
        "Check that its files are complete and that config.json names a model of this kind.",
    )


def load_model(weights: Weights, kind: str, dtype: Any, **settings: Any) -> Any:
    """An instrument's network from a folder, in evaluation mode: no remote code, no pickles, no head made up.

    Args:
        kind: name of the transformers Auto class. dtype: of torch, or 'auto' = as saved.
        settings: overrides of the configuration.

    Raises:
        UserError: it cannot be loaded, or the folder lacks weights that the class needs.
    """
    model, report = open_network(
        kind, weights.folder, str(weights.folder), dtype=dtype, local_files_only=True, **settings
    )
    lacking = {*report.missing, *report.mismatched}
    if lacking:
        raise UserError(
            f"{weights.folder} lacks weights that {_KINDS.get(kind, kind)} needs: {counted(lacking)}",
            "They would be random numbers. Give the folder of a model that was trained for this.",
        )
    return model


def load_tokenizer(weights: Weights) -> Any:
    """An instrument's tokenizer.

    Raises:
        UserError: there is none. (transformers makes one without any words where the files are missing.)
    """
    if not any(path for pattern in _VOCABULARY for path in weights.folder.glob(pattern)):
        raise UserError(
            f"{weights.folder} holds no tokenizer", "Put tokenizer.json and tokenizer_config.json beside it."
        )
    return open_tokenizer(weights.folder, "Put tokenizer.json and tokenizer_config.json beside the weights.")


def open_tokenizer(folder: Path, hint: str, remote: bool = False) -> Any:
    """The tokenizer of a folder.

    Raises:
        UserError: transformers cannot open it; `hint` says what to do.
    """
    try:
        with quiet(logging):
            return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=remote)
    except UNREADABLE as error:
        raise UserError(f"{folder} holds no tokenizer that transformers can open: {first_line(error)}", hint) from error


def longest_input(tokenizer: Any, config: Any, asked: int | None) -> int:
    """Tokens that fit into the model: the least of what was asked, the tokenizer's limit and the position
    table.

    RoBERTa's kinds lose padding_idx + 1 positions (514 positions hold 512 tokens).
    """
    limits = [int(tokenizer.model_max_length)]
    positions = int(getattr(config, "max_position_embeddings", 0) or 0)
    if positions > 0:
        offset = getattr(config, "model_type", "") in (
            "roberta",
            "xlm-roberta",
            "camembert",
            "xlm-roberta-xl",
        )
        limits.append(positions - (int(config.pad_token_id or 0) + 1 if offset else 0))
    if asked:
        limits.append(asked)
    return min(*limits, 1 << 20)  # XLNet names no limit at all
