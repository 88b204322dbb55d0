"""Everything that a verdict is based on, taken from a run folder. What is wrong with the folder becomes a
fault, so that a killed run, an empty folder or mixed-up records end as 'cannot decide' with the reason,
never as a crash.

Every estimate is computed again from the records; results.json only has to agree.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from safety_eval import policy as policies
from safety_eval.audit.cards import ScorerCard, file_name
from safety_eval.audit.labels import Labelled
from safety_eval.compare.differences import Difference
from safety_eval.core import journal, plugins
from safety_eval.core.conceal import conceal, is_sealed, without_paths
from safety_eval.core.errors import EvidenceError, SafetyEvalError, UserError
from safety_eval.core.records import Estimate, plain
from safety_eval.core.store import file_digest
from safety_eval.core.task import Task
from safety_eval.measure import metrics
from safety_eval.policy import Policy, stopping
from safety_eval.runs import chain, own_code, results, run_file
from safety_eval.runs.answers import Records
from safety_eval.runs.run_file import RunFile
from safety_eval.signoff import instruments
from safety_eval.signoff.asked import Asked, read
from safety_eval.signoff.consistency import check_records
from safety_eval.signoff.history import History, tell
from safety_eval.signoff.labelled import of_task
from safety_eval.signoff.verdict import Blocker, differences

Faults = list[Blocker]
_CHANGES_NOTHING = frozenset({journal.Event.SIGNED_OFF, journal.Event.DRAWN})
"""Entries after which a run is the same as before."""


@dataclass(frozen=True, slots=True)
class Case:
    """The numbers and facts of a run that a policy is held against.

    Flat: what `collect` gathers from many files, each read by one rule or condition of its own.

    Attributes:
        estimates: of the run; differences: against the baseline, None without one. labelled: people's labels, counted.
        subject: the model as the run records it ('model', digests ...).
        data: data version by task. instruments: identity by scorer. cards: of these instruments, where there are any.
        registered: digest of the policy terms that the run recorded before its first token ('' = none).
        asked: how the run was asked, beside each task's protocol.
        history: what happened to the run, by its journal. journal: hash of the last entry that was looked at.
        faults: what is wrong with the run as a whole. notes: what a reader must know.
        run_sha256, results_sha256: of run.json and results.json. baseline: which run it was compared with.
        stopped: tasks that were ended early.
    """

    estimates: Sequence[Estimate]
    differences: Sequence[Difference] | None = None
    labelled: Sequence[Labelled] = ()
    subject: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    instruments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    cards: Mapping[str, ScorerCard] = field(default_factory=dict)
    registered: str = ""
    asked: Asked = Asked()
    history: History = History()
    journal: str = ""
    faults: tuple[Blocker, ...] = ()
    notes: tuple[str, ...] = ()
    run_sha256: str = ""
    results_sha256: str = ""
    baseline: str = ""
    stopped: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Kept:
    """What was computed from records that a redacted copy seals.

    Attributes:
        differences: against the baseline, None without one. missing: why approval is out, where comparing told so.
        labelled: people's labels, counted.
    """

    differences: Sequence[Difference] | None = None
    missing: tuple[str, ...] = ()
    labelled: tuple[Labelled, ...] = ()


def collect(
    folder: Path, policy: Policy, baseline: Path | None = None, own_tasks: bool = True, until: str = ""
) -> Case:
    """The case of a run folder.

    Args:
        folder, baseline: run folders. own_tasks: a task given as a .py file may be imported (never for
            evidence
            that came from somewhere else: that would execute it).
        until: hash of the journal's entry up to which to look; only verdicts and sheets to label may follow it.
    """
    try:
        file = run_file.read(folder)
    except SafetyEvalError as error:
        return Case((), faults=_told([_evidence(error.message)]))
    faults: Faults = []
    if not file.finished:
        faults.append(_evidence("the run did not finish (killed, or still going): run the same command again"))
    registered = _registered(folder, file, faults)
    labelled: list[Labelled] = []
    estimates = remeasure(folder, file, faults, own_tasks, labelled)
    history, last = _history(folder, file, until, faults)
    _in_order(folder, file, policy, faults)
    if not faults:
        _agrees(folder, estimates, faults)
    if _holds_digest(file):
        faults.append(_evidence("run.json holds a digest in place of a system prompt: nothing shows what was asked"))
    compared = None
    if baseline is not None:
        compared = _compare(folder, baseline, faults)
    told = run_file.concealed(file)
    return Case(
        estimates=estimates,
        differences=compared,
        labelled=labelled,
        registered=registered,
        history=history,
        journal=last,
        instruments=_instruments(told, faults),
        faults=_told(faults),
        baseline=_named(baseline),
        asked=read(told, _read_baseline(baseline)),
        cards=_cards(folder, told),
        **_said(folder, told, policy),
    )


def _holds_digest(file: RunFile) -> bool:
    """Whether a run's own file, which is no redacted copy, gives a digest for the system prompt that it was asked with:
    then it was asked with that digest, or somebody put it there; either way not with the text that it stands for."""
    prompts = [file.config.system_prompt, file.asked.get("system_prompt")]
    prompts += [record.settings.get("system_prompt") for record in file.tasks.values()]
    return any(is_sealed(str(text)) for text in prompts)


def _told(faults: Faults) -> tuple[Blocker, ...]:
    """Faults without the folders of this machine: a verdict travels."""
    return tuple(replace(fault, sentence=without_paths(fault.sentence)) for fault in faults)


def collect_open(folder: Path, policy: Policy, kept: Kept, baseline: Path | None, until: str) -> Case:
    """The case of a redacted run folder: estimates and paired differences as they were kept, all else as in `collect`.

    Raises:
        EvidenceError: run.json, results.json or the journal is damaged.
    """
    file = run_file.read(folder)
    faults: Faults = [Blocker("missing", sentence) for sentence in kept.missing]
    registered = _registered(folder, file, faults)
    history, last = _history(folder, file, until, faults, sealed=True)
    return Case(
        estimates=results.read(folder),
        differences=kept.differences,
        labelled=kept.labelled,
        registered=registered,
        history=history,
        journal=last,
        instruments=_instruments(file, faults),
        faults=_told(faults),
        baseline=_named(baseline),
        asked=read(file, _read_baseline(baseline)),
        cards=_cards(folder, file),
        **_said(folder, file, policy),
    )


def keep(case: Case) -> Kept:
    """What a redacted copy needs beside results.json to be judged in full."""
    missing = tuple(b.sentence for b in case.faults if b.kind == "missing")
    return Kept(case.differences, missing, tuple(case.labelled))


def _said(folder: Path, file: RunFile, policy: Policy) -> dict[str, Any]:
    """Fields of a Case that run.json gives."""
    return {
        "subject": subject(file),
        "data": {task: record.data_version for task, record in file.tasks.items()},
        "notes": _notes(file, policy),
        "run_sha256": file_digest(folder / "run.json"),
        "results_sha256": file_digest(folder / "results.json"),
        "stopped": frozenset(task for task, record in file.tasks.items() if record.stopped),
    }


def remeasure(folder: Path, file: RunFile, faults: Faults, own_tasks: bool, labelled: list[Labelled]) -> list[Estimate]:
    """Every estimate from the raw records; what is wrong with the records is added to `faults`, what people's labels of
    them count to, to `labelled`."""
    found: list[Estimate] = []
    for name, record in file.tasks.items():
        try:
            task = _task(folder, file, name, own_tasks)
            wrong = list(check_records(folder, name, record))
            faults += [_evidence(w) for w in wrong]
            if not wrong:
                rows = Records(folder, name).measured(task, record.samples)
                found += metrics.estimates(task, rows, record.data_version, record.drawn)
                labelled += of_task(folder, task, rows)
        except SafetyEvalError as error:
            faults.append(_evidence(error.message))
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # Records of any shape may have been received; what a metric cannot read is a fault of theirs.
            faults.append(_evidence(f"{name}: its records cannot be measured, {type(error).__name__} {error}"))
    return found


def subject(file: RunFile) -> dict[str, Any]:
    """The model as the run records it: name (of a folder or file, its last part) and every digest or version of its
    engine's identity."""
    known = {"model": file.config.model, **{k: v for k, v in file.engine.items() if k != "device"}}
    return dict(conceal(known))


def _task(folder: Path, file: RunFile, name: str, own_tasks: bool) -> Task:
    asked = next((t for t in file.config.tasks if Path(t).stem == name), name)
    if asked.endswith(".py") and not own_tasks:
        raise UserError(f"task '{name}' is a file of its own ({asked}); code is never run from evidence")
    own_code.refuse(file.config, folder)
    task: Task = plugins.find("tasks", asked)
    return task


def _registered(folder: Path, file: RunFile, faults: Faults) -> str:
    """Digest of the terms of the policy that was recorded before the first token ('' = none)."""
    if file.policy is None:
        return ""
    try:
        written = policies.load(folder / "policy.yaml")
        found = policies.registration(written).sha256
        if found != file.policy.sha256:
            raise EvidenceError("policy.yaml is not the policy that was recorded before the first token")
        return found
    except SafetyEvalError as error:
        faults.append(_evidence(error.message))
    return ""


def _agrees(folder: Path, estimates: Sequence[Estimate], faults: Faults) -> None:
    """results.json has to hold the estimates that the records give, each to 1e-9; their order says nothing."""
    try:
        rows = results.read(folder)
    except SafetyEvalError as error:
        faults.append(_evidence(error.message))
        return
    shown = _by_identity(rows)
    wrong = differences(shown, _by_identity(estimates))
    if len(rows) != len(shown):
        wrong.append("an estimate is listed twice")
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        faults.append(_evidence(f"results.json is stale or edited: the records give something else; {wrong[0]}{more}"))


def _by_identity(rows: Sequence[Estimate]) -> dict[str, Mapping[str, Any]]:
    """Estimates, as they are written, by what each is of: task, metric, scorer, axis and group."""
    return {" / ".join((e.task, e.metric, e.scorer, e.axis, e.group)): plain(e) for e in rows}


def _in_order(folder: Path, file: RunFile, policy: Policy, faults: Faults) -> None:
    """A run that was stopped early has asked the start of the seeded order, and nothing else."""
    for task, record in file.tasks.items():
        if not record.stopped or policy.stop is None or faults:
            continue
        records = Records(folder, task)
        order, was_asked = stopping.order(records.prompts, file.config.seed, task), records.asked()
        if not all(was_asked[number] for number in order[: sum(was_asked)]):
            faults.append(_evidence(f"{task}: stopped early, but what was asked is not the start of its seeded order"))


def _history(folder: Path, file: RunFile, until: str, faults: Faults, sealed: bool = False) -> tuple[History, str]:
    """(what happened to the run, hash of the last entry); what the journal does not bind is a fault."""
    try:
        entries = journal.check(folder / journal.NAME)
        shards = [journal.check(p) for p in sorted(folder.glob(f"{chain.SHARDS}/*/{journal.NAME}"))]
        faults += [_evidence(sentence) for sentence in chain.faults(folder, file, entries, sealed)]
    except SafetyEvalError as error:
        faults.append(_evidence(f"{journal.NAME}: {error.message.split(': ', 1)[-1]}"))
        return History(), ""
    if until:
        last = next((i for i, e in enumerate(entries, 1) if e.hash == until), 0)
        if not last or any(e.event not in _CHANGES_NOTHING for e in entries[last:]):
            faults.append(_evidence(f"{journal.NAME}: something happened to the run after the verdict"))
        entries = entries[:last]
    return tell(entries, shards), journal.head(entries)


def _compare(folder: Path, baseline: Path, faults: Faults) -> Sequence[Difference]:
    from safety_eval.compare.comparison import compare
    from safety_eval.runs.opened import RunFolder

    try:
        if _begun(folder) == _begun(baseline):
            raise UserError("the baseline is this very run")
        _check_baseline(baseline)
        found: Sequence[Difference] = compare(RunFolder(folder), RunFolder(baseline))
        return found
    except SafetyEvalError as error:
        told = _named_in(error.message, {baseline: "the baseline", folder: "the run"})
        faults.append(Blocker("missing", f"not compared with the baseline: {told}"))
        return ()


def _named_in(message: str, names: Mapping[Path, str]) -> str:
    """A message with names in place of folders, where they stand alone."""
    for path, name in names.items():
        message = re.sub(rf"(?<![\w./]){re.escape(str(path))}(?![\w/])", name, message)
    return message


def _begun(folder: Path) -> str:
    """Which run it is, however it was copied: the first entry of its journal."""
    entries = journal.check(folder / journal.NAME)
    return entries[0].hash if entries else str(folder.resolve())


def _check_baseline(baseline: Path) -> None:
    """A baseline's records must be bound by its journal as the run's own.

    Raises:
        EvidenceError: they are not.
    """
    for fault in chain.faults(baseline, run_file.read(baseline), journal.check(baseline / journal.NAME)):
        raise EvidenceError(fault)


def _instruments(file: RunFile, faults: Faults) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for task, record in file.tasks.items():
        for scorer, identity in record.instruments.items():
            if found.setdefault(scorer, identity) != identity:
                faults.append(_evidence(f"{scorer} was another instrument for {task} than for the tasks before"))
    return found


def _cards(folder: Path, file: RunFile) -> dict[str, ScorerCard]:
    identities = {s: i for record in file.tasks.values() for s, i in record.instruments.items()}
    places = {s: folder / "cards" / f"{file_name(i)}.json" for s, i in identities.items()}
    read_ones = {s: instruments.read(places[s], identity) for s, identity in identities.items()}
    return {s: card for s, card in read_ones.items() if card is not None}


def _notes(file: RunFile, policy: Policy) -> tuple[str, ...]:
    used = {rule.task for rule in policy.rules}
    return tuple(f"{task}: {n}" for task, record in file.tasks.items() if task in used for n in record.notes)


def _read_baseline(baseline: Path | None) -> RunFile | None:
    """run.json of the baseline, where it can be read; what is wrong with it is said by the comparison."""
    try:
        return None if baseline is None else run_file.read(baseline)
    except SafetyEvalError:
        return None


def _named(baseline: Path | None) -> str:
    if baseline is None:
        return ""
    return file_digest(baseline / "run.json")


def _evidence(sentence: str) -> Blocker:
    return Blocker("evidence", sentence)
