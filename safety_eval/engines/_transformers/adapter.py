"""LoRA adapters (`lora=FOLDER`): checked against the model that they are for, and part of its identity.

An adapter is read from safetensors alone; one with pickled weights, of another kind or for another model is refused.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safety_eval.core import limits
from safety_eval.core.errors import UserError
from safety_eval.core.records import digest
from safety_eval.core.requires import FileNeed
from safety_eval.core.store import parsed
from safety_eval.torch_runtime.weights import files_digest

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_OWN = re.compile(r"\.(?:base_layer\.)?(?:lora_|weight$|bias$)")
"""Behind the name of a layer, in the name of what an adapter has for it."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter on this machine. `name`: as the user gave it. `digest`: of its weights and its configuration."""

    name: str
    folder: Path
    rank: int
    digest: str

    def changed(self, identity: Mapping[str, Any]) -> dict[str, Any]:
        """A model's identity with the adapter in it: its weights are no longer those of the base."""
        own = {"name": self.name, "weights": self.digest, "base": identity["weights"]}
        return {**identity, "weights": digest([identity["weights"], self.digest]), "lora": own}


def needs(args: Mapping[str, str]) -> tuple[FileNeed, ...]:
    """The files of the adapter that the arguments name."""
    folder = Path(args["lora"]) if "lora" in args else None
    return tuple(FileNeed(str(folder / name)) for name in (CONFIG, WEIGHTS)) if folder else ()


def adapter_of(args: Mapping[str, str], model: str) -> Adapter | None:
    """The adapter that the arguments name; None = none.

    Raises:
        UserError: no adapter there, one of another kind, with pickled weights, or for another model.
    """
    if "lora" not in args:
        return None
    folder = Path(args["lora"]).expanduser()
    said = _configuration(folder)
    if str(said.get("peft_type", "")).upper() != "LORA" or said.get("megatron_config"):
        raise UserError(f"{folder} is not a plain LoRA adapter", "Merge it into its model first, and give that.")
    if not (folder / WEIGHTS).is_file():
        raise UserError(
            f"{folder} holds no {WEIGHTS}", "Save the adapter as safetensors: pickled weights are not read."
        )
    base = str(said.get("base_model_name_or_path") or "")
    if base and Path(base).name.lower() != Path(model).name.lower():
        raise UserError(
            f"the LoRA adapter {folder} is for {base}, not for {model}",
            f"Give its own base as --model. If they are the same, say so in {CONFIG}: base_model_name_or_path.",
        )
    rank = max([int(said.get("r") or 0), *map(int, dict(said.get("rank_pattern") or {}).values())])
    return Adapter(args["lora"], folder, rank, files_digest([folder / CONFIG, folder / WEIGHTS]))


def _configuration(folder: Path) -> dict[str, Any]:
    try:
        said = parsed(limits.content(folder / CONFIG, limits.JSON_BYTES, plain=False))
    except (OSError, ValueError) as error:
        raise UserError(
            f"no LoRA adapter in {folder}: {error}", f"Give a folder with {CONFIG} and {WEIGHTS}."
        ) from error
    if not isinstance(said, dict):
        raise UserError(f"{folder / CONFIG} is not an object", "Give the folder that PEFT's save_pretrained wrote.")
    return said


def layers(adapter: Adapter) -> frozenset[str]:
    """What the adapter changes, by the last part of each layer's name (q_proj, lm_head).

    Raises:
        UserError: its weights are no safetensors.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(adapter.folder / WEIGHTS, "np") as file:
            paths = [_OWN.split(name)[0].split(".") for name in list(file.keys())]
    except (SafetensorError, OSError) as error:
        raise UserError(f"{adapter.folder / WEIGHTS} cannot be read: {error}", "Save the adapter again.") from error
    # A layer of experts is one module for those who hold all of them together.
    return frozenset(path[-1] for path in paths) | {"experts" for path in paths if "experts" in path}


def merged(model: Any, adapter: Adapter) -> Any:
    """The model with the adapter merged into its weights.

    Raises:
        UserError: the adapter does not fit: other shapes, other layers, weights that would be random numbers.
    """
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    from safety_eval.torch_runtime.loading import UNREADABLE, counted, first_line

    try:
        with warnings.catch_warnings(), safe_open(adapter.folder / WEIGHTS, "pt") as file:
            warnings.simplefilter("error", UserWarning)  # how PEFT tells of weights that it made up
            warnings.simplefilter("ignore", FutureWarning)  # what PEFT still calls by an old name
            held = PeftModel.from_pretrained(model, str(adapter.folder), local_files_only=True)
            warnings.simplefilter("ignore", UserWarning)  # that it keeps an embedding beside what changes it
            strange = set(get_peft_model_state_dict(held)) ^ set(file.keys())
            if strange:
                raise ValueError(f"layers of only one of them: {counted(strange)}")
            return held.merge_and_unload(safe_merge=True).eval()
    except (*UNREADABLE, UserWarning) as error:
        raise UserError(
            f"the LoRA adapter {adapter.name} does not fit the model: {first_line(error)}",
            "Give the model that it was trained on.",
        ) from error
