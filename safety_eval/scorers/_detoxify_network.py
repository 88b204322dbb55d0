"""A Detoxify checkpoint -> a network: a published or local file, or a folder in transformers' form."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from safety_eval.core.errors import UserError
from safety_eval.scorers._detoxify_published import BASES, ELSE, VARIANTS, kept
from safety_eval.scorers._text_classifier import Network
from safety_eval.torch_runtime.loading import load_model, load_tokenizer
from safety_eval.torch_runtime.weights import file_digest, find

_RENAMED = {
    "toxic": "toxicity",
    "identity_hate": "identity_attack",
    "severe_toxic": "severe_toxicity",
}

Loaded = tuple[Network, tuple[str, ...], Mapping[str, Any]]
"""A network, its labels in the order of its outputs, and what it is."""


def loaded(given: str, variant: str, folder: str) -> Loaded:
    """The network of a checkpoint (file or folder), or of a published variant where none is given.

    Raises:
        UserError: it is not there, damaged, or no Detoxify checkpoint.
    """
    if given and Path(given).expanduser().is_dir():
        return _from_folder(given)
    return _from_file(_file(given, variant), folder)


def _file(given: str, variant: str) -> Path:
    """The checkpoint file: the given one, or the published one (its name holds the first digits of its
    SHA-256).
    """
    if given:
        if not (path := Path(given).expanduser()).is_file():
            raise UserError(f"no such checkpoint: {given}", ELSE)
        return path
    url = VARIANTS[variant].url
    path = kept(url)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            expected = path.stem.rsplit("-", 1)[1]
            torch.hub.download_url_to_file(url, str(path), expected, progress=False)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"detoxify's checkpoint '{variant}' could not be downloaded from {url}: {error}", ELSE
            ) from error
    return path


def _from_folder(folder: str) -> Loaded:
    weights = find(folder, hint=ELSE)
    model = load_model(weights, "AutoModelForSequenceClassification", torch.float32)
    names = [model.config.id2label[i] for i in range(model.config.num_labels)]
    return Network(model, load_tokenizer(weights)), _labels(names, folder), weights.identity()


def _from_file(path: Path, folder: str) -> Loaded:
    held = _read(path)
    arch = held["config"]["arch"]["args"]
    labels = _labels(held["config"]["dataset"]["args"]["classes"], path)
    base = arch["model_type"]
    weights = find(folder or base, "" if folder else BASES.get(base, ""), hint=ELSE, tokenizer_only=True)
    make = _class(arch["model_name"], "ForSequenceClassification", path)
    config = make.config_class.from_pretrained(
        weights.folder, num_labels=int(arch["num_classes"]), local_files_only=True
    )
    model, report = make.from_pretrained(
        None, config=config, state_dict=held["state_dict"], dtype=torch.float32, output_loading_info=True
    )
    if lacking := sorted(report["missing_keys"]):
        raise UserError(f"{path} lacks weights: {lacking[0]} ({len(lacking)} in all)", "Download it again.")
    make_tokenizer = _class(arch["tokenizer_name"], "Tokenizer", path)
    tokenizer = make_tokenizer.from_pretrained(weights.folder, local_files_only=True)
    source = {
        "model": path.name,
        "weights": file_digest(path),
        "base": base,
        "base_revision": weights.revision,
        "settings_digest": weights.settings_digest,
    }
    return Network(model.eval(), tokenizer), labels, source


def _read(path: Path) -> Mapping[str, Any]:
    """A checkpoint file as plain containers and tensors.

    Raises:
        UserError: it is damaged, not a Detoxify checkpoint, or holds pickled objects.
    """
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
        arch, classes = held["config"]["arch"]["args"], held["config"]["dataset"]["args"]["classes"]
        (
            held["state_dict"],
            arch["model_type"],
            arch["model_name"],
            arch["tokenizer_name"],
            arch["num_classes"],
        )
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} holds objects beside tensors and is not loaded: they could execute code",
            "Convert it to safetensors where you trust it (model.save_pretrained), and give the folder.",
        ) from error
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is no Detoxify checkpoint: {error} is missing", ELSE) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}", "Is it complete? " + ELSE) from error
    if not classes:
        raise UserError(f"{path} names no labels", ELSE)
    return held  # type: ignore[no-any-return]


def _labels(names: Sequence[str], source: Path | str) -> tuple[str, ...]:
    labels = tuple(_RENAMED.get(name, name) for name in names)
    if "toxicity" not in labels:
        raise UserError(
            f"{source} has no label 'toxicity' (labels: {', '.join(labels)})",
            "For another classifier use hf_classifier with index=...",
        )
    return labels


def _class(name: str, ending: str, path: Path) -> Any:
    """A class of transformers that a checkpoint names; nothing but a class of that ending."""
    found = getattr(transformers, name, None) if name.endswith(ending) and name.isidentifier() else None
    if found is None:
        raise UserError(f"{path} asks for '{name}', which is no {ending} of transformers", ELSE)
    return found
