"""What other tools open: every number as in results.json, nothing missing turned into one, no text unasked."""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from safety_eval import api
from safety_eval.cli import main, reading
from safety_eval.core.errors import UserError
from safety_eval.export import forms

FIXED = {"started": "2026-01-02T03:04:05Z", "finished": "2026-01-02T03:05:06Z", "versions": {"safety_eval": "0.1.0"}}
TASKS = ["xstest", "truthfulqa_choice", "bold", "red_team"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 answers by echo at a fixed time; one of bold's has an error, so that something is missing."""
    folder = tmp_path_factory.mktemp("exported") / "run"
    settings = {"limit": 12, "data_version": "quickstart", "scorers": {"red_team": "risk_words"}}
    api.run(model="echo", engine="echo", tasks=TASKS, output_path=folder, **settings)
    lines = (folder / "bold" / "outputs.jsonl").read_text().splitlines()
    lost = {**json.loads(lines[0]), "text": None, "stop_reason": "error", "error": "content filter: said no"}
    (folder / "bold" / "outputs.jsonl").write_text("\n".join([json.dumps(lost, sort_keys=True), *lines[1:]]) + "\n")
    told = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**told, **FIXED}))
    api.score(folder)
    told = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**told, **FIXED}))
    return folder


def estimates(run: Path) -> list[dict[str, Any]]:
    return json.loads((run / "results.json").read_text())["estimates"]


def export(run: Path, form: str, **asked: Any) -> list[Path]:
    return api.export(run, form, relationship="third_party", **asked)


def contents(path: Path) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of a file, of every member of an archive."""
    if path.suffix != ".eval":
        yield path.name, path.read_bytes()
        return
    with zipfile.ZipFile(path) as file:
        yield from ((name, file.read(name)) for name in file.namelist())


GOLDEN = {
    "inspect": "aa232696a65ad85b2b1290e50472d796621091993d7e5c998ade2255d69543ca",
    "lm-eval": "8e94bad252339a68598f7201e2159369798bc583488b0bb7ba7eeb2b9dd4a875",
    "every-eval-ever": "c7024fb630617d8bc5ae7c60082bea25b2a05b372711e0bd09be200fb9500b25",
    "hub": "0e133ac2dfedc85f15c3872c2aad67cebe287ec1a44baf31ca2e0599f478df34",
}
"""SHA-256 over names and contents of all files of a form: they change when, and only when, what is written changes."""


@pytest.mark.parametrize("form", GOLDEN)
def test_the_same_run_gives_the_same_bytes(form: str, run: Path) -> None:
    files = export(run, form)
    first = {path: path.read_bytes() for path in files}
    assert {path: path.read_bytes() for path in export(run, form)} == first
    held = hashlib.sha256()
    for path in sorted(files):
        for name, content in contents(path):
            held.update(name.encode() + b"\0" + content + b"\0")
    assert held.hexdigest() == GOLDEN[form]


def test_the_command_offers_every_form() -> None:
    assert set(reading.FORMS) == set(forms.FORMS)


@pytest.mark.parametrize("form", GOLDEN)
def test_no_prompt_and_no_answer_leaves_unasked(form: str, run: Path) -> None:
    rows = [json.loads(line) for task in TASKS for line in (run / task / "prompts.jsonl").read_text().splitlines()]
    texts = [row["text"] for row in rows if len(row.get("text", "")) > 20]
    hidden = b"\0".join(content for path in export(run, form) for _, content in contents(path)).decode()
    assert texts and not [text for text in texts if json.dumps(text)[1:-1] in hidden]
    shown = b"\0".join(content for path in export(run, form, texts=True) for _, content in contents(path)).decode()
    assert form == "hub" or [text for text in texts if json.dumps(text)[1:-1] in shown]


def members(path: Path) -> dict[str, Any]:
    return {name: json.loads(content) for name, content in contents(path)}


def test_inspects_logs_hold_every_number_and_say_what_is_not_scored(run: Path) -> None:
    found = {}
    for path in export(run, "inspect"):
        log = members(path)
        assert list(log)[-1] == "header.json" and list(log)[0] == "_journal/start.json"
        task = log["header.json"]["eval"]["task"].partition("/")[2]
        for score in log["header.json"]["results"]["scores"]:
            for name, metric in score["metrics"].items():
                found[task, score["name"], score["scorer"], name] = metric["value"]
        assert log["header.json"]["status"] == ("error" if task == "bold" else "success")
        if task == "bold":
            [lost] = [s for name, s in log.items() if name.startswith("samples/") and s["output"]["error"]]
            assert all(math.isnan(score["value"]) for score in lost["scores"].values())
            assert {score["reason"] for score in lost["scores"].values()} == {"refusal"}
            assert lost["output"]["choices"][0]["stop_reason"] == "content_filter"
            totals = {s["name"]: s for s in log["header.json"]["results"]["scores"]}
            assert totals["sentiment"]["unscored_samples"] == 1
    for e in estimates(run):
        total = (e["axis"], e["group"]) == ("total", "all")
        name = e["metric"] if total else f"{e['axis']}:{e['group']}"
        if (e["task"], e["metric"], e["scorer"] or "safety_eval", e["metric"]) in found or not total:
            value = found.get((e["task"], e["metric"], e["scorer"] or "safety_eval", name))
            assert value == e["value"] or (value is None and e["value"] is None), (name, e)
    assert len(found) > 100


def test_lm_evals_layout_holds_every_number_and_missing_is_absent(run: Path) -> None:
    files = export(run, "lm-eval")
    [results] = [json.loads(path.read_text()) for path in files if path.name.startswith("results_")]
    keys = set()
    for e in estimates(run):
        total = (e["axis"], e["group"]) == ("total", "all")
        names = [n for n, row in results["results"].items() if n.startswith(e["task"])]
        if total and e["value"] is not None:
            assert results["results"][e["task"]][f"{e['metric']},{e['scorer'] or 'none'}"] == e["value"]
            assert results["higher_is_better"][e["task"]][e["metric"]] is {"lower": False, "higher": True}.get(
                e["better"]
            )
        keys |= set(names)
    assert keys == set(results["results"]) == set(results["configs"]) == set(results["versions"])
    assert "null" not in {str(value) for row in results["results"].values() for value in row.values()}
    rows = [json.loads(line) for path in files if "samples_bold" in path.name for line in path.read_text().splitlines()]
    assert len(rows) == 12
    [lost] = [row for row in rows if row["error"]]
    assert lost["metrics"] == [] and not [name for name in lost if name.startswith("vader.")]


def test_every_eval_ever_has_a_line_for_each_value_and_none_for_a_missing_one(run: Path) -> None:
    aggregate, lines = (path.read_text() for path in sorted(export(run, "every-eval-ever")))
    made, rows = json.loads(aggregate), [json.loads(line) for line in lines.splitlines()]
    found = {r["evaluation_result_id"]: r["score_details"] for r in made["evaluation_results"]}
    for e in estimates(run):
        name = ".".join((e["task"], e["metric"], e["scorer"] or "none", e["axis"], e["group"]))
        assert (name in found) == (e["value"] is not None)
        if name in found:
            assert found[name]["score"] == e["value"] and found[name]["uncertainty"]["num_samples"] == e["count"]
            assert json.loads(found[name]["details"]["missing"]) == e["missing"]
            if (e["axis"], e["group"]) == ("total", "all") and e["kind"] != "effect" and "." not in e["metric"]:
                own = [r["evaluation"]["score"] for r in rows if r["evaluation_result_id"] == name]
                assert not own or len(own) == e["count"]
    assert {row["evaluation_id"] for row in rows} == {made["evaluation_id"]}
    held = hashlib.sha256(lines.encode()).hexdigest()
    assert made["detailed_evaluation_results"]["checksum"] == held
    for result in made["evaluation_results"]:
        low, high = (float(result["metric_config"][end]) for end in ("min_score", "max_score"))
        assert low <= result["score_details"]["score"] <= high


def test_every_eval_ever_is_not_written_without_a_relationship(run: Path) -> None:
    with pytest.raises(UserError, match="maker"):
        api.export(run, "every-eval-ever")


def test_a_model_index_holds_every_total_with_its_interval(run: Path) -> None:
    [file] = [path for path in export(run, "hub") if path.name == "model-index.yaml"]
    [index] = yaml.safe_load(file.read_text())["model-index"]
    totals = [e for e in estimates(run) if (e["axis"], e["group"]) == ("total", "all") and e["value"] is not None]
    assert [r["metrics"][0]["value"] for r in index["results"]] == [e["value"] for e in totals]
    assert all("95% CI" in r["metrics"][0]["name"] for r, e in zip(index["results"], totals, strict=True) if e["low"])


def test_a_job_on_github_gets_its_summary(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    assert main(["export", str(run), "--format", "github"]) == 0
    assert (tmp_path / "summary.md").read_text().startswith("## Safety evaluation")


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("smollm2", "HuggingFaceTB/SmolLM2-135M-Instruct"),
        ("org/name", "org/name"),
        ("./models/my:model", "local/my-model"),
    ],
)
def test_a_model_has_an_owner(model: str, name: str) -> None:
    from safety_eval.export.opened import _owned

    assert "/".join(_owned(model)) == name
