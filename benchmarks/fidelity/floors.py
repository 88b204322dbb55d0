r"""Floors: what models that cannot answer would score, by task and instrument; writes safety_eval/measure/floors.json.

    python benchmarks/fidelity/floors.py --data DIR --write             every task whose instruments are on this machine
    python benchmarks/fidelity/floors.py --data DIR --write xstest      some; the others' rows stay
    python benchmarks/fidelity/floors.py --data DIR --write --scorer toxigen=hf_classifier toxigen
                                                            by an instrument whose weights this machine can have
    python benchmarks/fidelity/floors.py --data DIR --write --scorer-args truth_similarity:embedding=none \
        truthfulqa_generation                               by one with arguments: its rows stand beside the others

Four models: two with random weights (Llama's and GPT-2's architecture, tiny, SmolLM2's tokenizer, 24 new tokens; of
both the better row), one that always says 'I have no comment.', and the prompt's own words. Each is run by the product
on the quickstart prompts and on `--limit` prompts drawn of the default data.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from safety_eval import run
from safety_eval.core import plugins
from safety_eval.core.errors import SafetyEvalError
from safety_eval.core.interfaces import ModelSpec
from safety_eval.engines._transformers.source import locate
from safety_eval.measure.floors import instrument
from safety_eval.runs import run_file, spelling

ROOT = Path(__file__).resolve().parents[2]
FLOORS = ROOT / "safety_eval" / "measure" / "floors.json"
TASKS = (
    "truthfulqa_generation",
    "truthfulqa_choice",
    "toxigen",
    "toxigen_likelihood",
    "bold",
    "xstest",
    "false_refusals",
    "cyber_frr",
    "red_team",
    "bbq",
    "bbq_generation",
    "coreference",
    "stereotypes",
    "holistic_bias",
    "real_toxicity_prompts",
)
SCORERS = {
    "truthfulqa_generation": "truth_similarity",
    "toxigen": "profanity_check",
    "red_team": "risk_words",
    "real_toxicity_prompts": "profanity_check",
    "holistic_bias": "vader",
}
"""Instruments of machines without a network, where the task's own needs one; --scorer names others."""
NO_COMMENT = "I have no comment."
INSTRUMENTS: dict[str, dict[str, Any]] = {}
"""Digest -> scorer, arguments and identity of what measured."""


def random_model(folder: Path, kind: str) -> Path:
    """A model of random weights that reads and writes the tokens of SmolLM2."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, LlamaConfig

    tokenizer = AutoTokenizer.from_pretrained(locate(ModelSpec("smollm2")).tokenizer)
    size, ends = len(tokenizer), {"bos_token_id": 0, "eos_token_id": 0}
    config = {
        "llama": lambda: LlamaConfig(
            vocab_size=size,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=4096,
            initializer_range=0.3,
            **ends,
        ),
        "gpt2": lambda: GPT2Config(
            vocab_size=size, n_embd=32, n_layer=2, n_head=4, n_positions=4096, initializer_range=0.3, **ends
        ),
    }[kind]()
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def measured(task: str, version: str, asked: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """The whole-run estimates of one model on one task, each with the instrument that it was made by."""
    run(tasks=(task,), data_version={task: version}, output_path=folder, **asked)
    record = run_file.read(folder).tasks[task]
    INSTRUMENTS.update(
        {
            instrument(identity): {
                "scorer": name,
                "arguments": record.arguments.get(name, {}),
                "identity": identity,
            }
            for name, identity in record.instruments.items()
        }
    )
    made_by = {"": "", **{name: instrument(identity) for name, identity in record.instruments.items()}}
    rows = json.loads((folder / "results.json").read_text())
    rows = rows["estimates"] if isinstance(rows, dict) else rows
    kept = ("task", "data_version", "scorer", "metric", "axis", "group", "better", "value", "lowest", "highest")
    return [
        {
            **{name: round(r[name], 6) if isinstance(r[name], float) else r[name] for name in kept},
            "instrument": made_by[r["scorer"]],
        }
        for r in rows
        if r["axis"] in ("total", "macro") and r["value"] is not None
    ]


def better(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The row that stands best: of lower-is-better numbers the one whose worst case is lowest."""
    sign = -1.0 if rows[0]["better"] == "higher" else 1.0
    end = "lowest" if rows[0]["better"] == "higher" else "highest"
    return min(rows, key=lambda r: sign * (r[end] if r[end] is not None else r["value"]))


def floors(
    task: str, scorer: str, arguments: dict[str, dict[str, str]], of_data: dict[str, Any], root: Path
) -> list[dict[str, Any]]:
    """Rows of a task: every floor on its quickstart prompts and on its default data.

    Args:
        scorer: that replaces the task's own; '' = none does. arguments: of scorers, by name.
        of_data: how many prompts of the default data, from where.
    """
    entry = plugins.find("tasks", task)
    script = root / "declines.json"
    script.write_text(json.dumps({"": NO_COMMENT}))
    models: dict[str, list[dict[str, Any]]] = {
        "random": [
            {"model": str(root / kind), "device": "cpu", "generation": {"max_new_tokens": 24}}
            for kind in ("llama", "gpt2")
        ],
    }
    if entry.kind == "generate":
        models["declines"] = [{"model": str(script), "engine": "echo"}]
        models["echo"] = [{"model": "echo", "engine": "echo"}]
    own = entry.scorers[0].name if entry.scorers else ""
    scored: dict[str, Any] = {"scorers": {task: scorer}} if scorer and scorer != own else {}
    scored |= {"scorer_args": arguments} if arguments else {}
    out = []
    for version in dict.fromkeys((entry.versions[0], *(v for v in entry.versions if v == "quickstart"))):
        for who, several in models.items():
            found: dict[tuple[str, ...], list[dict[str, Any]]] = {}
            for i, asked in enumerate(several):
                more = {} if version == "quickstart" else of_data
                folder = root / f"{task}-{version}-{who}-{i}"
                for row in measured(task, version, {**scored, **asked, **more}, folder):
                    found.setdefault((row["metric"], row["scorer"], row["axis"], row["group"]), []).append(row)
            out += [{"who": who, **better(rows)} for rows in found.values()]
    return out


def write(rows: list[dict[str, Any]], known: dict[str, Any]) -> None:
    """floors.json: a line a row, and what each instrument that has rows says of itself."""
    used = {digest: known[digest] for digest in sorted({row["instrument"] for row in rows} - {""})}
    instruments = ",\n".join(f"{json.dumps(digest)}: {json.dumps(what)}" for digest, what in used.items())
    lines = ",\n".join(json.dumps(row) for row in rows)
    FLOORS.write_text(f'{{"instruments": {{\n{instruments}\n}},\n"floors": [\n{lines}\n]}}\n', encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", help="default: all")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=60)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--scorer", action="append", default=[], metavar="TASK=NAME", help="default: offline ones")
    parser.add_argument("--scorer-args", action="append", default=[], metavar="NAME:k=v,...")
    asked = parser.parse_args()
    arguments = spelling.scorer_args(asked.scorer_args) if asked.scorer_args else {}
    scorers = {**SCORERS, **dict(given.split("=", 1) for given in asked.scorer)}
    held = json.loads(FLOORS.read_text())
    kept, of_kept = held["floors"], held["instruments"]
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        for kind in ("llama", "gpt2"):
            random_model(root / kind, kind)
        for task in asked.tasks or TASKS:
            try:
                of_data = {"limit": asked.limit, "data": asked.data}
                rows = floors(task, scorers.get(task, ""), arguments, of_data, root)
            except SafetyEvalError as error:
                print(f"{task}: not measured here: {error}", flush=True)
                continue
            print(f"{task}: {len(rows)} rows", flush=True)
            asked_now = [(i["scorer"], i["arguments"]) for i in INSTRUMENTS.values()]
            old = {d for d, i in of_kept.items() if (i["scorer"], i["arguments"]) in asked_now}
            renewed = {"", *INSTRUMENTS, *old}
            kept = [row for row in kept if row["task"] != task or row["instrument"] not in renewed] + rows
            if asked.write:
                write(kept, {**of_kept, **INSTRUMENTS})
    return 0


if __name__ == "__main__":
    sys.exit(main())
