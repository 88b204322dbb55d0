"""Is every causal architecture of transformers measured right, or refused with the reason?

    python benchmarks/fidelity/architectures.py --write              all; writes docs/explanation/architectures.md
    python benchmarks/fidelity/architectures.py llama bloom --write  some of them; the others' rows stay

For each class a tiny model with random weights is written to a folder and opened by the engine `transformers`. Its
log-likelihoods and greedy answers for prompts of unequal lengths, some beyond the model's window, are compared with
transformers' own model on one sequence at a time. Each class runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "explanation" / "architectures.md"
ROWS = Path(__file__).with_suffix(".json")
SECONDS = 300
MOST_PARAMETERS = 30_000_000
TOLERANCE = 1e-3

SIZES: Mapping[str, Any] = {
    "vocab_size": 420,
    "hidden_size": 64,
    "d_model": 64,
    "n_embd": 64,
    "dim": 64,
    "model_dim": 64,
    "embedding_size": 64,
    "num_hidden_layers": 4,
    "n_layer": 4,
    "n_layers": 4,
    "num_layers": 4,
    "decoder_layers": 2,
    "encoder_layers": 2,
    "num_attention_heads": 4,
    "n_head": 4,
    "n_heads": 4,
    "num_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_attention_heads": 4,
    "num_key_value_heads": 2,
    "n_head_kv": 2,
    "head_dim": 16,
    "global_head_dim": 16,
    "intermediate_size": 96,
    "ffn_dim": 96,
    "n_inner": 96,
    "decoder_ffn_dim": 96,
    "encoder_ffn_dim": 96,
    "d_ff": 96,
    "moe_intermediate_size": 48,
    "shared_expert_intermediate_size": 48,
    "num_experts": 4,
    "n_routed_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "num_experts_per_token": 2,
    "moe_topk": 2,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "q_lora_rank": 24,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 12,
    "qk_head_dim": 24,
    "sliding_window": 16,
    "attention_window": 16,
    "attention_chunk_size": 16,
    "max_position_embeddings": 128,
    "n_positions": 128,
    "max_seq_len": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 3,
    "initializer_range": 0.2,
    "init_std": 0.2,
    "state_size": 8,
    "mamba_d_state": 8,
    "ssm_state_size": 8,
    "mamba_n_heads": 8,
    "mamba_d_head": 16,
    "mamba_num_heads": 8,
    "mamba_head_dim": 16,
    "mamba_expand": 2,
    "expand": 2,
    "time_step_rank": 4,
    "lru_width": 64,
    "attention_hidden_size": 64,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": 420,
    "num_kv_shared_layers": 0,
    "image_size": 32,
    "patch_size": 16,
    "word_embed_proj_dim": 64,
    "ffn_hidden_size": 96,
    "num_codebooks": 2,
    "block_size": 16,
    "depth": 2,
    "audio_vocab_size": 420,
}
"""Settings of a tiny model by the names that configurations give them."""
_WIDE = {"head_dim": 16, "num_key_value_heads": 2}
OWN: Mapping[str, Mapping[str, Any]] = {
    "gptj": {"rotary_dim": 8},
    "codegen": {"rotary_dim": 8},
    "hunyuan_v1_dense": _WIDE,
    "hunyuan_v1_moe": _WIDE,
    "ministral": _WIDE,
    "nemotron": _WIDE,
    "qwen4_exp": _WIDE,
    "qwen4_exp_text": _WIDE,
    "reformer": {"is_decoder": True},
    "deepseek_v2": {"num_experts_per_tok": 2, "n_routed_experts": 4, "topk_method": "greedy"},
    "gemma3n_text": {"activation_sparsity_pattern": [0.0] * 4},
    "gemma3n": {"activation_sparsity_pattern": [0.0] * 4},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "xmod": {"default_language": "en_XX"},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"] * 2},
    "xlstm": {"embedding_dim": 64},
    "zamba": {"attention_hidden_size": 128, "attention_head_dim": 32},
    "zamba2": {
        "attention_hidden_size": 128,
        "attention_head_dim": 32,
        "mamba_headdim": 16,
        "n_mamba_heads": 8,
        "mamba_ngroups": 1,
        "hybrid_layer_ids": [1, 3],
        "num_mem_blocks": 1,
    },
    "qwen2": {"use_sliding_window": False},
    "qwen2_moe": {"use_sliding_window": True, "max_window_layers": 2},
    "falcon": {"new_decoder_architecture": True, "num_kv_heads": 2},
    "mamba2": {"num_heads": 8, "head_dim": 16, "n_groups": 1},
    "recurrent_gemma": {"attention_window_size": 16, "num_hidden_layers": 3},
    "jamba": {"num_hidden_layers": 8},
    "falcon_h1": {"mamba_d_ssm": 128, "mamba_n_groups": 1},
    "bamba": {"mamba_n_groups": 1, "attn_layer_indices": [1]},
    "phi3": {"rope_parameters": None},
    "openai-gpt": {},
    "ctrl": {"dff": 96},
    "minicpm3": {"v_head_dim": 16},
    "xglm": {"attention_heads": 4, "ffn_dim": 96},
    "opt": {"word_embed_proj_dim": 64},
}
_GEMMA4 = {
    "vocab_size": 420,
    "hidden_size": 64,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "global_head_dim": 32,
    "intermediate_size": 96,
    "sliding_window": 16,
    "num_kv_shared_layers": 0,
    "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": 420,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 3,
}
KEYWORDS: Mapping[str, Mapping[str, Any]] = {
    "gemma4_text": _GEMMA4,
    "gemma4_unified_text": _GEMMA4,
    "gemma4": {"text_config": _GEMMA4},
    "gemma4_unified": {"text_config": _GEMMA4},
    "reformer": {
        "is_decoder": True,
        "vocab_size": 420,
        "hidden_size": 64,
        "num_attention_heads": 4,
        "attention_head_size": 16,
        "feed_forward_size": 96,
        "axial_pos_embds_dim": (32, 32),
        "axial_pos_shape": (8, 16),
        "max_position_embeddings": 128,
        "num_hashes": 1,
    },
    "prophetnet": {
        "vocab_size": 420,
        "hidden_size": 64,
        "num_encoder_layers": 2,
        "num_decoder_layers": 2,
        "encoder_ffn_dim": 96,
        "decoder_ffn_dim": 96,
        "num_encoder_attention_heads": 4,
        "num_decoder_attention_heads": 4,
        "max_position_embeddings": 128,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 3,
    },
}
"""Configurations that derive so much that they are made of keywords instead of being changed."""
BY_LAYER = (
    "layer_types",
    "mlp_layer_types",
    "layers_block_type",
    "block_types",
    "attention_layers",
    "no_rope_layers",
    "sliding_window_pattern",
    "num_experts_per_layer",
    "num_attention_heads_per_layer",
)
"""Lists with an entry for each layer: shortened so that every kind of layer remains."""
PROMPTS = (
    "The quick",
    "What is the capital of France? It is",
    "one two three one two three and the lazy dog jumps over it " * 2,
    "Yes",
    "They pass through you. " * 3,
)
CHOICES = (" yes", " no, it is", " no")

HEAD = """# Architectures

What became of every causal language model that transformers {version} offers: a tiny model with random weights in
float32, opened by the engine `transformers`, its log-likelihoods and greedy answers compared with transformers' own on
one sequence at a time, for prompts of unequal lengths, some of them beyond the model's window. Written by
`python benchmarks/fidelity/architectures.py --write`.

The check that stands before every run does the same with the model at hand, with answers that cross its window and that
begin beyond it. It outgrows a window of up to 192 tokens, and a longer one where that takes seconds (tokens x
parameters at most 2e10, tokens x vocabulary at most 3e7: a window of 512 for a tiny model, not for one of a billion
parameters). A longer window is outgrown when the first prompt is that long: it and its like then go one at a time, on
transformers' own path, after two greedy answers that have to be those of a pass without a cache; where they are not,
each answer beyond the window is an error with that reason. `run.json` says under `path` which of these was done.

*flat*: the fast path. *plain*: transformers' own `generate` and padded batches. *one by one*: the same without batches,
since the model's numbers depend on what shares its batch. *refused*: the engine says why and stops. *not built*: no
tiny model could be made from the class's default configuration, so it was not tried.
"""

sys.path.insert(0, str(ROOT / "tests"))


@dataclass(frozen=True)
class Row:
    """What became of a class: `state` is right, refused, WRONG, TRACEBACK or 'not built'."""

    kind: str
    cls: str
    state: str
    path: str = ""
    why: str = ""


def kinds() -> dict[str, str]:
    """Model type -> class of every causal language model of transformers."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    named = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items()
    return {kind: str(names[0] if isinstance(names, tuple) else names) for kind, names in named}


def shrink(config: Any, own: Mapping[str, Any]) -> Any:
    """Make a configuration tiny, in place, and the configurations inside it."""
    for value in list(vars(config).values()):
        if hasattr(value, "to_dict"):
            shrink(value, own)
    layers = next((SIZES[n] for n in ("num_hidden_layers", "n_layer", "num_layers") if hasattr(config, n)), 4)
    for name, value in {**SIZES, **own}.items():
        if name in own or (_has(config, name) and not (getattr(config, name) is None and "window" not in name)):
            try:
                setattr(config, name, value)
            except (AttributeError, TypeError, ValueError, NotImplementedError):
                continue
    if hasattr(config, "qk_rope_head_dim") and hasattr(config, "head_dim"):
        config.head_dim = config.qk_rope_head_dim
        config.num_key_value_heads = config.num_attention_heads
    count = int(getattr(config, "num_hidden_layers", layers) or layers)
    for name, value in vars(config).copy().items():
        if isinstance(value, list) and name in BY_LAYER:
            kept = sorted({*value}, key=value.index) if all(isinstance(v, str) for v in value) else value
            setattr(config, name, [kept[i % len(kept)] for i in range(count)] if kept else value)
    return config


def _has(config: Any, name: str) -> bool:
    try:
        return hasattr(config, name)
    except Exception:  # some configurations refuse to say it of all layers at once
        return False


def build(kind: str, folder: Path, **own: Any) -> Any:
    """Write a tiny model of a kind with the tests' tokenizer; its configuration."""
    from transformers import AutoConfig

    if kind in KEYWORDS:
        return _save(AutoConfig.for_model(kind, **KEYWORDS[kind]), folder)
    config = shrink(AutoConfig.for_model(kind), {**OWN.get(kind, {}), **own})
    # Made anew, so that what a configuration derives from its sizes is derived again.
    plain = json.loads(config.to_json_string(use_diff=False))
    if "time_step_limit" in plain:
        plain["time_step_limit"] = (0.0, float("inf"))
    return _save(type(config).from_dict(plain), folder)


def _save(config: Any, folder: Path) -> Any:
    import torch
    from tiny_models import byte_level_tokenizer
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    with torch.device("meta"):
        size = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
    if size > MOST_PARAMETERS:
        raise MemoryError(f"{size / 1e6:.0f} million parameters, although it was shrunk")
    model = AutoModelForCausalLM.from_config(config)
    model.float().eval().save_pretrained(folder)
    byte_level_tokenizer().save_pretrained(folder)
    return model.config


def truth(folder: Path) -> tuple[Any, Any]:
    """transformers' own model and tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    # Defaults of a checkpoint (forced tokens, penalties) are not applied by the engine either.
    model.generation_config = GenerationConfig(eos_token_id=2, pad_token_id=3, do_sample=False)
    return model, AutoTokenizer.from_pretrained(folder)


def compare(folder: Path, engine: Any, prompts: Sequence[str] = PROMPTS) -> str:
    """How the engine's numbers differ from those of one sequence at a time; '' = they do not."""
    import torch

    from safety_eval.core.interfaces import Settings
    from safety_eval.core.records import Prompt

    model, tokenizer = truth(folder)

    def logprobs(ids: list[int]) -> Any:
        with torch.inference_mode():
            return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float().log_softmax(-1)

    asked = [Prompt("t", str(i), text, choices=CHOICES) for i, text in enumerate(prompts)]
    weighed = {o.prompt_id: o for o in engine.choose(asked, Settings("t"))}
    for prompt in asked:
        if weighed[prompt.id].error:
            return f"choices fail: {weighed[prompt.id].error}"
        for choice, value in zip(CHOICES, weighed[prompt.id].choice_logprobs, strict=True):
            known = len(tokenizer(prompt.text.rstrip())["input_ids"])
            moved = prompt.text[len(prompt.text.rstrip()) :]
            tail = tokenizer(prompt.text.rstrip() + moved + choice)["input_ids"]
            scores = logprobs(tail)
            expected = sum(float(scores[i - 1, tail[i]]) for i in range(known, len(tail)))
            if not abs(value - expected) <= TOLERANCE * max(1.0, abs(expected)):
                return f"log-likelihood {value:.4f}, alone {expected:.4f} ({known} tokens before it)"
    answers = {o.prompt_id: o for o in engine.generate(asked, Settings("t", max_new_tokens=8))}
    for prompt in asked:
        ids = tokenizer(prompt.text, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8)
        new = out[0, ids.shape[1] :].tolist()
        text = tokenizer.decode([t for t in new if t != 2], skip_special_tokens=True)
        if answers[prompt.id].error:
            return f"an answer fails: {answers[prompt.id].error}"
        if answers[prompt.id].text != text:
            best = logprobs([*ids[0].tolist(), *new])[ids.shape[1] - 1 : -1].topk(2).values
            if float((best[:, 0] - best[:, 1]).min()) > TOLERANCE:
                return f"answer {answers[prompt.id].text!r}, alone {text!r}"
    return ""


def examine(kind: str, cls: str) -> Row:
    """One class, from nothing to its row."""
    from safety_eval.core.errors import UserError
    from safety_eval.core.interfaces import ModelSpec
    from safety_eval.engines.transformers import ENGINE

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / kind
        try:
            build(kind, folder)
        except Exception as error:
            why = (str(error).strip().splitlines() or [""])[0]
            return Row(kind, cls, "not built", why=f"{type(error).__name__}: {why}"[:160])
        try:
            engine = ENGINE.build(ModelSpec(str(folder), device="cpu"))
            differs = compare(folder, engine)
        except UserError as error:
            return Row(kind, cls, "refused", why=error.message.replace(str(folder), "it")[:200])
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            why = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
            return Row(kind, cls, "TRACEBACK", why=why[:200])
        return Row(kind, cls, "WRONG" if differs else "right", str(engine.identity["path"])[:160], differs)


def apart(kind: str, cls: str) -> Row:
    """`examine` in a child process: a crash or an endless class costs one row."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        signal.alarm(SECONDS)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os.write(write, json.dumps(asdict(examine(kind, cls))).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    if not text:
        return Row(kind, cls, "TRACEBACK", why=f"the process ended with status {status}")
    return Row(**json.loads(text))


def page(rows: list[Row]) -> str:
    """The table as Markdown."""
    from importlib.metadata import version

    counts: dict[str, int] = {}
    for row in rows:
        name = f"right, {row.path.split(' (')[0]}" if row.state == "right" else row.state
        counts[name] = counts.get(name, 0) + 1
    lines = [HEAD.format(version=version("transformers"))]
    lines += [", ".join(f"{n} {name}" for name, n in sorted(counts.items())) + ".", ""]
    lines += ["| model type | class | state | path | why |", "|---|---|---|---|---|"]
    clean = [(r.kind, r.cls, r.state, *r.path.partition(" (")[::2], r.why) for r in rows]
    lines += [
        f"| {kind} | {cls} | {state} | {path} | {(why or reason.removesuffix(')')).replace('|', '/')} |"
        for kind, cls, state, path, reason, why in clean
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", help="model types (default: all)")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    asked = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch
    from tiny_models import byte_level_tokenizer
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer  # noqa: F401

    # Loaded once, before the processes part.
    import safety_eval.engines.transformers  # noqa: F401

    byte_level_tokenizer()
    torch.set_num_threads(1)
    known = kinds()
    rows = {row["kind"]: Row(**row) for row in json.loads(ROWS.read_text())} if ROWS.exists() else {}
    for kind in asked.kinds or sorted(known):
        rows[kind] = row = apart(kind, known[kind])
        print(f"{row.state:10} {kind:24} {row.path or ''} {row.why}", flush=True)
    table = [rows[kind] for kind in sorted(rows) if kind in known]
    if asked.write:
        ROWS.write_text(json.dumps([asdict(row) for row in table], indent=1) + "\n", encoding="utf-8")
        PAGE.write_text(page(table), encoding="utf-8")
    return int(any(row.state in ("WRONG", "TRACEBACK") for row in table))


if __name__ == "__main__":
    sys.exit(main())
