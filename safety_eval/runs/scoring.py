"""Judge the answers of a run: every scorer once for all the tasks that it serves, one after the other."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from safety_eval.core import plugins
from safety_eval.core.interfaces import Engine, ModelSpec, ScorerSpec
from safety_eval.core.records import digest, plain
from safety_eval.core.store import Appender
from safety_eval.core.task import ScorerChoice
from safety_eval.runs import answers, seam
from safety_eval.runs.resolve import TaskPlan
from safety_eval.runs.session import Session


def score(session: Session, plans: Sequence[TaskPlan]) -> None:
    """Judge every answer that a scorer still owes, scorer by scorer."""
    wanted: dict[str, tuple[ScorerSpec, list[str]]] = {}
    for plan in plans:
        for choice in plan.scorers:
            instrument = digest([choice.name, choice.args])
            wanted.setdefault(instrument, (_spec(session, choice), []))[1].append(plan.task.name)
    for spec, tasks in wanted.values():
        for task in tasks:
            _score_task(session, spec, task)
        if not session.config.stop_when_decided:
            session.close()


def check_instruments(session: Session, plans: Sequence[TaskPlan], named: Collection[str]) -> None:
    """Scorers that were `named` with arguments are the ones whose scores the run holds, or it holds none of theirs.

    Raises:
        UserError: other arguments made the scores that lie there. Nothing is owed then, so nothing would be scored.
    """
    for plan in plans:
        for choice in plan.scorers:
            path = answers.scores_file(session.folder, plan.task.name, choice.name)
            if choice.name in named and path.exists():
                scorer = session.scorer(_spec(session, choice))
                Appender(path, {"identity": plain(scorer.identity)}).close()


def _spec(session: Session, choice: ScorerChoice) -> ScorerSpec:
    return ScorerSpec(choice.name, choice.args, session.config.device, "auto", judge_engine)


def _score_task(session: Session, spec: ScorerSpec, task: str) -> None:
    name, records = answers.instrument(spec.name), session.records(task)
    owed = records.owed_scores(name)
    if not owed:
        return
    session.works(task=task, scorer=name)
    scorer = session.scorer(spec)
    identity = plain(scorer.identity)
    session.progress.stage(f"score {task} by {spec.name}", len(owed), 0)
    offers = plugins.find("scorers", spec.name).offers(spec.args)
    with (
        Appender(answers.scores_file(session.folder, task, spec.name), {"identity": identity}) as file,
        session.journal.watching(file) as watch,
    ):
        session.instrument(task, spec, identity)
        for found in seam.scores(scorer, spec.name, owed, offers):
            records.add_score(name, found, file.append(found))
            watch.look()
            session.progress.advance()


def judge_engine(spec: ModelSpec) -> Engine:
    """The engine of a judge: a scorer gets it as an argument. The argument `engine` names it."""
    args = dict(spec.args)
    engine: Engine = plugins.find("engines", args.pop("engine", "transformers")).build(replace(spec, args=args))
    return engine
