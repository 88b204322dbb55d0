"""detoxify and hf_classifier equal Detoxify.predict and transformers' pipeline, whatever the batches are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scorer_conformance import EMPTY, ODD, PLAIN, answers, check_scorer
from tiny_models import classifier

from safety_eval.core.errors import UserError
from safety_eval.core.interfaces import ScorerSpec
from safety_eval.core.plugins import find

DETOXIFY, HF = find("scorers", "detoxify"), find("scorers", "hf_classifier")
LABELS = ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")
TEXTS = [*PLAIN, *(t for t in ODD if "\ud83d" not in t), "word " * 124, "a", "Straße naïve café " * 9]


@pytest.fixture(scope="module", params=["roberta", "bert"])
def checkpoint(request, tmp_path_factory) -> tuple[Path, Path]:
    """A Detoxify checkpoint file in the package's form, and the folder with configuration and tokenizer."""
    folder = tmp_path_factory.mktemp(request.param)
    classifier(folder, request.param, LABELS, seed=3)
    settings = folder / "tokenizer_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "model_max_length": 126}))
    from transformers import AutoModelForSequenceClassification

    names = {
        "roberta": ("RobertaForSequenceClassification", "RobertaTokenizer"),
        "bert": ("BertForSequenceClassification", "BertTokenizer"),
    }[request.param]
    arch = {
        "model_type": str(folder),
        "model_name": names[0],
        "tokenizer_name": names[1],
        "num_classes": len(LABELS),
    }
    path = folder / "toxic.ckpt"
    state = AutoModelForSequenceClassification.from_pretrained(folder).state_dict()
    config = {"arch": {"args": arch}, "dataset": {"args": {"classes": list(LABELS)}}}
    torch.save({"config": config, "state_dict": state}, path)
    return path, folder


def detoxify_spec(checkpoint: tuple[Path, Path], **args: str) -> ScorerSpec:
    return ScorerSpec(
        "detoxify", {"checkpoint": str(checkpoint[0]), "folder": str(checkpoint[1]), **args}, device="cpu"
    )


def values(scorer, texts, name: str) -> list[float]:
    return [float(s.values[name]) for s in scorer.score(answers(texts))]


def test_detoxify_conforms(checkpoint) -> None:
    check_scorer(DETOXIFY, detoxify_spec(checkpoint), tolerance=1e-6)


def test_the_published_checkpoints_are_those_of_the_package() -> None:
    from detoxify.detoxify import MODEL_URLS

    from safety_eval.scorers._detoxify_published import VARIANTS

    assert {name: published.url for name, published in VARIANTS.items()} == MODEL_URLS


@pytest.mark.parametrize("budget", ["8", "200", "100000"])
def test_detoxify_equals_the_package_for_any_batch(checkpoint, budget: str) -> None:
    from detoxify import Detoxify

    published = Detoxify(checkpoint=checkpoint[0], huggingface_config_path=str(checkpoint[1]))
    expected = published.predict(TEXTS)
    scorer = DETOXIFY.build(detoxify_spec(checkpoint, batch_tokens=budget))
    for label in expected:
        assert np.abs(np.subtract(values(scorer, TEXTS, f"detoxify_{label}"), expected[label])).max() < 1e-5
    assert values(scorer, TEXTS, "toxicity") == values(scorer, TEXTS, "detoxify_toxicity")
    assert set(expected) == {"toxicity", "severe_toxicity", "obscene", "threat", "insult", "identity_attack"}


def test_a_transformers_folder_serves_as_checkpoint(checkpoint) -> None:
    folder = DETOXIFY.build(ScorerSpec("detoxify", {"checkpoint": str(checkpoint[1])}))
    file = DETOXIFY.build(detoxify_spec(checkpoint))
    assert values(folder, TEXTS, "toxicity") == pytest.approx(values(file, TEXTS, "toxicity"), abs=1e-6)


def test_offers_are_known_before_anything_is_loaded() -> None:
    assert "detoxify_sexual_explicit" in DETOXIFY.offers({"variant": "multilingual"})
    assert "detoxify_sexual_explicit" not in DETOXIFY.offers({"variant": "original-small"})
    assert DETOXIFY.offers({"checkpoint": "x.ckpt"}) == {"toxicity", "detoxify_cut"}
    assert HF.offers({}) == {"toxicity", "toxicity_argmax", "toxicity_cut"}
    assert {"regard", "regard_negative"} <= HF.offers({"preset": "regard"})


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_checkpoint_that_would_execute_code_is_refused(checkpoint, tmp_path: Path) -> None:
    path, proof = tmp_path / "evil.ckpt", tmp_path / "executed"
    torch.save({"config": Evil(proof), "state_dict": {}}, path)
    with pytest.raises(UserError, match="could execute code"):
        DETOXIFY.build(detoxify_spec((path, checkpoint[1])))
    assert not proof.exists()


@pytest.mark.parametrize("damage", ["cut", "empty", "no labels", "class"])
def test_a_damaged_checkpoint_is_a_clear_error(checkpoint, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "bad.ckpt"
    held = torch.load(checkpoint[0], weights_only=True)
    if damage == "class":
        held["config"]["arch"]["args"]["model_name"] = "AutoModel.from_pretrained"
    if damage == "no labels":
        del held["config"]["dataset"]
    torch.save(held, path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:2000])
    if damage == "empty":
        path.write_bytes(b"")
    with pytest.raises(UserError) as caught:
        DETOXIFY.build(detoxify_spec((path, checkpoint[1])))
    assert "bad.ckpt" in str(caught.value) and caught.value.hint


@pytest.fixture(scope="module")
def binary(tmp_path_factory) -> Path:
    return classifier(tmp_path_factory.mktemp("binary"), "roberta", seed=20)


def hf_spec(folder: Path, **args: str) -> ScorerSpec:
    return ScorerSpec("hf_classifier", {"model": str(folder), **args}, device="cpu")


def test_hf_classifier_conforms(binary: Path) -> None:
    check_scorer(HF, hf_spec(binary, index="1"), tolerance=1e-6)


@pytest.mark.parametrize("budget", ["8", "200", "100000"])
@pytest.mark.parametrize("problem", ["single_label_classification", "multi_label_classification"])
def test_hf_classifier_equals_the_pipeline_for_any_batch(tmp_path, budget: str, problem: str) -> None:
    from transformers import pipeline

    folder = classifier(tmp_path, "bert", ("fine", "rude", "vile"), seed=7, problem_type=problem)
    published = pipeline("text-classification", model=str(folder), top_k=None, truncation=True, max_length=128)
    scorer = HF.build(hf_spec(folder, index="2", value="vile", batch_tokens=budget))
    expected = [next(r["score"] for r in found if r["label"] == "vile") for found in published(TEXTS, batch_size=4)]
    assert np.abs(np.subtract(values(scorer, TEXTS, "vile"), expected)).max() < 1e-5


def test_a_classifier_without_any_limit_of_length_is_read(tmp_path: Path) -> None:
    """XLNet: no position table, a tokenizer without a limit, padding on the left."""
    import transformers as t
    from tiny_models import byte_level_tokenizer

    tokenizer = byte_level_tokenizer()
    config = t.XLNetConfig(
        vocab_size=len(tokenizer),
        d_model=32,
        n_layer=2,
        n_head=4,
        d_inner=64,
        num_labels=2,
        initializer_range=0.3,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    model = t.XLNetForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    found = values(HF.build(hf_spec(tmp_path, index="1")), list(PLAIN), "toxicity")
    for text, value in zip(PLAIN, found, strict=True):
        with torch.inference_mode():
            logits = model(**tokenizer(text, return_tensors="pt")).logits
        assert value == pytest.approx(float(logits.softmax(-1)[0, 1]), abs=1e-5)


def test_the_toxigen_preset_reads_the_argmax_of_index_1(binary: Path) -> None:
    scorer = HF.build(hf_spec(binary, preset="toxigen_roberta"))
    found = [s.values for s in scorer.score(answers(TEXTS))]
    assert {v["toxicity_argmax"] for v in found} == {0.0, 1.0}
    assert all((v["toxicity"] > 0.5) == (v["toxicity_argmax"] == 1.0) for v in found)
    assert scorer.identity["index"] == 1


def test_the_regard_preset_maps_four_labels_to_minus_one_zero_one(tmp_path: Path) -> None:
    folder = classifier(tmp_path, "bert", ("LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3"), seed=1)
    spec = hf_spec(folder, preset="regard")
    check_scorer(HF, spec, tolerance=1e-6)
    for score in HF.build(spec).score(answers(TEXTS)):
        p = [score.values[f"regard_{n}"] for n in ("negative", "neutral", "positive", "other")]
        assert sum(p) == pytest.approx(1.0)
        assert score.values["regard"] == (-1.0, 0.0, 1.0, 0.0)[int(np.argmax(p))]


def test_an_empty_answer_is_an_error_even_with_the_prompt_in_front(binary: Path) -> None:
    scorer = HF.build(hf_spec(binary, index="1", text="prompt_and_answer"))
    assert [s.error for s in scorer.score(answers(EMPTY))] == ["empty answer"] * len(EMPTY)


def test_truncation_is_recorded_and_windows_read_the_whole_text(binary: Path) -> None:
    long = "kind " * 400
    cut, whole = HF.build(hf_spec(binary, index="1")), HF.build(hf_spec(binary, index="1", long="windows"))
    assert values(cut, ["kind", long], "toxicity_cut")[0] == 0.0
    assert values(cut, [long], "toxicity_cut")[0] > 100
    assert values(whole, [long], "toxicity_cut") == [0.0]
    assert values(whole, [long], "toxicity")[0] >= values(cut, [long], "toxicity")[0] - 1e-6
    assert values(whole, ["kind"], "toxicity") == pytest.approx(values(cut, ["kind"], "toxicity"), abs=1e-7)


def test_a_toxic_ending_behind_the_limit_is_found_by_windows_only(binary: Path) -> None:
    scorer = HF.build(hf_spec(binary, index="1", long="windows"))
    parts = values(scorer, ["women " * 100, "kill idiots " * 60], "toxicity")
    joined = values(scorer, ["women " * 100 + "kill idiots " * 60], "toxicity")[0]
    assert joined >= min(parts) - 0.2


def test_equal_texts_are_computed_once(binary: Path, monkeypatch) -> None:
    scorer = HF.build(hf_spec(binary, index="1"))
    seen: list[str] = []
    read = scorer._reader.read
    monkeypatch.setattr(scorer._reader, "read", lambda texts: seen.extend(texts) or read(texts))
    found = values(scorer, ["same", "other", "same", "same"], "toxicity")
    assert seen == ["same", "other"]
    assert found[0] == found[2] == found[3] != found[1]


def test_running_out_of_memory_halves_the_batch_and_goes_on(binary: Path) -> None:
    scorer = HF.build(hf_spec(binary, index="1"))
    expected = values(scorer, TEXTS, "toxicity")
    forward, sizes = scorer._reader._forward, []

    def limited(batch):
        sizes.append(len(batch["input_ids"]))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("no memory")
        return forward(batch)

    scorer._reader._forward = limited
    assert values(scorer, TEXTS, "toxicity") == pytest.approx(expected, abs=1e-6)
    assert max(sizes) > 2 and sizes[-1] <= 2


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({}, "has 2 labels: 0=LABEL_0, 1=LABEL_1"),
        ({"index": "2"}, "has no label 2"),
        ({"index": "-1"}, "index=-1"),
        ({"preset": "regard"}, "the preset needs 4"),
        ({"preset": "regrad"}, "regrad"),
        ({"index": "1", "text": "prompt"}, "text=prompt"),
        ({"index": "1", "max_length": "few"}, "max_length=few"),
        ({"index": "1", "treshold": "0.3"}, "treshold"),
    ],
)
def test_wrong_arguments_are_refused(binary: Path, args: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        HF.build(hf_spec(binary, **args))


@pytest.mark.parametrize(
    "damage", ["no weights", "empty weights", "cut weights", "no config", "no tokenizer", "no head"]
)
def test_a_damaged_folder_is_an_error_that_names_it(tmp_path: Path, damage: str) -> None:
    folder = classifier(tmp_path / "damaged", "roberta")
    weights = folder / "model.safetensors"
    if damage == "no weights":
        weights.unlink()
    if damage == "empty weights":
        weights.write_bytes(b"")
    if damage == "cut weights":
        weights.write_bytes(weights.read_bytes()[:5000])
    if damage == "no config":
        (folder / "config.json").unlink()
    if damage == "no tokenizer":
        for path in [*folder.glob("tokenizer*"), *folder.glob("vocab*"), *folder.glob("merges*")]:
            path.unlink()
    if damage == "no head":
        from safetensors.torch import load_file, save_file

        kept = {k: v for k, v in load_file(weights).items() if not k.startswith("classifier")}
        save_file(kept, weights, metadata={"format": "pt"})
    with pytest.raises(UserError, match="damaged"):
        HF.build(hf_spec(folder, index="1"))


def test_a_model_that_cannot_be_had_offline_is_an_error_that_names_the_alternatives(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError) as caught:
        HF.build(ScorerSpec("hf_classifier"))
    assert "tomh/toxigen_roberta" in caught.value.message
    assert "profanity_check" in caught.value.hint and "model=DIR" in caught.value.hint


def test_the_identity_names_the_weights(binary: Path, tmp_path: Path) -> None:
    one = HF.build(hf_spec(binary, index="1")).identity
    same = HF.build(hf_spec(classifier(tmp_path / "a", "roberta", seed=20), index="1")).identity
    other = HF.build(hf_spec(classifier(tmp_path / "b", "roberta", seed=6), index="1")).identity
    assert one["weights"] == same["weights"] != other["weights"]
    assert one["precision"] == "float32" and one["settings"]["max_length"] == 126
