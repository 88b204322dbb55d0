"""A window that is too long for the check at load: prompts beyond it go alone, after a check of their own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_models import causal_lm

from safety_eval.core.interfaces import ModelSpec, Settings
from safety_eval.core.records import Prompt
from safety_eval.engines._transformers import check, plain
from safety_eval.engines.transformers import ENGINE

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "fidelity"))
import architectures


def opened(folder: Path, **args: str) -> Any:
    return ENGINE.build(ModelSpec(str(folder), args, device="cpu"))


@pytest.fixture
def unprobed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model whose window is too long for the check at load."""
    monkeypatch.setattr(check, "_SHORT", 0)
    monkeypatch.setattr(check, "_WORK", 0)
    monkeypatch.setenv("SAFETY_EVAL_CACHE", str(tmp_path / "cache"))
    return causal_lm(tmp_path / "m", "mistral", sliding_window=64)


LENGTHS = [Prompt("t", str(i), "x y z " * n, choices=(" yes", " no")) for i, n in enumerate((1, 12, 40))]


def test_beyond_a_window_that_was_not_probed_prompts_go_alone_and_the_record_says_so(
    unprobed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, sizes = opened(unprobed), []
    assert engine.identity["path"].startswith("flat; beyond its window of 64 tokens alone, and probed when")
    assert opened(unprobed).identity["path"] == engine.identity["path"]
    own = plain.likelihoods
    monkeypatch.setattr(plain, "likelihoods", lambda m, rows: sizes.append([len(i) for i, _ in rows]) or own(m, rows))
    weighed = list(engine.choose(LENGTHS, Settings("t")))
    assert not any(o.error for o in weighed)
    assert all(len(s) == 1 and s[0] > 64 for s in sizes) and len(sizes) == 4
    assert architectures.compare(unprobed, engine, [p.text for p in LENGTHS]) == ""


def test_a_model_that_is_wrong_beyond_an_unprobed_window_gives_errors_there_and_answers_before_it(
    unprobed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = plain.generate

    def broken(loaded, works, settings, reader):
        done = own(loaded, works, settings, reader)
        return [
            ([ids[0] ^ 1, *ids[1:]] if len(w.ids) > 64 else ids, why) for w, (ids, why) in zip(works, done, strict=True)
        ]

    monkeypatch.setattr(plain, "generate", broken)
    engine = opened(unprobed)
    answers = {o.prompt_id: o for o in engine.generate(LENGTHS, Settings("t", max_new_tokens=4))}
    assert not answers["0"].error and answers["0"].text
    assert "beyond the model's window of 64 tokens differ" in answers["2"].error and answers["2"].text is None
