"""Our classifier scoring beside `Detoxify.predict`, on one machine in one run (case `classifiers` of run.py).

Network: the shape of RoBERTa-base with random weights, as a Detoxify checkpoint (no weights are needed, and
speed does not depend on them). Texts: sentences of BOLD's Wikipedia files, every n-th one. Baseline:
`Detoxify.predict` on the texts in the given order in batches of 32, the way it is used. Routes are timed in
turn, round by round, so that noise of the machine meets all of them; the table gives the median and the
ratio of medians.

Equality is asserted, time never is: float32 values equal to 1e-6, and in mixed precision every label of
every text equal. The last bias is shifted so that the threshold lies three standard deviations above the
texts' mean logit: a toxicity classifier calls few of BOLD's sentences toxic. A random network answers every
text nearly alike, so half precision's rounding is about ten times larger beside the spread of its logits
than in a trained one, and the share of texts that is read again in float32, which the last line gives, is
larger than it would be.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detoxify import Detoxify

from safety_eval.core.interfaces import ScorerSpec
from safety_eval.core.plugins import find
from safety_eval.core.records import Output, Prompt, key

LABELS = ("toxicity", "severe_toxicity", "obscene", "identity_attack", "insult", "threat", "sexual_explicit")
MIXED = "bfloat16, float32 near the threshold"
ROUTES = {
    "float32, torch": {"runtime": "torch"},
    "float32, oneDNN": {"runtime": "onednn"},
    MIXED: {"dtype": "bfloat16"},
}


def texts_of(data: Path, count: int) -> list[str]:
    """`count` sentences of BOLD's Wikipedia files, evenly spread, in a shuffled (seeded) order."""
    found: list[str] = []
    for path in sorted((data / "hub/AmazonScience/bold").glob("*_prompt_wiki.json")):
        for line in path.read_text().splitlines():
            found += [s for s in json.loads(line)["wikipedia"] if s.strip()]
    if not found:
        raise SystemExit(f"{data} holds no BOLD (hub/AmazonScience/bold/*_prompt_wiki.json)")
    chosen = [found[int(i)] for i in np.linspace(0, len(found) - 1, count)]
    return [chosen[int(i)] for i in np.random.default_rng(0).permutation(count)]


def make_checkpoint(folder: Path, texts: Sequence[str], corpus: Sequence[str]) -> None:
    """A Detoxify checkpoint of RoBERTa-base's shape, with a byte-level tokenizer trained on `corpus`."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaConfig, RobertaForSequenceClassification, RobertaTokenizer

    core = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    core.train_from_iterator(corpus, vocab_size=30000, special_tokens=special, show_progress=False)
    saved = json.loads(core.to_str())["model"]
    merges = [tuple(m) if not isinstance(m, str) else tuple(m.split(" ")) for m in saved["merges"]]
    RobertaTokenizer(vocab=saved["vocab"], merges=merges, model_max_length=512).save_pretrained(folder)
    config = RobertaConfig(
        vocab_size=50265,
        num_labels=len(LABELS),
        max_position_embeddings=514,
        type_vocab_size=1,
    )
    torch.manual_seed(0)
    model = RobertaForSequenceClassification(config).eval()
    config.save_pretrained(folder)
    arch = {
        "model_type": str(folder),
        "model_name": "RobertaForSequenceClassification",
        "tokenizer_name": "RobertaTokenizer",
        "num_classes": len(LABELS),
    }
    held: dict[str, Any] = {"arch": {"args": arch}, "dataset": {"args": {"classes": list(LABELS)}}}
    torch.save({"config": held, "state_dict": model.state_dict()}, folder / "model.ckpt")
    package = Detoxify(checkpoint=folder / "model.ckpt", huggingface_config_path=str(folder))
    _shift(package, texts[:96])
    torch.save({"config": held, "state_dict": package.model.state_dict()}, folder / "model.ckpt")


@torch.inference_mode()
def _shift(package: Detoxify, texts: Sequence[str]) -> None:
    """Move the last bias so that the texts' mean logit lies three standard deviations below 0."""
    batch = package.tokenizer(list(texts), return_tensors="pt", truncation=True, padding=True)
    logits = package.model.eval()(**batch).logits
    package.model.classifier.out_proj.bias.sub_(logits.mean(0) + 3.0 * logits.std(0))


def baseline(package: Detoxify, texts: Sequence[str]) -> np.ndarray:
    """Detoxify.predict in the given order, 32 at a time: [texts, labels]."""
    rows: list[list[float]] = []
    for start in range(0, len(texts), 32):
        found = package.predict(list(texts[start : start + 32]))
        rows += [list(row) for row in zip(*(found[name] for name in LABELS), strict=True)]
    return np.array(rows)


def ours(scorer: Any, texts: Sequence[str]) -> np.ndarray:
    """The scorer on the same texts as answers: [texts, labels]."""
    given = []
    for i, text in enumerate(texts):
        prompt = Prompt("speed", str(i), "x")
        given.append((prompt, Output(key(prompt), str(i), text=text)))
    return np.array([[s.values[f"detoxify_{n}"] for n in LABELS] for s in scorer.score(given)], dtype=float)


def measure(folder: Path, texts: Sequence[str], rounds: int) -> dict[str, Any]:
    """Seconds of every route in every round, and the equality of its values with the baseline's."""
    package = Detoxify(checkpoint=folder / "model.ckpt", huggingface_config_path=str(folder))
    entry = find("scorers", "detoxify")
    given = {"checkpoint": str(folder / "model.ckpt"), "folder": str(folder)}
    scorers = {name: entry.build(ScorerSpec("detoxify", {**given, **a}, device="cpu")) for name, a in ROUTES.items()}
    runs: dict[str, Callable[[Sequence[str]], np.ndarray]] = {"Detoxify.predict": lambda t: baseline(package, t)}
    runs |= {name: (lambda t, s=scorer: ours(s, t)) for name, scorer in scorers.items()}
    expected = baseline(package, texts)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    found: dict[str, np.ndarray] = {}
    for run in runs.values():
        run(texts[:64])
    mixed = scorers[MIXED]._reader
    warm = mixed.exact_count, mixed.count
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            found[name] = run(texts)
            seconds[name].append(time.perf_counter() - start)
    again = (mixed.exact_count - warm[0]) / (mixed.count - warm[1])
    return {
        "seconds": seconds,
        "read again in float32": again,
        "band": mixed.band,
        "largest difference": {n: float(np.abs(v - expected).max()) for n, v in found.items()},
        "labels that differ": {n: int(((v >= 0.5) != (expected >= 0.5)).sum()) for n, v in found.items()},
        "tokens": float(np.mean([len(ids) for ids in package.tokenizer(list(texts))["input_ids"]])),
        "toxic share": float((expected >= 0.5).mean()),
    }


def compare(data: Path, count: int, rounds: int, threads: int) -> dict[str, Any]:
    """Time every route.

    Raises:
        AssertionError: a float32 value differs by more than 1e-6, or a label differs in mixed precision.
    """
    torch.set_num_threads(threads)
    texts = texts_of(data, count)
    with tempfile.TemporaryDirectory() as name:
        make_checkpoint(Path(name), texts, texts_of(data, 20000))
        result = measure(Path(name), texts, rounds)
    for name in ("float32, torch", "float32, oneDNN"):
        assert result["largest difference"][name] <= 1e-6, f"{name} differs"
    assert not any(result["labels that differ"].values()), "a label differs"
    return {**result, "texts": count, "rounds": rounds, "versions": {"torch": torch.__version__}}


def table(result: dict[str, Any]) -> str:
    """Texts per second, ratio to the baseline, largest difference, labels that differ."""
    every, base = result["seconds"], result["seconds"]["Detoxify.predict"]
    lines = [
        "### Classifier scoring, RoBERTa-base shape",
        "",
        f"{result['texts']} sentences of BOLD, {result['tokens']:.1f} tokens each; {result['rounds']} rounds in turns, "
        f"medians. {result['toxic share']:.1%} of the labels are positive; in mixed precision "
        f"{result['read again in float32']:.1%} of the texts were read again in float32.",
        "",
        "| route | seconds (each round) | texts/s | faster by (each round) | largest difference | labels that differ |",
        "|---|---|---|---|---|---|",
    ]
    for name, runs in every.items():
        ratios = sorted(b / s for b, s in zip(base, runs, strict=True))
        median = statistics.median(runs)
        each = ", ".join(f"{s:.1f}" for s in runs)
        lines.append(
            f"| {name} | **{median:.1f}** ({each}) | {result['texts'] / median:.1f} | "
            f"{statistics.median(base) / median:.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f}) | "
            f"{result['largest difference'][name]:.1e} | {result['labels that differ'][name]} |"
        )
    return "\n".join(lines)
