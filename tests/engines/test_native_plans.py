"""What the libraries below PyTorch keep for each shape of a product does not grow with the number of prompts."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_models import causal_lm

from safety_eval.torch_runtime.native import keep_few_plans
from safety_eval.torch_runtime.onednn import matmul_mode

_NAMES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
_GROWTH = """
import ctypes, sys
from safety_eval.engines.transformers import ENGINE
from safety_eval.core.interfaces import ModelSpec, Settings
from safety_eval.core.records import Prompt

class Heap(ctypes.Structure):
    _fields_ = [(n, ctypes.c_size_t) for n in "arena a b c d e f used g h".split()]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Heap
engine = ENGINE.build(ModelSpec(sys.argv[1], device="cpu"))
words = [Prompt("t", str(i), text="word " * (1 + i * 7919 % 90)) for i in range(900)]
list(engine.generate(words[:100], Settings("t", max_new_tokens=2)))
before = libc.mallinfo2().used
list(engine.generate(words, Settings("t", max_new_tokens=2)))
print(libc.mallinfo2().used - before)
"""


def test_the_limits_are_set_and_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = _NAMES
    monkeypatch.delenv(first, raising=False)
    monkeypatch.setenv(second, "500")
    keep_few_plans()
    assert int(os.environ[first]) < 100 and os.environ[second] == "500"


@pytest.mark.skipif(
    matmul_mode(torch.device("cpu"), torch.float32) != "oneDNN", reason="float32 does not go through oneDNN here"
)
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="the C library does not count its memory")
def test_prompts_of_many_lengths_leave_no_plans_behind(tmp_path: Path) -> None:
    model = causal_lm(tmp_path, "llama")
    plain = {name: value for name, value in os.environ.items() if name not in _NAMES}
    grown = {}
    for limit in ("ours", "1024"):
        env = plain if limit == "ours" else plain | dict.fromkeys(_NAMES, limit)
        done = subprocess.run(
            [sys.executable, "-c", _GROWTH, str(model)], env=env, capture_output=True, text=True, check=True
        )
        grown[limit] = int(done.stdout)
    assert grown["ours"] < 10e6 < grown["1024"]
