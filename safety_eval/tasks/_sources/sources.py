"""The published data sets, pinned: where each lives, at which commit, and the digest of its rows.

Rows are kept as published (blank choices and empty prompts included); what a task leaves out, it says.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Sequence
from hashlib import sha256

from safety_eval.tasks._sources.loading import (
    Home,
    Named,
    Row,
    Source,
    csv_rows,
    json_rows,
    jsonl_rows,
    parquet_rows,
)

TRUTHFULQA = "d71c110897f5d31c5d7f309e7bc316c152f6f031"
TRUTHFULQA_HUB = "741b8276f2d1982aa3d5b832d3ee81ed3b896490"
QA_PROMPT_SHA256 = "5c0da5f346e8652c9a85061a6e3aca6bc82e10a8a7dad4596fe980a9c9bae543"
BOLD_DOMAINS = ("gender", "political_ideology", "profession", "race", "religious_ideology")
TOXIGEN_GROUPS = (
    "asian",
    "bisexual",
    "black",
    "chinese",
    "immigrant",
    "jewish",
    "latino",
    "lgbtq",
    "mental_disability",
    "mexican",
    "middle_east",
    "muslim",
    "native_american",
    "physical_disability",
    "women",
)
SAFENLP_GROUPS = {
    "asian": "asian",
    "mexican": "mexican",
    "muslim": "muslim",
    "physical dis": "physical_disability",
    "jewish": "jewish",
    "middle-eastern": "middle_east",
    "chinese": "chinese",
    "mental dis": "mental_disability",
    "latino": "latino",
    "native-american": "native_american",
    "women": "women",
    "black": "black",
    "lgbtq": "lgbtq",
}
"""SafeNLP's names for the 13 groups -> ours, which are those of ToxiGen's own files."""
TOXIGEN_FILES = tuple(
    sorted([f"{mood}_{group}_1k" for mood in ("hate", "neutral") for group in TOXIGEN_GROUPS] + ["hate_trans_1k"])
)


def _questions(files: Sequence[Named]) -> list[Row]:
    name, file = files[0]
    if name.endswith(".parquet"):
        keep = ("type", "category", "question", "best_answer", "correct_answers", "incorrect_answers")
        return [{name: row[name] for name in keep} for row in parquet_rows(file)]
    return [_question(row) for row in csv_rows(file)]


def _question(row: Row) -> Row:
    found = {
        "type": row["Type"],
        "category": row["Category"],
        "question": row["Question"],
        "best_answer": row["Best Answer"],
        "correct_answers": [part.strip() for part in row["Correct Answers"].split(";")],
        "incorrect_answers": [part.strip() for part in row["Incorrect Answers"].split(";")],
    }
    if "Best Incorrect Answer" in row:
        found["best_incorrect_answer"] = row["Best Incorrect Answer"]
    return found


def _choices(files: Sequence[Named]) -> list[Row]:
    name, file = files[0]
    if name.endswith(".parquet"):
        return [
            {"question": r["question"], "mc1": r["mc1_targets"], "mc2": r["mc2_targets"]} for r in parquet_rows(file)
        ]
    rows = []
    for row in json_rows(file):
        named = {mc: row[f"{mc}_targets"] for mc in ("mc0", "mc1", "mc2") if f"{mc}_targets" in row}
        rows.append(
            {"question": row["question"]}
            | {name: {"choices": list(target), "labels": list(target.values())} for name, target in named.items()}
        )
    return rows


def _demonstrations(files: Sequence[Named]) -> list[Row]:
    rows = []
    for name, file in files:
        if name.endswith(".parquet"):
            prompts = [row["prompt"] for row in parquet_rows(file)]
        else:
            prompts = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        stem = name.removeprefix("prompts/").split("-")[0].removesuffix(".txt")
        rows += [{"file": stem, "prompt": prompt} for prompt in prompts]
    return rows


def _entities(files: Sequence[Named]) -> list[Row]:
    """BOLD's articles: the Hub has one file a domain, the authors' repository prompts and sentences apart."""
    if len(files) == len(BOLD_DOMAINS):
        return [row for _, file in files for row in jsonl_rows(file)]
    rows = []
    for domain, (_, prompts), (_, sentences) in zip(BOLD_DOMAINS, files[::2], files[1::2], strict=True):
        wikipedia = json.loads(sentences.read_text(encoding="utf-8"))
        for category, entities in json.loads(prompts.read_text(encoding="utf-8")).items():
            rows += [
                {
                    "domain": domain,
                    "name": name,
                    "category": category,
                    "prompts": found,
                    "wikipedia": wikipedia[category][name],
                }
                for name, found in entities.items()
            ]
    return rows


def _first_csv(files: Sequence[Named]) -> list[Row]:
    return csv_rows(files[0][1])


def _first_json(files: Sequence[Named]) -> list[Row]:
    return json_rows(files[0][1])


def _qa_prompt(files: Sequence[Named]) -> list[Row]:
    """The QA prompt, from its own file or out of the authors' presets.py, parsed, never executed."""
    name, file = files[0]
    text = file.read_bytes().decode("utf-8")
    candidates = _strings(ast.parse(text)) if name.endswith(".py") else iter((text,))
    for candidate in candidates:
        for found in (candidate, candidate.strip("\n")):
            if sha256(found.encode()).hexdigest() == QA_PROMPT_SHA256:
                return [{"text": found}]
    raise ValueError(f"no text with SHA-256 {QA_PROMPT_SHA256[:16]}...")


def _strings(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _truthfulqa(*files: str) -> Home:
    return Home("github", "sylinrl/TruthfulQA", TRUTHFULQA, files)


def _truthfulqa_hub(config: str) -> Home:
    file = f"{config}/validation-00000-of-00001.parquet"
    return Home("hub", "truthfulqa/truthful_qa", TRUTHFULQA_HUB, (file,))


QA_PROMPT = Source(
    "TruthfulQA's QA prompt",
    (_truthfulqa("truthfulqa/presets.py"), Home("mirror", "", "", ("truthfulqa_qa_prompt.txt",))),
    _qa_prompt,
    1,
    "f9cfb658cea1be631102f57a7ba9c0ab91662123b46bec85ca24dbc4fa9f8496",
    "Apache-2.0",
)
QUESTIONS = {
    "v0": Source(
        "TruthfulQA v0",
        (_truthfulqa_hub("generation"), _truthfulqa("data/v0/TruthfulQA.csv")),
        _questions,
        817,
        "e4b7b86cfdce5c3edd924d29d4d1479faabe300201eeabe02e0bfe880f81cf4c",
        "Apache-2.0",
    ),
    "v1": Source(
        "TruthfulQA v1",
        (_truthfulqa("data/v1/TruthfulQA.csv"),),
        _questions,
        817,
        "b27b3fce27456a0930951ad109093879062d4dc3e323a0d9400349fa5ae846b4",
        "Apache-2.0",
    ),
    "2025": Source(
        "TruthfulQA 2025",
        (_truthfulqa("TruthfulQA.csv"),),
        _questions,
        790,
        "67dcaa74dc17f490b07d6da69d8dc713f26c9c1729192969d8fc0689637911cf",
        "Apache-2.0",
    ),
}
CHOICES = {
    "v0": Source(
        "TruthfulQA v0 choices",
        (_truthfulqa_hub("multiple_choice"), _truthfulqa("data/v0/mc_task.json")),
        _choices,
        817,
        "8dc602622c2bd3d27a8f6d874e59114699510e90037fe2c450412801955667ba",
        "Apache-2.0",
    ),
    "v1": Source(
        "TruthfulQA v1 choices",
        (_truthfulqa("data/v1/mc_task.json"),),
        _choices,
        817,
        "becf5ec8d3e2b9fa9ffd7a8e9eac9b1841df8dffd8f269f4f0299b1cbbef3f8b",
        "Apache-2.0",
    ),
    "2025": Source(
        "TruthfulQA 2025 choices",
        (_truthfulqa("data/mc_task.json"),),
        _choices,
        790,
        "d298a44cf4e6f7b6fb59c7adcbafda0dbb5fdc0abf6b12610d14c321f2dbed42",
        "Apache-2.0",
    ),
}
SAFENLP = Source(
    "ToxiGen as revised in SafeNLP",
    (Home("github", "microsoft/SafeNLP", "e351b6cb892284cf843b88e363b1a6dbaded584e", ("data/toxiGen.json",)),),
    _first_json,
    6514,
    "57f7f56235e0f7ab124cb84b0fb16d8b07c9fc7d0b5d9dc2fa86af464a921cec",
    "see microsoft/SafeNLP data/LICENSE",
)
TOXIGEN_PROMPTS = Source(
    "ToxiGen's demonstration prompts",
    (
        Home(
            "github",
            "microsoft/TOXIGEN",
            "01517e814639e0334c920a3c502036c8158aac87",
            tuple(f"prompts/{name}.txt" for name in TOXIGEN_FILES),
        ),
        Home(
            "hub",
            "toxigen/toxigen-data",
            "",
            tuple(f"prompts/{name}-00000-of-00001.parquet" for name in TOXIGEN_FILES),
        ),
    ),
    _demonstrations,
    31000,
    "e608b32c294e529d808898c4811f7996eded57cdf2bf81551b627c275d793350",
    "see microsoft/TOXIGEN",
)
BOLD = Source(
    "BOLD",
    (
        Home(
            "hub",
            "AmazonScience/bold",
            "be5f5a99b386a7c4fa7ea905685ee2d2c98301eb",
            tuple(f"{domain}_prompt_wiki.json" for domain in BOLD_DOMAINS),
        ),
        Home(
            "github",
            "amazon-science/bold",
            "3ad652c773f5d1e30d5f6f61657ed934d768ecad",
            tuple(
                f"{kind}/{domain}_{end}.json"
                for domain in BOLD_DOMAINS
                for kind, end in (("prompts", "prompt"), ("wikipedia", "wiki"))
            ),
        ),
    ),
    _entities,
    7201,
    "de599cf6190a99dd51ee8cb9d4ac0904636b59724d44230906a3a37d5a2964fd",
    "CC BY-SA 4.0",
)
XSTEST = Source(
    "XSTest",
    (
        Home(
            "github",
            "paul-rottger/exaggerated-safety",
            "d7bb5bd738c1fcbc36edd83d5e7d1b71a3e2d84d",
            ("xstest_prompts.csv",),
        ),
        Home("hub", "Paul/XSTest", "", ("xstest_prompts.csv",)),
    ),
    _first_csv,
    450,
    "f1e02082d89378b6ea305c97179871d135ee131d3f9f825d83694caec42f2663",
    "CC BY 4.0",
)
CYBER_FRR = Source(
    "CyberSecEval's MITRE false-refusal prompts",
    (
        Home(
            "github",
            "meta-llama/PurpleLlama",
            "4be64c3a24442b51c76175e6ec67722cc3f5fe38",
            ("CybersecurityBenchmarks/datasets/mitre_frr/mitre_frr.json",),
        ),
    ),
    _first_json,
    750,
    "bc153dbad27309f70665cb7b6fa744100320594758842a58ae582da47105f97d",
    "MIT",
)
