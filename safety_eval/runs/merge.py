"""Shards of one run, asked on several machines, put together as the run that they are parts of."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from safety_eval.core import journal
from safety_eval.core.errors import EvidenceError, UserError
from safety_eval.core.journal import Event, Journal
from safety_eval.core.store import Appender, read_lines, write_atomic, writing
from safety_eval.runs import answers, chain, own_code, pipeline, resolve, results, run_file
from safety_eval.runs.run_file import RunFile


def merge(shards: Sequence[Path], folder: Path) -> Path:
    """Join shards into a new run folder, and measure it.

    Raises:
        UserError: the shards are not parts of one run (another model, setting, prompt set or instrument), a part
            comes twice, or the folder holds something already. Missing parts are allowed: they are owed.
    """
    files = [run_file.read(s) for s in shards]
    for shard, file in zip(shards, files, strict=True):
        own_code.refuse(file.config, shard)
    _same_run(shards, files)
    if (folder / run_file.NAME).exists() and not _cut_short(folder):
        raise UserError(f"{folder} holds a run already", "Choose another --output-path.")
    with writing(folder):
        _clear(folder, files[0])
        whole = files[0].changed(
            asked={**files[0].asked, "shard": None},
            config=files[0].config.model_copy(update={"shard": None, "output_path": folder}),
            merged_from=tuple(f.config.shard for f in files if f.config.shard),
        )
        for task in whole.tasks:
            _join(shards, folder, task)
        if policy := next((s / "policy.yaml" for s in shards if (s / "policy.yaml").exists()), None):
            (folder / "policy.yaml").write_bytes(policy.read_bytes())
        run_file.write(folder, whole)
        opened = Journal(folder)
        opened.note(Event.MERGED, begun=chain.begun(whole), journals=_carry(shards, files, folder))
        plans = resolve.resolve(whole.config)
        pipeline.write_results(folder, pipeline.measure(folder, plans), opened)
    return folder


def _cut_short(folder: Path) -> bool:
    """Whether a folder holds no more than a join that was killed before its end: then it is done again."""
    entries = journal.check(folder / journal.NAME)
    joined = run_file.read(folder).merged_from and all(e.event in (Event.MERGED, Event.MEASURED) for e in entries)
    return bool(joined) and results.NAME not in journal.last_files(entries)


def _clear(folder: Path, file: RunFile) -> None:
    """Take out what a join that was killed has left, run.json first."""
    left = [folder / run_file.NAME, folder / journal.NAME, folder / results.NAME]
    left += [path for path in answers.record_files(folder) if path.relative_to(folder).parts[0] in file.tasks]
    for path in left:
        path.unlink(missing_ok=True)


def _same_run(shards: Sequence[Path], files: Sequence[RunFile]) -> None:
    if len(shards) < 2:
        raise UserError("merge needs two shards or more", "Give the run folders of all the shards.")
    parts = [f.config.shard or () for f in files]
    if () in parts or len(set(parts)) < len(parts):
        raise UserError(f"the shards are {parts}: each must be another part", "Run each with its own --shard i/n.")
    first = chain.comparable(files[0])
    for shard, other in zip(shards[1:], files[1:], strict=True):
        mine = chain.comparable(other)
        changed = [k for k in {**first, **mine} if first.get(k) != mine.get(k)]
        if changed:
            raise UserError(
                f"{shard} is not part of the run in {shards[0]}: {', '.join(changed)} differ", "Check both."
            )


def _carry(shards: Sequence[Path], files: Sequence[RunFile], folder: Path) -> dict[str, str]:
    """Take every shard's journal and run.json along; the head of each journal by its part.

    Raises:
        EvidenceError: a shard's journal does not bind what lies in the shard.
    """
    heads = {}
    for shard, file in zip(shards, files, strict=True):
        entries = journal.check(shard / journal.NAME)
        for fault in chain.faults(shard, file, entries):
            raise EvidenceError(f"{shard}: {fault}", "Run this shard again in another folder.")
        part, of = file.config.shard or (1, 1)
        home = folder / chain.SHARDS / f"{part}-of-{of}"
        for name in (journal.NAME, run_file.NAME):
            write_atomic(home / name, (shard / name).read_bytes())
        heads[home.name] = journal.head(entries)
    return heads


def _join(shards: Sequence[Path], folder: Path, task: str) -> None:
    with Appender(answers.prompts_file(folder, task)) as file:
        for row in read_lines(answers.prompts_file(shards[0], task)):
            file.append(row)
    with Appender(answers.outputs_file(folder, task)) as file:
        for shard in shards:
            for row in read_lines(answers.outputs_file(shard, task)):
                file.append(row)
    for scorer in sorted({name for shard in shards for name in answers.scorers(shard, task)}):
        header = {"identity": answers.identity(shards[0], task, scorer)}
        with Appender(answers.scores_file(folder, task, scorer), header) as file:
            for shard in shards:
                for row in islice(read_lines(answers.scores_file(shard, task, scorer)), 1, None):
                    file.append(row)
