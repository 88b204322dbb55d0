"""Twenty families of causal models, tiny and random: right by the fastest way that is. The whole sweep checks all."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks" / "fidelity"))
import architectures  # noqa: E402

FAMILIES = {
    "llama": "flat",
    "mistral": "flat",
    "qwen2_moe": "flat",
    "phimoe": "flat",
    "phi3": "flat",
    "gemma3_text": "flat",
    "gemma4_text": "flat",
    "deepseek_v2": "flat",
    "deepseek_v3": "flat",
    "minicpm3": "",
    "llama4_text": "flat",
    "glm4": "flat",
    "gpt_oss": "plain",
    "falcon_h1": "plain",
    "qwen3_next": "plain",
    "rwkv": "one by one",
    "recurrent_gemma": "plain",
    "mamba": "plain",
    "olmo2": "flat",
    "falcon": "",
    "bart": "one by one",
    "bert": "refused",
}
"""Model type -> how it runs ('' = as it may)."""


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.filterwarnings("ignore")
def test_a_family_is_measured_right_or_refused(kind: str) -> None:
    row = architectures.examine(kind, architectures.kinds()[kind])
    assert row.state == ("refused" if FAMILIES[kind] == "refused" else "right"), row
    assert row.path.startswith(FAMILIES[kind]) or row.state == "refused", row


def test_the_page_holds_every_class_that_transformers_offers_and_nothing_wrong() -> None:
    rows = [architectures.Row(**row) for row in json.loads(architectures.ROWS.read_text())]
    assert {row.state for row in rows} <= {"right", "refused", "not built"}, [r for r in rows if r.state.isupper()]
    assert architectures.PAGE.read_text() == architectures.page(rows)
    assert {row.kind for row in rows} == set(architectures.kinds())
