"""Open a model and its tokenizer, and say exactly what was opened."""

from __future__ import annotations

import importlib.metadata
import pickle
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from safety_eval.core.errors import UserError, nearest
from safety_eval.core.interfaces import ModelSpec
from safety_eval.engines._transformers.cache import text_digest
from safety_eval.engines._transformers.quiet import quiet
from safety_eval.engines._transformers.source import Source, flag, locate

DTYPES: Mapping[str, torch.dtype] = {
    "float32": torch.float32, "fp32": torch.float32, "bfloat16": torch.bfloat16, "bf16": torch.bfloat16,
    "float16": torch.float16, "fp16": torch.float16,
}  # fmt: skip


_UNREADABLE = (
    ValueError, KeyError, OSError, ImportError, EOFError, RuntimeError, SafetensorError,
    pickle.UnpicklingError,
)  # fmt: skip
"""What transformers raises for a file that is torn, of another shape, or holds more than tensors."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """An open model.

    Attributes:
        model, tokenizer: transformers' own objects.
        device: where inputs go (of the embedding, for a model spread over several cards).
        context: the longest sequence in tokens, None = the architecture sets no limit.
        eos: token ids that end an answer. pad: token id for padding (always masked).
        identity: what an engine's identity says of the model.
    """

    model: Any
    tokenizer: Any
    device: torch.device
    context: int | None
    eos: tuple[int, ...]
    pad: int
    identity: dict[str, Any]


def load(spec: ModelSpec) -> Loaded:
    """Open the model of a spec for inference.

    Raises:
        UserError: no such model, no weights, an unknown dtype or device, not a causal language model.
    """
    dtype, device = _dtype(spec.dtype), _device(spec.device)
    source = locate(spec)
    remote = flag(spec.args, "trust_remote_code")
    config, tokenizer = _open_small(source, remote)
    model = _open_model(spec, source, config, dtype, device)
    where = model.get_input_embeddings().weight.device
    eos = _eos(model, tokenizer)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (eos[0] if eos else 0)
    return Loaded(
        model=model,
        tokenizer=tokenizer,
        device=where,
        context=_context(model.config),
        eos=eos,
        pad=pad,
        identity=_identity(source, model, tokenizer, where, remote),
    )


def _dtype(name: str) -> torch.dtype | str:
    if name == "auto":
        return "auto"
    if name not in DTYPES:
        raise UserError(f"unknown dtype '{name}'", nearest(name, ["auto", *DTYPES]))
    return DTYPES[name]


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(name).type
    except RuntimeError as error:
        raise UserError(f"unknown device '{name}'", "Use auto, cpu, cuda or cuda:N.") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"device '{name}' was asked for, but this machine has no usable GPU", "Use --device cpu."
        )
    return name


def _open_small(source: Source, remote: bool) -> tuple[Any, Any]:
    with quiet(logging):
        try:
            config = AutoConfig.from_pretrained(source.folder, trust_remote_code=remote)
        except (ValueError, KeyError, OSError) as error:
            raise _refused(source, error, remote) from error
        try:
            tokenizer = AutoTokenizer.from_pretrained(source.tokenizer, trust_remote_code=remote)
        except (ValueError, KeyError, OSError, TypeError, AttributeError) as error:
            raise UserError(
                f"{source.tokenizer} holds no tokenizer that transformers can open: {_first_line(error)}",
                "Copy tokenizer.json and tokenizer_config.json there, or give --model-args tokenizer=FOLDER.",
            ) from error
    return config, tokenizer


def _open_model(spec: ModelSpec, source: Source, config: Any, dtype: torch.dtype | str, device: str) -> Any:
    remote = flag(spec.args, "trust_remote_code")
    asked: dict[str, Any] = {"config": config, "dtype": dtype, "trust_remote_code": remote}
    if "attn_implementation" in spec.args:
        asked["attn_implementation"] = spec.args["attn_implementation"]
    if "device_map" in spec.args:
        asked["device_map"] = spec.args["device_map"]
    # PyTorch checkpoints hold pickles: only their tensors may be read.
    asked["weights_only"] = True
    try:
        with quiet(logging):
            model: Any = AutoModelForCausalLM.from_pretrained(source.folder, **asked)
            if "device_map" not in spec.args:
                model = model.to(device)
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"{source.name} does not fit into the memory of {device}",
            "Spread it with --model-args device_map=auto, or choose --dtype bfloat16.",
        ) from error
    except _UNREADABLE as error:
        raise _refused(source, error, remote) from error
    return model.eval().requires_grad_(False)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _refused(source: Source, error: BaseException, remote: bool) -> UserError:
    text = str(error)
    if "trust_remote_code" in text and not remote:
        return UserError(
            f"{source.name} needs code from its own repository, which is not run unless you ask for it",
            "Read that code, then add --model-args trust_remote_code=true.",
        )
    return UserError(
        f"transformers cannot open {source.name} as a causal language model: {_first_line(error)}",
        "Give complete files of a causal language model (config.json names an ...ForCausalLM class).",
    )


def _eos(model: Any, tokenizer: Any) -> tuple[int, ...]:
    named = getattr(model.generation_config, "eos_token_id", None)
    several = named if isinstance(named, (list, tuple)) else [named]
    return tuple(dict.fromkeys(int(i) for i in [*several, tokenizer.eos_token_id] if i is not None))


def _context(config: Any) -> int | None:
    inner = config.get_text_config() if hasattr(config, "get_text_config") else config
    for name in ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx", "seq_length"):
        value = getattr(inner, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return None


def _identity(
    source: Source, model: Any, tokenizer: Any, device: torch.device, remote: bool
) -> dict[str, Any]:
    template = tokenizer.chat_template
    named = template if isinstance(template, str) else "" if not template else repr(sorted(template.items()))
    return {
        "name": "transformers",
        "model": source.name,
        "revision": source.revision,
        "weights": source.weights,
        "architecture": type(model).__name__,
        "parameters": int(sum(p.numel() for p in model.parameters())),
        "tokenizer": tokenizer_digest(tokenizer, source.tokenizer),
        "chat_template": text_digest(named) if named else "",
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": _device_name(device),
        "trust_remote_code": remote,
        "versions": {
            name: importlib.metadata.version(name) for name in ("torch", "transformers", "tokenizers")
        },
    }


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"{device.type} ({platform.machine()})"


def tokenizer_digest(tokenizer: Any, folder: Path) -> str:
    """SHA-256 of what decides token ids: the fast tokenizer's JSON, or the slow one's vocabulary."""
    core = getattr(tokenizer, "backend_tokenizer", None)
    if core is not None:
        return text_digest(core.to_str())
    return text_digest(
        "\n".join(f"{i} {t}" for t, i in sorted(tokenizer.get_vocab().items(), key=lambda x: x[1]))
    )
