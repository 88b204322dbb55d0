"""A model that is needed -> a Check: is it here, whole and of the right kind, or what would a download take?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safety_eval.core.requires import ModelNeed
from safety_eval.preflight import hub
from safety_eval.preflight.checks import Check, Kind, State, size_text

_CAUSAL = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
"""How architectures of language models end that go on with a text."""


def model(need: ModelNeed, kind: Kind, instead: str) -> Check:
    """How a model stands on this machine."""
    folder = hub.folder_of(need)
    if folder is not None:
        problem = _local_problem(need, folder)
        if not problem:
            return Check(kind, need.model, State.READY, f"{need.whose}: here, in {folder}")
        if hub.is_path(need.model) or Path(need.model).expanduser().is_dir():
            return Check(kind, need.model, State.MISSING, f"{need.whose}: {problem}", instead)
    elif hub.is_path(need.model):
        return Check(kind, need.model, State.MISSING, f"{need.whose}: no such folder or file", instead)
    return _remote(need, kind, instead)


def _local_problem(need: ModelNeed, folder: Path) -> str:
    """What a folder lacks; '' = nothing."""
    if need.kind != "tokenizer" and not hub.complete(folder):
        return f"no weights, or not all of them, in {folder}"
    if any(folder.glob("*.gguf")) and not (folder / "config.json").is_file():
        return ""
    config = hub.config_of(folder)
    if config is None:
        return f"no readable config.json in {folder}"
    return _not_causal(config, need) if need.kind == "causal" else ""


def _not_causal(config: Mapping[str, Any], need: ModelNeed) -> str:
    """Why a configuration is none of a causal language model; '' = it is, or may be."""
    named = [str(name) for name in config.get("architectures") or ()]
    causal = [name for name in named if name.endswith(_CAUSAL)]
    if config.get("is_encoder_decoder") or (named and not causal):
        return f"{', '.join(named) or 'an encoder and decoder'} is not a causal language model"
    kind = str(config.get("model_type") or "")
    if not kind:
        return "config.json names no model_type"
    if need.remote_code or kind in _known_causal():
        return ""
    if config.get("auto_map"):
        return "its own code would have to run: read it, then add --model-args trust_remote_code=true"
    return f"transformers knows no causal language model of type '{kind}'"


def _known_causal() -> Mapping[str, str]:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return MODEL_FOR_CAUSAL_LM_MAPPING_NAMES  # type: ignore[no-any-return]


def _remote(need: ModelNeed, kind: Kind, instead: str) -> Check:
    said = hub.ask(need)
    terms = f"Accept its terms at huggingface.co/{need.model} and set HF_TOKEN."
    size = said.size or None
    gated = " (gated)" if said.gated else ""
    taking = f"{'at least ' if said.answer is hub.Answer.SILENT else ''}{size_text(size)}" if size else "size unknown"
    if said.answer is hub.Answer.FOUND:
        detail = f"{need.whose}: would be downloaded, {taking}{gated}"
        return Check(kind, need.model, State.DOWNLOAD, detail, size=size, gated=said.gated)
    if said.answer is hub.Answer.REFUSED:
        detail, advice = f"{need.whose}: gated, and {said.why}", f"{terms} {instead}"
    elif said.answer is hub.Answer.UNKNOWN:
        advice = f"{terms} {instead}" if said.gated else instead
        detail = f"{need.whose}: neither a folder nor a model of the Hub{_at(need)} ({said.why})"
    else:
        advice = f"{terms} {instead}" if said.gated else instead
        detail = f"{need.whose}: not on this machine, and the Hub is out of reach ({said.why}); {taking}{gated}"
    return Check(kind, need.model, State.MISSING, detail, advice, size, said.gated)


def _at(need: ModelNeed) -> str:
    return f" at revision {need.revision[:12]}" if need.revision else ""
