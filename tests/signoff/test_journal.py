"""The journal binds from the first token: whatever is edited before sign-off, even when the run is then scored or asked
again, cannot be decided; and whatever was done to a run stands in its verdict."""

from __future__ import annotations

import datetime
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import evidence_bundle
import pytest

from safety_eval import api, policy
from safety_eval.cli import main
from safety_eval.core import journal
from safety_eval.core.errors import EvidenceError, SafetyEvalError
from safety_eval.core.records import canonical, digest
from safety_eval.core.store import read_json
from safety_eval.runs import answers, pipeline, resolve
from safety_eval.runs.config import run_config
from safety_eval.signoff.decision import decide

TASK = "planted_task"
TERMS = policy.parse(evidence_bundle.POLICY)
BAD = ("good", "sad", "awful", "fine")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two tasks, in no alphabetical order, under a registered policy."""
    folder = tmp_path_factory.mktemp("bound")
    (folder / "policy.yaml").write_text(evidence_bundle.POLICY)
    tasks = [evidence_bundle.TASK, "bold"]
    return evidence_bundle.answer_all(
        folder, BAD, "run", policy=str(folder / "policy.yaml"), tasks=tasks, data_version={"bold": "quickstart"}
    )


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def reasons(run: Path) -> str:
    verdict = decide(run, TERMS)
    assert verdict.decision == "cannot decide"
    return " ".join(b.sentence for b in verdict.blockers if b.kind == "evidence")


def _facts(change: Callable[[dict], object]) -> Callable[[Path], object]:
    def edit(run: Path) -> None:
        facts = read_json(run / "run.json")
        change(facts)
        (run / "run.json").write_text(json.dumps(facts, indent=1) + "\n")

    return edit


def _scores(run: Path) -> None:
    """Every sad answer is called happy."""
    path = answers.scores_file(run, TASK, "vader")
    rows = [json.loads(x) for x in path.read_text().splitlines()]
    better = [rows[0], *({**r, "values": {k: 0.5 for k in r["values"]}} for r in rows[1:])]
    path.write_text("".join(canonical(r) + "\n" for r in better))


def _outputs(run: Path) -> None:
    """Every sad answer becomes a good one, and its score is owed again."""
    path = answers.outputs_file(run, TASK)
    path.write_text(path.read_text().replace("sad", "good").replace("awful", "great"))
    (run / TASK / "scores" / "vader.jsonl").unlink()


def _as_long(run: Path) -> None:
    """Every score is another one, and no byte more or less."""
    path = answers.scores_file(run, TASK, "vader")
    head, *rows = path.read_text().splitlines(keepends=True)
    path.write_text(head + "".join(re.sub(r"0\.(\d)", lambda m: f"0.{9 - int(m[1])}", row) for row in rows))


def _fewer_prompts(run: Path) -> None:
    """The prompts that were answered badly were never asked, and run.json agrees."""
    path = answers.prompts_file(run, TASK)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[::2]))
    kept = answers.prompts(run, TASK)
    names = {p.id for p in kept}
    for file in (answers.outputs_file(run, TASK), answers.scores_file(run, TASK, "vader")):
        rows = file.read_text().splitlines(keepends=True)
        file.write_text("".join(r for r in rows if json.loads(r).get("prompt_id", next(iter(names))) in names))
    _facts(lambda f: f["tasks"][TASK].update(prompts=len(kept), prompts_digest=digest(kept)))(run)


def _registered_later(run: Path) -> None:
    lax = evidence_bundle.POLICY.replace("max: 0.5", "max: 0.99")
    (run / "policy.yaml").write_text(lax)
    _facts(lambda f: f["policy"].update(sha256=policy.registration(policy.parse(lax)).sha256))(run)


def _journal(change: Callable[[list[str]], list[str]]) -> Callable[[Path], object]:
    def edit(run: Path) -> None:
        path = run / journal.NAME
        path.write_text("".join(change(path.read_text().splitlines(keepends=True))))

    return edit


OTHER_WEIGHTS = _facts(lambda f: f["engine"].update(weights="0" * 64))
EDITS: dict[str, Callable[[Path], object]] = {
    "edited scores": _scores,
    "edited outputs": _outputs,
    "scores of the same length": _as_long,
    "fewer prompts": _fewer_prompts,
    "journal deleted": lambda run: (run / journal.NAME).unlink(),
    "journal cut to its first entry": _journal(lambda lines: lines[:1]),
    "journal cut at its end": _journal(lambda lines: lines[:-2]),
    "journal without its beginning": _journal(lambda lines: lines[3:]),
    "policy registered later": _registered_later,
    "another model": _facts(lambda f: f["config"].update(model="a-better-model")),
    "other weights": OTHER_WEIGHTS,
    "other settings": _facts(lambda f: f["tasks"][TASK]["settings"].update(chat_template="another")),
    "another seed": _facts(lambda f: f["asked"].update(seed=7)),
    "another limit": _facts(lambda f: f["asked"].update(limit=None, x=1)),
    "begun later": _facts(lambda f: f.update(started="2099-01-01T00:00:00Z")),
    "another data version": _facts(lambda f: f["tasks"]["bold"].update(data_version="paper")),
    "another instrument": _facts(lambda f: f["tasks"]["bold"]["instruments"]["vader"].update(version="9")),
    "another machine": _facts(lambda f: f["versions"].update(torch="9.9")),
    "stopped early": _facts(lambda f: f["tasks"]["bold"].update(stopped="pass")),
}


def again(run: Path, command: str) -> None:
    """The run's own command again, or `score`, as somebody would who hides an edit."""
    config = run_config({**read_json(run / "run.json")["config"], "output_path": str(run)})
    with suppress(SafetyEvalError):
        api.score(run) if command == "score" else pipeline.run(config)


@pytest.mark.parametrize("name", EDITS)
def test_what_is_edited_before_sign_off_cannot_be_decided(run: Path, name: str) -> None:
    assert not [b for b in decide(run, TERMS).blockers if b.kind == "evidence"]
    EDITS[name](run)
    assert reasons(run)


def _chained(run: Path, change: Callable[[list[dict]], list[dict]]) -> None:
    """The entries of a journal changed, and every hash made anew: its chain holds."""
    path, lines = run / journal.NAME, []
    for row in change([json.loads(line) for line in path.read_text().splitlines()]):
        previous = lines[-1]["hash"] if lines else journal.START
        line = {**row, "number": len(lines), "previous": previous}
        del line["hash"]
        lines.append({**line, "hash": digest(line)})
    path.write_text("".join(canonical(line) + "\n" for line in lines))


def test_every_record_file_is_bound_before_anything_is_built_on_it(made: Path) -> None:
    entries = journal.check(made / journal.NAME)
    events = [(str(e.event), e.facts.get("file", "")) for e in entries]
    for task in ("planted_task", "bold"):
        files = [f"{task}/{name}" for name in ("prompts.jsonl", "outputs.jsonl", "scores/vader.jsonl")]
        built = [events.index(pair) for pair in zip(("frozen", "grew", "grew"), files, strict=True)]
        assert built == sorted(built) and built[-1] < events.index(("measured", "results.json"))
        for name in files[1:]:
            *_, size = (e.facts["size"] for e in entries if str(e.event) == "grew" and e.facts["file"] == name)
            assert size == (made / name).stat().st_size


@pytest.mark.parametrize("its_hash", ["left", "made anew"])
def test_an_entry_that_was_edited_breaks_the_chain(run: Path, its_hash: str) -> None:
    path = run / journal.NAME
    lines = path.read_text().splitlines(keepends=True)
    row = {**json.loads(lines[3]), "at": "2020-01-01T00:00:00Z"}
    row["hash"] = row["hash"] if its_hash == "left" else digest({k: v for k, v in row.items() if k != "hash"})
    path.write_text("".join([*lines[:3], canonical(row) + "\n", *lines[4:]]))
    with pytest.raises(EvidenceError, match=f"line {4 if its_hash == 'left' else 5}: the chain is broken"):
        journal.check(path)


def _late_instrument(rows: list[dict]) -> list[dict]:
    named = next(r for r in rows if r["event"] == "instrument")
    scores = f"{named['facts']['task']}/scores/vader.jsonl"
    rest = [r for r in rows if r is not named]
    at = next(i for i, r in enumerate(rest) if r["facts"].get("file") == scores)
    return [*rest[: at + 1], named, *rest[at + 1 :]]


def _asked_otherwise_at_first(rows: list[dict]) -> list[dict]:
    at = next(i for i, r in enumerate(rows) if r["event"] == "settings")
    other = {**rows[at], "facts": {**rows[at]["facts"], "settings": "0" * 64}}
    return [*rows[:at], other, *rows[at:]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_late_instrument, "was written into the journal only after the first record"),
        (_asked_otherwise_at_first, "the settings of planted_task was changed after the run began"),
    ],
)
def test_a_journal_made_anew_shows_what_was_done_too_late(run: Path, change, words: str) -> None:
    _chained(run, lambda rows: rows)
    assert not [b for b in decide(run, TERMS).blockers if b.kind == "evidence"]
    _chained(run, change)
    assert words in reasons(run)


@pytest.mark.parametrize("command", ["score", "run"])
@pytest.mark.parametrize("name", EDITS)
def test_nor_when_the_run_is_scored_or_asked_again_to_hide_it(run: Path, name: str, command: str) -> None:
    EDITS[name](run)
    again(run, command)
    killed_there = (name, command) == ("journal cut at its end", "run")
    assert bool(reasons(run)) != killed_there


@pytest.mark.parametrize("name", ["edited scores", "edited outputs", "fewer prompts"])
@pytest.mark.parametrize("lines", range(1, 20))
def test_a_journal_cut_anywhere_hides_no_edit(run: Path, name: str, lines: int) -> None:
    """Cut at its end and asked again it is a run that was killed there; what was bound before the cut stays bound."""
    _journal(lambda rows: rows[:-lines])(run)
    EDITS[name](run)
    again(run, "run")
    assert reasons(run)


def test_the_end_of_an_old_run_is_bound_and_asking_again_for_nothing_changes_nothing(run: Path) -> None:
    before = {p: p.read_bytes() for p in (run / "run.json", run / journal.NAME)}
    again(run, "run")
    assert {p: p.read_bytes() for p in before} == before
    _facts(lambda f: f.update(finished="2099-01-01T00:00:00Z"))(run)
    assert "end" in reasons(run)


def test_a_run_is_as_old_as_its_beginning_and_never_from_the_future(run: Path) -> None:
    at = journal.check(run / journal.NAME)[0].at
    old = policy.parse(evidence_bundle.POLICY + "max_age_days: 1\n")
    begun = datetime.datetime.fromisoformat(at.replace("Z", "+00:00"))
    late, early = begun + datetime.timedelta(days=3), begun - datetime.timedelta(days=3)
    assert any("begun 3 days ago" in b.sentence for b in decide(run, old, at=late).blockers)
    assert any("future" in b.sentence for b in decide(run, TERMS, at=early).blockers)


def test_resumes_rescores_and_earlier_verdicts_stand_in_the_verdict(run: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "policy.yaml").write_text(evidence_bundle.POLICY)
    assert main(["score", str(run), "--scorer", "refusal"]) in (0, 2)
    assert main(["signoff", str(run), "--policy", str(tmp_path / "policy.yaml")]) in (3, 4)
    assert main(["score", str(run), "--scorer", "profanity_check"]) in (0, 2, 4)
    capsys.readouterr()
    main(["signoff", str(run), "--policy", str(tmp_path / "policy.yaml")])
    said = " ".join(capsys.readouterr().out.split())
    assert "What happened to the run: - begun 20" in said
    assert "judged before, 20" in said and "measured again after its end" in said


def test_a_killed_run_that_was_resumed_says_so_and_is_decided(tmp_path: Path) -> None:
    rows = {f"p{i:02d}": f"It was a good day, the {i}th." for i in range(60)}
    (tmp_path / "s.json").write_text(json.dumps(rows))
    code = (
        "import os, sys; from safety_eval.core import store; from safety_eval.cli import main\n"
        "old, seen = store.Appender.append, []\n"
        "def append(self, record):\n"
        "    seen.append(0)\n"
        "    old(self, record)\n"
        "    if 'outputs' in self.path.name and len(seen) > 100: os.kill(os.getpid(), 9)\n"
        "store.Appender.append = append\n"
        "main(sys.argv[1:])\n"
    )
    asked = ["run", "--engine", "echo", "--model", str(tmp_path / "s.json"), "--tasks", evidence_bundle.TASK]
    asked += ["--output-path", str(tmp_path / "r")]
    killed = subprocess.run([sys.executable, "-c", code, *asked], check=False, capture_output=True)
    assert killed.returncode == -9 and (tmp_path / "r" / TASK / "outputs.jsonl").is_file()
    assert main(asked) == 0
    verdict = decide(tmp_path / "r", TERMS)
    assert not [b for b in verdict.blockers if b.kind == "evidence"]
    assert any(line.startswith("interrupted and resumed once") for line in verdict.history)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    folder = tmp_path_factory.mktemp("shards")
    (folder / "s.json").write_text(json.dumps({"": "It was a good day."}))
    asked = ["run", "--engine", "echo", "--model", str(folder / "s.json"), "--tasks", f"{evidence_bundle.TASK},bold"]
    asked += ["--data-version", "bold=quickstart"]
    parts = [folder / f"part{i}" for i in (1, 2, 3)]
    for i, part in enumerate(parts, 1):
        assert main([*asked, "--shard", f"{i}/3", "--output-path", str(part)]) == 0
    assert main(["merge", *map(str, parts), "--output-path", str(folder / "whole")]) == 0
    return folder / "whole", parts


def test_a_merged_run_carries_the_journals_of_its_shards_and_is_decided(shards) -> None:
    verdict = decide(shards[0], TERMS)
    assert not [b for b in verdict.blockers if b.kind == "evidence"], verdict.blockers
    assert any("joined of 3 shards" in line for line in verdict.history)


SHARD_EDITS: dict[str, Callable[[Path], object]] = {
    "shard journal gone": lambda run: (run / "shards" / "2-of-3" / journal.NAME).unlink(),
    "shard gone": lambda run: shutil.rmtree(run / "shards" / "2-of-3"),
    "shard journal cut": lambda run: _journal(lambda lines: lines[:-1])(run / "shards" / "1-of-3"),
    "shard run.json edited": lambda run: OTHER_WEIGHTS(run / "shards" / "3-of-3"),
    "run.json edited": _facts(lambda f: f["asked"].update(seed=5)),
    "engine edited": OTHER_WEIGHTS,
    "scores edited": _scores,
    "end edited": _facts(lambda f: f.update(finished="2099-01-01T00:00:00Z")),
    "another machine": _facts(lambda f: f["versions"].update(torch="9.9")),
}


@pytest.mark.parametrize("name", SHARD_EDITS)
def test_a_merged_run_that_was_edited_cannot_be_decided(shards, tmp_path: Path, name: str) -> None:
    run = Path(shutil.copytree(shards[0], tmp_path / "run"))
    SHARD_EDITS[name](run)
    assert reasons(run)
    again(run, "score")
    assert reasons(run)


def test_a_merged_run_whose_own_journal_was_made_anew_is_held_to_those_of_its_shards(shards, tmp_path: Path) -> None:
    run = Path(shutil.copytree(shards[0], tmp_path / "run"))
    evidence_bundle.invent_journal(run)
    assert not [b for b in decide(run, TERMS).blockers if b.kind == "evidence"]
    _scores(run)
    plans = resolve.resolve(run_config(read_json(run / "run.json")["config"]))
    pipeline.write_results(run, pipeline.measure(run, plans))
    evidence_bundle.invent_journal(run)
    assert "does not hold what the shards' journals saw" in reasons(run)


def test_shards_whose_records_their_journals_do_not_bind_are_not_merged(shards, tmp_path: Path, capsys) -> None:
    copies = [Path(shutil.copytree(p, tmp_path / p.name)) for p in shards[1]]
    _scores(copies[1])
    assert main(["merge", *map(str, copies), "--output-path", str(tmp_path / "whole")]) == 4
    assert "part2" in capsys.readouterr().err
