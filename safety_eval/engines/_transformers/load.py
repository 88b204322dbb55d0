"""Open a model and its tokenizer, and say exactly what was opened."""

from __future__ import annotations

import copy
import importlib.metadata
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig
from transformers.utils import logging

from safety_eval.core.interfaces import ModelSpec
from safety_eval.engines._transformers import shape, template
from safety_eval.engines._transformers.adapter import adapter_of, merged
from safety_eval.engines._transformers.complete import check_vocabulary, known_tokens, reasons, refuse
from safety_eval.engines._transformers.source import Source, flag, locate
from safety_eval.torch_runtime.devices import device_of, dtype_of
from safety_eval.torch_runtime.loading import UNREADABLE, open_network, open_tokenizer, refusal
from safety_eval.torch_runtime.quiet import quiet
from safety_eval.torch_runtime.weights import text_digest

CAUSAL = "AutoModelForCausalLM"


@dataclass(frozen=True, slots=True)
class Loaded:
    """An open model.

    Attributes:
        model, tokenizer: transformers' own objects.
        device: where inputs go (of the embedding, for a model spread over several cards).
        context: the longest sequence in tokens, None = the architecture sets no limit.
        eos: token ids that end an answer. pad: token id for padding (always masked).
        rows: of the embedding: token ids that the model knows.
        identity: what an engine's identity says of the model.
        window: tokens that attention may reach back, where the model limits it (the least of its layers), else None.
        mixing: the longest sequence whose numbers do not depend on what else is in the batch, None = any.
    """

    model: Any
    tokenizer: Any
    device: torch.device
    context: int | None
    eos: tuple[int, ...]
    pad: int
    rows: int
    identity: dict[str, Any]
    window: int | None = None
    mixing: int | None = None

    @property
    def reach(self) -> int:
        """The longest sequence that has no window to outgrow and no numbers that depend on its batch."""
        return min(n for n in (self.window, self.mixing, 1 << 40) if n is not None)

    @property
    def name(self) -> str:
        """The model as the user named it."""
        return str(self.identity["model"])


def load(spec: ModelSpec) -> Loaded:
    """Open the model of a spec for inference.

    Raises:
        UserError: no such model, no weights, an unknown dtype or device, not a causal language model.
    """
    dtype, device = dtype_of(spec.dtype), device_of(spec.device)
    source = locate(spec)
    adapter = adapter_of(spec.args, source.name)
    remote = flag(spec.args, "trust_remote_code")
    config, tokenizer = _open_small(source, remote)
    dressed = template.examine(tokenizer, source.name, spec.template)
    # transformers changes the configuration that it is given.
    model, doubts = _open_model(spec, source, copy.deepcopy(config), dtype, device)
    if adapter is not None:
        model = merged(model, adapter).requires_grad_(False)
    check_vocabulary(source.name, model, tokenizer)
    where = model.get_input_embeddings().weight.device
    eos = _eos(model, tokenizer)
    rows = known_tokens(source.name, model)
    possible = [int(i) for i in (tokenizer.pad_token_id, *eos) if i is not None]
    pad = next((i for i in possible if i < rows), 0)
    identity = _identity(source, model, tokenizer, where, remote)
    identity = adapter.changed(identity) if adapter is not None else identity
    return Loaded(
        model=model,
        tokenizer=tokenizer,
        device=where,
        context=shape.context(model.config),
        eos=eos,
        pad=pad,
        rows=rows,
        identity=identity | dressed | ({"partial": doubts} if doubts else {}),
        window=shape.window(model.config),
        mixing=shape.mixing(model.config),
    )


def _open_small(source: Source, remote: bool) -> tuple[Any, Any]:
    try:
        with quiet(logging):
            config = AutoConfig.from_pretrained(source.folder, trust_remote_code=remote)
    except UNREADABLE as error:
        raise refusal(error, source.name, CAUSAL, remote) from error
    hint = "Copy tokenizer.json and tokenizer_config.json there, or give --model-args tokenizer=FOLDER."
    return config, open_tokenizer(source.tokenizer, hint, remote)


def _open_model(
    spec: ModelSpec, source: Source, config: Any, dtype: torch.dtype | str, device: torch.device
) -> tuple[Any, list[str]]:
    """The model, and why it is not whole."""
    remote = flag(spec.args, "trust_remote_code")
    asked: dict[str, Any] = {"config": config, "dtype": dtype, "trust_remote_code": remote}
    asked |= {name: spec.args[name] for name in ("attn_implementation", "device_map") if name in spec.args}
    model, report = open_network(CAUSAL, source.folder, source.name, **asked)
    doubts = reasons(config, model, report, remote)
    if not flag(spec.args, "allow_partial"):
        refuse(source.name, doubts)
    if "device_map" not in spec.args:
        try:
            model = model.to(device)
        except (RuntimeError, MemoryError) as error:
            raise refusal(error, source.name, CAUSAL, remote) from error
    return model.requires_grad_(False), doubts


def _eos(model: Any, tokenizer: Any) -> tuple[int, ...]:
    named = getattr(model.generation_config, "eos_token_id", None)
    several = named if isinstance(named, (list, tuple)) else [named]
    return tuple(dict.fromkeys(int(i) for i in [*several, tokenizer.eos_token_id] if i is not None))


def _identity(source: Source, model: Any, tokenizer: Any, device: torch.device, remote: bool) -> dict[str, Any]:
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
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "transformers", "tokenizers")},
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
    return text_digest("\n".join(f"{i} {t}" for t, i in sorted(tokenizer.get_vocab().items(), key=lambda x: x[1])))
