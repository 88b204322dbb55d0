"""Devices and precisions by the names that people give them, and the memory that is left."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch

from safety_eval.core.errors import UserError, nearest

DTYPES: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "fp32": torch.float32,
    "bfloat16": torch.bfloat16,
    "bf16": torch.bfloat16,
    "float16": torch.float16,
    "fp16": torch.float16,
}

_MEMORY_RAN_OUT = ("can't allocate memory", "out of memory", "not enough memory", "alloc_failed", "bad_alloc")
"""What PyTorch, its allocators and the GPU's libraries say in an error that has no class of its own."""


def device_of(name: str) -> torch.device:
    """The device for 'auto', 'cpu', 'cuda', 'cuda:1' ...

    Raises:
        UserError: there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"unknown device '{name}'", "Use auto, cpu, cuda or cuda:N.") from error
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        why = str(error).splitlines()[0]
        raise UserError(f"this machine has no usable device '{name}' ({why})", "Use --device cpu or auto.") from error
    return device


def dtype_of(name: str) -> torch.dtype | str:
    """The precision for a name; 'auto' stays 'auto' (as the weights were saved).

    Raises:
        UserError: no such precision.
    """
    if name == "auto":
        return "auto"
    if name not in DTYPES:
        raise UserError(f"unknown dtype '{name}'", nearest(name, ["auto", *DTYPES]))
    return DTYPES[name]


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on a GPU or on the processor."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _MEMORY_RAN_OUT)


def free_memory(device: torch.device) -> int:
    """Bytes that can still be used on the device."""
    if device.type == "cuda":
        # What PyTorch holds without using it is free for us as well.
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + idle
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 4 << 30


def give_back(device: torch.device) -> None:
    """Return memory that PyTorch holds without using it to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
