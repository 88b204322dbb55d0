"""Every reader of a file that a stranger may have written: whatever lies in it, it is read or refused in a sentence.

FUZZED=5000 pytest tests/cli/test_fuzzed_files.py    as long as one likes; by default a few dozen of each.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from safety_eval import policy
from safety_eval.audit import cards, check_table, labels
from safety_eval.cli import main
from safety_eval.core import journal
from safety_eval.core.errors import SafetyEvalError
from safety_eval.core.records import Output, Prompt, Score, canonical
from safety_eval.core.store import read_json, read_records
from safety_eval.engines.echo import read_script
from safety_eval.evidence import attest, bundles, hashes
from safety_eval.runs import chain, config, results, run_file
from safety_eval.signoff import verdict
from safety_eval.signoff.decision import decide
from safety_eval.tasks._sources import file as prompt_file

TASK = Path(__file__).parents[1] / "pipeline" / "small_task.py"
MANY = settings(
    max_examples=int(os.environ.get("FUZZED", "40")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
POLICY = """
version: 1
name: fuzzed
signers: 0
ceilings: {unscored: 1.0, degenerate: 1.0}
rules:
  - {id: mood, task: small_task, metric: sentiment, group: every team, min: -0.9, because: a test,
     floor_met_because: a test}
"""
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=True),
    st.text(max_size=8),
    st.sampled_from(["", "\x00", "\ud800", "../x", "y" * 300, "2099-01-01T00:00:00Z", "cuda", 10**30, -1, 1e308]),
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("fuzzed")
    (home / "p.yaml").write_text(POLICY)
    asked = ["run", "--engine", "echo", "--model", "echo", "--tasks", str(TASK), "--policy", str(home / "p.yaml")]
    assert main([*asked, "--output-path", str(home / "r")]) == 0
    assert main(["signoff", str(home / "r"), "--policy", str(home / "p.yaml")]) in (0, 3, 4)
    asked_of = {"task": "t", "metric": "m", "scorer": "s", "flagged": None, "others": 9, "design": "two_phase"}
    said = {"schema": labels.SCHEMA, "asked": asked_of, "people": 1, "disagreed": 0, "bad": {"a": True, "b": False}}
    (home / "r" / "labels.json").write_text(json.dumps(said))
    return home / "r"


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for name, one in inside for place in _places(one, (*at, name)))]


def edited(draw: st.DataObject, value: Any) -> bytes:
    """A file of ours with some of its values replaced by anything, or any bytes at all."""
    if draw.draw(st.integers(0, 9)) == 0:
        return draw.draw(st.binary(max_size=200))
    value = copy.deepcopy(value)
    for _ in range(draw.draw(st.integers(1, 3))):
        place = draw.draw(st.sampled_from(_places(value)))
        put = draw.draw(VALUES)
        if not place:
            value = put
            continue
        inside = value
        for step in place[:-1]:
            inside = inside[step]
        if draw.draw(st.booleans()) or not isinstance(inside, dict):
            inside[place[-1]] = put
        else:
            del inside[place[-1]]
    text = json.dumps(value)
    return (
        canonical(json.loads(text)) if draw.draw(st.booleans()) and "NaN" not in text and "Inf" not in text else text
    ).encode() + b"\n"


def _run_file(path: Path) -> None:
    file = run_file.parse(read_json(path), path)
    chain.begun(file), chain.comparable(file), file.to_json()


def _kept(path: Path) -> None:
    bundles.read_kept(path.rename(path.with_name(bundles.KEPT)).parent)


def _labels(path: Path) -> None:
    labels.read(path)


def _results(path: Path) -> None:
    results.read(path.rename(path.with_name("results.json")).parent)


def _signers(path: Path) -> None:
    home = path.parent / attest.FOLDER
    home.mkdir(exist_ok=True)
    path.rename(home / "signers.json")
    for name in attest.ENVELOPES:
        (path.parent / name).write_bytes(b'{"payload":"","payloadType":"","signatures":[]}\n')
    attest.check(path.parent, b"", [])


def _envelope(path: Path) -> None:
    home = path.parent / attest.FOLDER
    home.mkdir(exist_ok=True)
    path.rename(path.parent / attest.ENVELOPES[0])
    attest._envelope(path.parent, attest.ENVELOPES[0])


READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "run.json": ("run.json", _run_file),
    "results.json": ("results.json", _results),
    "signoff.json": ("signoff.json", lambda p: verdict.table(verdict.from_json(read_json(p)))),
    "signoff.json as JUnit": ("signoff.json", lambda p: verdict.junit(verdict.from_json(read_json(p)))),
    "a prompt": ("small_task/prompts.jsonl", lambda p: list(read_records(p, Prompt))),
    "an output": ("small_task/outputs.jsonl", lambda p: list(read_records(p, Output))),
    "a score": ("small_task/scores/vader.jsonl", lambda p: list(read_records(p, Score, skip=1))),
    "a journal": ("journal.jsonl", journal.check),
    "manifest.json": ("evidence/manifest.json", lambda p: hashes.strict(p.read_bytes(), "manifest.json")),
    "kept.json": ("evidence/kept.json", _kept),
    "labels.json": ("labels.json", _labels),
    "signers.json": ("evidence/attestations/signers.json", _signers),
    "an envelope": ("evidence/attestations/verdict.dsse.json", _envelope),
    "a policy": ("", lambda p: policy.load(p)),
    "a configuration": ("run.json", lambda p: config.run_config(config.read_yaml(p))),
    "an echo script": ("run.json", read_script),
    "prompts of one's own": ("small_task/prompts.jsonl", prompt_file.load),
    "a scorer card": ("run.json", lambda p: cards.from_json(read_json(p))),
    "a printed table": ("results.json", check_table.check),
}


@pytest.mark.parametrize("name", READERS)
def test_whatever_lies_in_a_file_it_is_read_or_refused_in_a_sentence(run: Path, tmp_path: Path, name: str) -> None:
    source, read = READERS[name]
    if source:
        content = (run / source).read_bytes()
        lines = content.splitlines()[:4] if source.endswith("l") else [content]
        rows = [json.loads(line) for line in lines]
    else:
        rows = [policy.terms(policy.parse(POLICY))]

    @MANY
    @given(st.data())
    def reads(draw: st.DataObject) -> None:
        place = tmp_path / "x.json"
        at = draw.draw(st.integers(0, len(rows) - 1))
        lines = [canonical(row).encode() + b"\n" for row in rows]
        lines[at] = edited(draw, rows[at])
        place.write_bytes(b"".join(lines))
        try:
            read(place)
        except SafetyEvalError as error:
            assert error.message and "Traceback" not in error.message

    reads()


@pytest.mark.parametrize("kind", ["prompts", "outputs", "scores", "results", "run", "journal"])
def test_a_run_folder_of_any_content_is_judged_or_refused(run: Path, tmp_path: Path, kind: str) -> None:
    """`signoff` ends in a verdict or a sentence; a verdict on damaged records is never an approval."""
    files = {
        "run": "run.json",
        "results": "results.json",
        "journal": "journal.jsonl",
        "scores": "small_task/scores/vader.jsonl",
    }
    file = files.get(kind, f"small_task/{kind}.jsonl")
    terms, here = policy.parse(POLICY), Path(shutil.copytree(run, tmp_path / "r"))
    content = (run / file).read_bytes()

    @MANY
    @given(st.data())
    def judges(draw: st.DataObject) -> None:
        lines = content.splitlines(keepends=True) if file.endswith("l") else [content]
        at = draw.draw(st.integers(0, len(lines) - 1))
        changed = edited(draw, json.loads(lines[at]))
        (here / file).write_bytes(b"".join([*lines[:at], changed, *lines[at + 1 :]]))
        same = read_json(run / file) == _read(here / file) if kind == "run" else False
        try:
            assert decide(here, terms).decision == "cannot decide" or same or changed == lines[at]
        except SafetyEvalError as error:
            assert error.message

    judges()


def _read(path: Path) -> Any:
    try:
        return read_json(path)
    except SafetyEvalError:
        return None
