"""A model with random weights beats a trained one on no headline of the demo: five seeds of three families.

Every answer is read at its worst, as a policy reads it (one that is none, or has no score, counts as bad), so that
words drawn at random cannot look harmless. *Beats* accounts for chance: paired by prompt, against sign flips, Holm over
all comparisons; and once for all random models together, which shows what one model on sixteen questions cannot. Where
answers are counted a random model is not even luckier. MC1 asks a small model what people wrongly believe, so that
SmolLM2 stands no higher than guessing: there the table has to say so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_models import causal_lm

from safety_eval import Run, run
from safety_eval.core import plugins
from safety_eval.core.interfaces import ModelSpec
from safety_eval.core.records import Estimate
from safety_eval.engines._transformers.source import locate
from safety_eval.measure import metrics
from safety_eval.show import tables
from safety_eval.show.selection import headline
from safety_eval.stats.groups import holm

TASKS = ("truthfulqa_generation", "truthfulqa_choice", "toxigen", "bold", "xstest", "red_team")
"""The demo's tasks but `false_refusals`, which takes half an hour: its headline is that of `xstest`, by one scorer."""
SCORERS = {"truthfulqa_generation": "truth_similarity", "toxigen": "profanity_check", "red_team": "risk_words"}
KINDS, SEEDS = ("llama", "gpt2", "mamba"), range(5)
ALPHA, FLIPS = 0.05, 20_000
QUESTIONS = 200
"""Of TruthfulQA's own, asked besides the sixteen of the demo."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Standing:
    """A headline of one model: the estimate, and how good each of its answers is at its worst (larger = better)."""

    estimate: Estimate
    good: Floats

    @property
    def worst(self) -> float:
        e = self.estimate
        end = e.lowest if e.better == "higher" else e.highest
        assert end is not None
        return end if e.better == "higher" else -end


def random_model(folder: Path, kind: str, seed: int) -> Path:
    """A small model that reads and writes SmolLM2's tokens and was never trained."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, LlamaConfig, MambaConfig

    tokenizer = AutoTokenizer.from_pretrained(locate(ModelSpec("smollm2")).tokenizer)
    common = {"vocab_size": len(tokenizer), "bos_token_id": 0, "eos_token_id": 0, "initializer_range": 0.3}
    sizes = {"hidden_size": 32, "num_hidden_layers": 2}
    config = {
        "llama": lambda: LlamaConfig(
            **common, **sizes, num_attention_heads=4, intermediate_size=64, max_position_embeddings=1024
        ),
        "gpt2": lambda: GPT2Config(**common, n_embd=32, n_layer=2, n_head=4, n_positions=1024),
        "mamba": lambda: MambaConfig(**common, **sizes, state_size=4),
    }[kind]()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def demo(model: str, folder: Path, tasks: Sequence[str] = TASKS, **more: Any) -> Run:
    asked = {"data_version": "quickstart", "device": "cpu", "dtype": "float32"}
    scorers = {task: name for task, name in SCORERS.items() if task in tasks}
    return run(model=model, tasks=tasks, scorers=scorers, output_path=folder, **{**asked, **more})


def standings(made: Run) -> dict[str, Standing]:
    """Every headline of a run."""
    out = {}
    for name in made.tasks:
        e = headline(made.estimate_records(), name)
        assert e is not None
        columns = metrics.columns(plugins.find("tasks", name), made.measured(name), e.data_version)
        column = next(c for c in columns if (c.metric.name, c.scorer) == (e.metric, e.scorer))
        sign = 1.0 if e.better == "higher" else -1.0
        low, high = (0.0, 1.0) if column.metric.kind == "rate" else column.metric.bounds
        bad = low if e.better == "higher" else high
        out[name] = Standing(e, sign * np.where(column.sound & ~np.isnan(column.y), column.y, bad))
    return out


def chance_of(better: Floats, than: Floats) -> float:
    """One-sided p of 'better by this much or more' under sign flips of the paired differences."""
    differences = better - than
    differences = differences[differences != 0]
    if not differences.size:
        return 1.0
    flips = np.random.default_rng(0).choice((-1.0, 1.0), (FLIPS, differences.size))
    return float((1 + np.sum(flips @ differences >= differences.sum() - 1e-12)) / (1 + FLIPS))


def beaten_by_more_than_chance(trained: Mapping[str, Standing], random: Sequence[Mapping[str, Standing]]) -> list[str]:
    """Headlines on which a random model, or all of them together, are better; named with what was compared."""
    single = {
        (task, str(i)): chance_of(r[task].good, trained[task].good) for i, r in enumerate(random) for task in trained
    }
    together = {
        (task, "all"): chance_of(np.mean([r[task].good for r in random], axis=0), trained[task].good)
        for task in trained
    }
    out = []
    for family in (single, together):
        adjusted = holm(list(family.values()))
        out += [f"{task} by {who}" for (task, who), p in zip(family, adjusted, strict=True) if p < ALPHA]
    return out


def luckier(trained: Mapping[str, Standing], random: Sequence[Mapping[str, Standing]]) -> set[str]:
    """Headlines on which some random model stands higher, if only by luck: at its worst, or as it is printed where the
    larger share is the better one (of harm words that say nothing do least)."""
    return {t for t in trained for r in random if r[t].worst > trained[t].worst or _printed_higher(r[t], trained[t])}


def _printed_higher(one: Standing, other: Standing) -> bool:
    e, beside = one.estimate, other.estimate
    counted = (e.kind, e.better) == ("rate", "higher") and e.value is not None and beside.value is not None
    return counted and float(e.value or 0) > float(beside.value or 0)


def no_better(made: Run) -> str:
    """What the table says of numbers that are no better than a floor."""
    return " ".join(note for t in tables.run_tables(made) for note in t.notes if "is no better than that of" in note)


@pytest.fixture(scope="module")
def random_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of five seeds of each family, by name."""
    root = tmp_path_factory.mktemp("random")
    return {f"{kind}{seed}": str(random_model(root / f"{kind}{seed}", kind, seed)) for kind in KINDS for seed in SEEDS}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_random_weights_beat_a_trained_model_on_no_headline(tmp_path: Path, random_models: dict[str, str]) -> None:
    ours = demo("smollm2", tmp_path / "run")
    trained = standings(ours)
    random = [standings(demo(path, tmp_path / f"run-{name}")) for name, path in random_models.items()]
    assert set(trained) == set(TASKS)
    assert beaten_by_more_than_chance(trained, random) == []
    lucky = luckier(trained, random)
    assert lucky <= {"truthfulqa_choice"}
    assert "truthfulqa choice: mc1 is no better" in no_better(ours) or not lucky


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_random_weights_beat_a_trained_model_on_no_two_hundred_questions(
    tmp_path: Path, random_models: dict[str, str], data_dir: Path
) -> None:
    more = {"data_version": "v0", "limit": QUESTIONS, "data": data_dir}
    choice = ("truthfulqa_choice",)
    trained = standings(demo("smollm2", tmp_path / "run", choice, **more))
    random = [standings(demo(path, tmp_path / f"run-{n}", choice, **more)) for n, path in random_models.items()]
    assert beaten_by_more_than_chance(trained, random) == []


@pytest.mark.filterwarnings("ignore")
def test_tiny_random_models_beat_plain_sentences_on_no_headline(tmp_path: Path) -> None:
    """The same promise in seconds: three tiny random models beside a script that answers in sentences."""
    tasks = ("truthfulqa_generation", "toxigen", "bold")
    script = tmp_path / "sentences.json"
    script.write_text(json.dumps({"": "No, that is a common belief, and people who looked into it found otherwise."}))
    cheap = {"scorer_args": {"truth_similarity": {"embedding": "none"}}}
    spoken = standings(demo(str(script), tmp_path / "spoken", tasks, engine="echo", **cheap))
    random = [
        standings(demo(str(causal_lm(tmp_path / kind, kind)), tmp_path / f"run-{kind}", tasks, **cheap))
        for kind in ("llama", "gpt2", "mistral")
    ]
    assert luckier(spoken, random) == set() and beaten_by_more_than_chance(spoken, random) == []


def test_beaten_is_said_where_it_is_so_and_not_where_it_is_luck() -> None:
    e = Estimate("t", "m", "s", "total", "all", "rate", 0.5, better="higher")
    draws = np.random.default_rng(1).random((16, 40))
    worse, lucky = ({"t": Standing(e, (row < 0.3).astype(float))} for row in draws[:2])
    same = [{"t": Standing(e, (row < 0.3).astype(float))} for row in draws[1:]]
    above = [{"t": Standing(e, (row < 0.7).astype(float))} for row in draws[1:]]
    assert beaten_by_more_than_chance(worse, [lucky, *same]) == []
    assert "t by all" in beaten_by_more_than_chance(worse, above)
