"""The batched torch sampler draws what the numpy reference draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from safety_eval.core import sampling
from safety_eval.engines._transformers import draw

SHAPES = {"peaked": 6.0, "usual": 2.5, "flat": 0.2, "equal": 0.0}


def reference(logits: torch.Tensor, temperature: float, top_p: float, keys: list[int], steps: list[int]) -> list[int]:
    rows = logits.double().numpy()
    return [sampling.draw(r, temperature, top_p, k, s) for r, k, s in zip(rows, keys, steps, strict=True)]


def test_the_same_integers_as_numpy() -> None:
    words = np.random.default_rng(0).integers(0, 2**63, 1000, dtype=np.int64)
    assert (draw.mix(torch.from_numpy(words)).numpy().view(np.uint64) == sampling.mix(words.view(np.uint64))).all()
    noise = draw.gumbel(torch.tensor([12345]), torch.tensor([7]), torch.arange(100)[None])
    assert noise[0].numpy() == pytest.approx(sampling.gumbel(12345, 7, np.arange(100)), abs=1e-12)


@pytest.mark.parametrize("spread", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize(
    ("temperature", "top_p"), [(0.1, 0.9), (0.7, 0.95), (1.0, 0.999), (1.3, 0.05), (0.7, 1.0), (0, 1)]
)
def test_a_batch_draws_what_the_reference_draws(spread: float, temperature: float, top_p: float) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn((24, 5000), generator=generator) * spread
    keys, steps = [11 * k for k in range(24)], [k % 5 for k in range(24)]
    got = draw.Sampler(temperature, top_p).pick(logits, torch.tensor(keys), torch.tensor(steps))
    assert got.tolist() == reference(logits, temperature, top_p, keys, steps)


def test_rows_of_different_shapes_share_a_batch() -> None:
    generator = torch.Generator().manual_seed(2)
    spread = torch.tensor(list(SHAPES.values()))[:, None]
    logits = torch.randn((4, 3000), generator=generator) * spread
    together = draw.Sampler(0.8, 0.9).pick(logits, torch.arange(4), torch.zeros(4, dtype=torch.int64))
    for row in range(4):
        alone = draw.Sampler(0.8, 0.9).pick(logits[row : row + 1], torch.tensor([row]), torch.tensor([0]))
        assert alone[0] == together[row]


def test_equal_logits_at_the_edge_of_the_nucleus_go_by_token_id() -> None:
    logits = torch.full((200, 64), -50.0)
    logits[:, 10:20] = 1.0
    picked = draw.Sampler(1.0, 0.45).pick(logits, torch.arange(200), torch.zeros(200, dtype=torch.int64))
    assert set(picked.tolist()) == {10, 11, 12, 13, 14}


def test_half_precision_logits_are_drawn_from_as_they_are() -> None:
    logits = (torch.randn((8, 1000), generator=torch.Generator().manual_seed(3)) * 3).bfloat16()
    got = draw.Sampler(0.7, 0.9).pick(logits, torch.arange(8), torch.zeros(8, dtype=torch.int64))
    assert got.tolist() == reference(logits.float(), 0.7, 0.9, list(range(8)), [0] * 8)


def test_low_temperatures_leave_out_only_what_cannot_matter() -> None:
    """Where the unknown mass of the tail decides the nucleus, the row is drawn in full."""
    logits = torch.full((50, 4000), -1.0)
    logits[:, :10] = 0.5
    # Ten equal tokens hold all but a little of the mass: 0.9 of it ends at one of them, or just behind it.
    keys, steps = list(range(50)), [0] * 50
    for top_p in (0.9, 0.9000001, 0.8999999, 0.5, 0.999999):
        got = draw.Sampler(0.1, top_p).pick(logits, torch.tensor(keys), torch.tensor(steps))
        assert got.tolist() == reference(logits, 0.1, top_p, keys, steps)


def test_narrow_and_wide_draws_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn((64, 3000), generator=torch.Generator().manual_seed(4)) * 2
    keys, steps = torch.arange(64), torch.zeros(64, dtype=torch.int64)
    narrow = draw.Sampler(0.25, 0.95).pick(logits, keys, steps)
    monkeypatch.setattr(draw, "_NARROW", 0.0)
    assert draw.Sampler(0.25, 0.95).pick(logits, keys, steps).tolist() == narrow.tolist()


@pytest.mark.parametrize("size", [5, 128, 129, 640, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_best_token_is_that_of_argmax_and_the_lowest_id_among_equals(size: int, dtype: torch.dtype) -> None:
    made = torch.Generator().manual_seed(size)
    logits = (torch.randn(64, size, generator=made) * 3).round().to(dtype)
    logits[0] = 0.0
    logits[1, -1] = 100.0
    expected = [row.index(max(row)) for row in logits.tolist()]
    assert draw.best_token(logits).tolist() == expected
