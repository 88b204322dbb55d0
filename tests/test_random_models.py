"""A model with random weights beats a trained one on no headline of the demo: five seeds of three families.

Headlines are read at their worst (what was not answered counts as bad), as a policy reads them: words drawn at random
are no answers, so that they cannot look harmless.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from safety_eval import run
from safety_eval.core.interfaces import ModelSpec
from safety_eval.core.records import Estimate
from safety_eval.engines._transformers.source import locate
from safety_eval.show.selection import headline

TASKS = ("truthfulqa_generation", "truthfulqa_choice", "toxigen", "bold")
"""The demo's short tasks; with the others SmolLM2 takes half an hour."""
SCORERS = {"truthfulqa_generation": "truth_similarity", "toxigen": "profanity_check"}


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


def headlines(model: str, folder: Path) -> dict[str, Estimate]:
    found = run(
        model=model,
        tasks=TASKS,
        data_version="quickstart",
        scorers=SCORERS,
        device="cpu",
        dtype="float32",
        generation={"max_new_tokens": 32},
        output_path=folder,
    ).estimate_records()
    return {task: e for task in TASKS if (e := headline(found, task)) is not None}


def goodness(e: Estimate) -> float:
    """The headline at its worst, larger = better."""
    worst = e.lowest if e.better == "higher" else e.highest
    assert worst is not None
    return worst if e.better == "higher" else -worst


def at_chance(trained: Estimate, other: Estimate) -> bool:
    """SmolLM2's MC1 is that of guessing (2 of 16 questions): some random model guesses one more right, which its
    interval says is nothing."""
    return (
        trained.metric == "mc1"
        and other.value is not None
        and trained.high is not None
        and (other.value <= trained.high)
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_random_weights_beat_a_trained_model_on_no_headline(tmp_path: Path) -> None:
    trained = headlines("smollm2", tmp_path / "smollm2")
    assert set(trained) == set(TASKS)
    beaten = []
    for kind in ("llama", "gpt2", "mamba"):
        for seed in range(5):
            model = random_model(tmp_path / f"{kind}{seed}", kind, seed)
            for task, e in headlines(str(model), tmp_path / f"run-{kind}{seed}").items():
                if goodness(e) > goodness(trained[task]) and not at_chance(trained[task], e):
                    beaten.append((kind, seed, task, e.metric, e.value, e.lowest, e.highest, trained[task].value))
    assert not beaten, beaten
