"""Which engine a model's name asks for: `--engine E --model ID`, `--model E/ID`, `--model ray/E/ID`, or lm-eval's
`--model E --model_args pretrained=ID`. An engine that was named is used, or the run is refused: never another one in
its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safety_eval.core import plugins
from safety_eval.core.errors import UserError, nearest

DEFAULT = "transformers"
ALIASES: Mapping[str, str] = {
    "hf": "transformers",
    "hf-auto": "transformers",
    "huggingface": "transformers",
    "vllm": "vllm",
    "sglang": "sglang",
    "ray": "ray",
    "llama_cpp": "llama_cpp",
    "local-completions": "openai_server",
    "local-chat-completions": "openai_server",
    "openai-completions": "openai_server",
    "openai-chat-completions": "openai_server",
    "openai-api": "openai_server",
}
"""Names that lm-eval and inspect_ai give to engines -> ours, whether or not it is installed here."""
_OF_SERVERS = "openai"
"""Names the engine where a base_url is given; else it is the Hub's organisation of that name."""
_OUTER, _INNER = "ray", "inner"
"""The engine that holds another one, and the model argument that names this."""
_MODEL_KEYS = ("pretrained", "model")
"""Model arguments of lm-eval that name the model itself."""

_SAME_ARGS = {"peft": "lora", "lora_local_path": "lora"}
"""Model arguments of lm-eval -> ours."""


def settled(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run with engine and model told apart, and lm-eval's `pretrained` and `dtype` in their places.

    Raises:
        UserError: an engine that is not here, two engines, two models, or an engine without a model.
    """
    ready = dict(values)
    args = {_SAME_ARGS.get(name, name): value for name, value in (values.get("model_args") or {}).items()}
    ready |= {"model_args": args} if args else {}
    if url := ready.pop("base_url", ""):
        if args.get("base_url", url) != url:
            raise UserError("two servers are given: --base-url and base_url= differ", "Give one of them.")
        args["base_url"] = url
        ready["model_args"] = args
    named = {key: args.pop(key) for key in _MODEL_KEYS if key in args}
    if len(set(named.values())) > 1:
        raise UserError("two models are given: pretrained= and model= differ", "Give one of them.")
    inner = next(iter(named.values()), "")
    model, engine = str(values.get("model") or ""), values.get("engine")
    asked, rest = _split(model, inner, served="base_url" in args)
    if asked and engine and _own_name(engine) != asked:
        raise UserError(
            f"two engines are given: --engine {engine} and --model {model}",
            "Give one. A model whose own name begins like an engine: --model hf/NAME.",
        )
    if inner and rest and inner != rest:
        raise UserError(f"two models are given: '{rest}' and '{inner}'", "Give one of them.")
    if asked or engine:
        ready["engine"] = _here(asked or _own_name(str(engine)), model if asked else str(engine))
    if rest or inner:
        ready["model"] = rest or inner
    elif asked:
        ready["model"] = _default_model(ready["engine"], model)
    if named or "dtype" in args:
        if "dtype" in args and ready.get("dtype", args["dtype"]) != args["dtype"]:
            raise UserError("two precisions are given: --dtype and dtype= differ", "Give one of them.")
        ready |= {"dtype": args.pop("dtype")} if "dtype" in args else {}
        ready["model_args"] = args
    return _with_inner(ready) if ready.get("engine") == _OUTER else ready


def _with_inner(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the engine that holds another one: `--model ray/INNER/ID`, or `--model-args inner=INNER`."""
    args = dict(values.get("model_args") or {})
    asked, rest = _split(str(values.get("model") or ""), "", served="base_url" in args)
    named = str(args.get(_INNER, ""))
    if asked and named and _own_name(named) != asked:
        raise UserError(f"two inner engines are given: {_INNER}={named} and {values['model']}", "Give one of them.")
    if not asked and not named:
        return dict(values)
    inner = _here(asked or _own_name(named), named or asked)
    model = rest or _default_model(inner, f"{_OUTER}/{asked}")
    return {**values, "model": model, "model_args": {**args, _INNER: inner}}


def _own_name(name: str) -> str:
    return ALIASES.get(name, name)


def _split(model: str, inner: str, served: bool) -> tuple[str, str]:
    """(engine or '', model or '') of what --model says. A folder or file of that name is a model, whatever
    it is called; beside lm-eval's pretrained= a bare name is always the engine.
    """
    head, slash, rest = model.partition("/")
    if served and head == _OF_SERVERS:
        return ALIASES["openai-api"], rest
    known = {*ALIASES, *plugins.names("engines")}
    if head not in known or not (inner or not Path(model).expanduser().exists()):
        return "", model
    return _own_name(head), rest if slash else ""


def _here(engine: str, written: str) -> str:
    """The engine's name, if it is one of this installation (or a file)."""
    have = plugins.names("engines")
    if engine in have or engine.endswith(".py"):
        return engine
    if engine in ALIASES.values():
        raise UserError(
            f"'{written}' asks for the engine '{engine}', which this installation does not have; no other is used "
            "in its place",
            f"Available: {', '.join(have)}. For {DEFAULT}: --model hf/ID, or --model hf --model_args pretrained=ID.",
        )
    raise UserError(f"unknown engine '{engine}'", nearest(engine, have))


def _default_model(engine: str, given: str) -> str:
    if model := plugins.find("engines", engine).default_model:
        return str(model)
    raise UserError(
        f"--model {given} names the engine, but no model",
        f"Write --model {given}/ID, or add --model_args pretrained=ID.",
    )
