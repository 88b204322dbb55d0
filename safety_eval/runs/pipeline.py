"""freeze -> generate -> score -> measure: the one file that knows the order.

Every stage looks at what is in the run folder and does what is still owed: the same command again is a resume.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from safety_eval import policy as policies
from safety_eval.core.conceal import bound
from safety_eval.core.interfaces import Engine
from safety_eval.core.journal import Event, Journal
from safety_eval.core.records import DigestOfAll, Estimate, plain
from safety_eval.core.store import Appender, writing
from safety_eval.measure import metrics
from safety_eval.policy import stopping
from safety_eval.preflight.look import look, refuse
from safety_eval.runs import answers, chain, own_code, resolve, results, run_file, seam, start
from safety_eval.runs.adopted import adopted
from safety_eval.runs.answers import Records
from safety_eval.runs.before import fits, not_ready, wanted
from safety_eval.runs.config import RunConfig
from safety_eval.runs.resolve import TaskPlan
from safety_eval.runs.rows import Prompts
from safety_eval.runs.run_file import TaskRecord
from safety_eval.runs.scoring import score
from safety_eval.runs.session import Progress, Session, Silent
from safety_eval.runs.thoughts import Thought, lost_to_thought, sentence, thought


def run(config: RunConfig, progress: Progress | None = None) -> Path:
    """Do what is owed of a run; returns its folder.

    Raises:
        UserError: wrong use, or a run folder that was asked something else.
    """
    folder = config.folder()
    own_code.remember(config)
    plans = resolve.resolve(config)
    checks = look(wanted(config, plans))
    refuse(checks, config.predict_only)
    for line in not_ready(checks):
        (progress or Silent()).note(line)
    if config.policy is not None:
        terms = policies.load(config.policy)
        for plan in plans:
            policies.check(terms, plan.task)
            for line in policies.objections(terms, plan.task, plan.options.version, plan.scorers):
                (progress or Silent()).note(f"This policy cannot approve as it stands: {line}")
    with writing(folder):
        asks = [(plan.task.kind, plan.settings) for plan in plans]
        session = Session(folder, config, start.begin(folder, config), progress or Silent(), asks=asks)
        try:
            freeze(session, plans)
            if config.stop_when_decided:
                until_decided(session, plans)
            else:
                for plan in plans:
                    generate(session, plan, shard(session.records(plan.task.name).prompts, config.shard))
                session.close()
                if not config.predict_only:
                    score(session, plans)
        finally:
            session.close()
        if not config.predict_only:
            write_results(folder, measure(folder, plans, session.records), session.journal)
        _finish(session)
    return folder


def _finish(session: Session) -> None:
    """Write down that the run has ended. Asking again for nothing does not make an old run young."""
    if session.worked or not session.file.finished:
        session.save(session.file.changed(finished=start.now()))
    # A kill between the two lines above and below leaves a time that the journal has not seen.
    session.journal.once(Event.FINISHED, finished=session.file.finished)
    session.journal.note_files(Event.MEASURED, [session.folder / run_file.NAME])


def freeze(session: Session, plans: Sequence[TaskPlan]) -> None:
    """Write every task's prompts before the first token; later stages never read the source again."""
    for plan in plans:
        name = plan.task.name
        path = answers.prompts_file(session.folder, name)
        if name in session.file.tasks and path.exists():
            _note_frozen(session, name)
            continue
        found = resolve.load(plan, session.config.limit)
        room = fits(session.config, plan, found.prompts)
        refuse(room)
        for line in not_ready(room):
            session.progress.note(line)
        path.unlink(missing_ok=True)
        frozen = DigestOfAll()
        with Appender(path) as file:
            for prompt in found.prompts:
                file.append(frozen.add(prompt))
        session.journal.note_files(Event.FROZEN, [path])
        record = TaskRecord(
            title=plan.task.title,
            paper=plan.task.paper,
            data_version=found.version,
            manifest=plain(found.manifest),
            notes=tuple(found.notes),
            prompts=len(found.prompts),
            prompts_digest=frozen.hexdigest(),
            drawn=found.drawn,
            samples=plan.samples,
            settings={k: v for k, v in plain(plan.settings).items() if k not in ("task", "sample")},
            protocol=resolve.protocol(plan.task, session.config),
            instruments={},
        )
        session.save(session.file.with_task(name, record))
        _note_frozen(session, name)


def _note_frozen(session: Session, task: str) -> None:
    session.journal.once(Event.FROZEN, task=task, about=chain.prepared(session.file.tasks[task]))


def generate(session: Session, plan: TaskPlan, prompts: Prompts) -> None:
    """Ask those of `prompts` that have no output yet. The engine is loaded only when something is owed."""
    name = plan.task.name
    records = session.records(name)
    owed = records.owed_outputs(prompts, plan.samples)
    left = sum(map(len, owed.values()))
    total = len(prompts) * plan.samples
    if not left:
        session.progress.stage(f"generate {name}", total, total)
        return
    session.works()
    engine = session.engine()
    chat = _chat(session, plan, engine)
    session.progress.stage(f"generate {name}", total, total - left)
    thoughts: Counter[Thought] = Counter()
    with Appender(answers.outputs_file(session.folder, name)) as file, session.journal.watching(file) as watch:
        for sample, mine in owed.items():
            settings = replace(plan.settings, sample=sample, chat_template=chat)
            for output in seam.outputs(engine, plan.task.kind, mine, settings):
                records.add_output(output, file.append(output))
                watch.look()
                session.progress.advance()
                if not output.error:
                    thoughts[thought(output)] += 1
    limits = plan.settings.max_new_tokens, plan.settings.max_thinking_tokens
    if lost := lost_to_thought(name, thoughts, *limits):
        session.progress.note(sentence(lost))


def _chat(session: Session, plan: TaskPlan, engine: Engine) -> bool:
    """Whether the chat template is applied; written into run.json, since every table prints it."""
    chat = session.config.chat_template == "on"
    if session.config.chat_template == "auto":
        chat = plan.task.kind == "generate" and "chat_template" in engine.capabilities
    settings = {**session.file.tasks[plan.task.name].settings, "chat_template": chat, **adopted(session, plan, engine)}
    session.save(session.file.changed_task(plan.task.name, settings=settings))
    session.journal.once(Event.SETTINGS, task=plan.task.name, settings=bound(settings))
    return chat


def until_decided(session: Session, plans: Sequence[TaskPlan]) -> None:
    """Ask and score in seeded order; after each look, stop a task whose rules are decided, and everything once a rule
    cannot be met any more. Engine and scorers stay loaded together here."""
    policy = policies.load(session.folder / "policy.yaml")
    for plan in plans:
        state = _ask_in_order(session, plan, policy)
        if state:
            session.save(session.file.changed_task(plan.task.name, stopped=state))
            session.journal.once(Event.STOPPED, task=plan.task.name, state=state)
        if session.file.tasks[plan.task.name].stopped == stopping.NOT_PASS:
            session.progress.note(f"stopped: a rule on {plan.task.name} cannot be met any more")
            return


def _ask_in_order(session: Session, plan: TaskPlan, policy: policies.Policy) -> str:
    """The state in which a task could be left; '' when all of it was asked. A block that was cut short is ended
    before anything is decided: half of it is not a random half."""
    folder, name = session.folder, plan.task.name
    records = session.records(name)
    order = records.prompts.chosen(stopping.order(records.prompts, session.config.seed, name))
    was_asked = records.asked()
    many = max((i + 1 for i, number in enumerate(order.numbers) if was_asked[number]), default=0)
    if plan.samples > 1 or not stopping.early(policy, name):
        many = len(order)
    found, at = [] if many else measure(folder, [plan], session.records), 0
    while at < len(order):
        many = many or stopping.next_look(policy, plan.task, order[at:], found)
        generate(session, plan, order[at : at + many])
        score(session, [plan])
        found, at, many = measure(folder, [plan], session.records), at + many, 0
        state = stopping.state(policy, name, found)
        if state:
            return state
    return ""


def measure(folder: Path, plans: Sequence[TaskPlan], records: Callable[[str], Records] | None = None) -> list[Estimate]:
    """Every estimate of the run, computed from the records alone. `records`: those of a task, when the caller holds
    them."""
    of_task = records or partial(Records, folder)
    tasks = run_file.read(folder).tasks
    found: list[Estimate] = []
    for plan in plans:
        rows = of_task(plan.task.name).measured(plan.task, plan.samples)
        record = tasks[plan.task.name]
        found += metrics.estimates(plan.task, rows, record.data_version, record.drawn)
    return found


def write_results(folder: Path, found: Sequence[Estimate], opened: Journal | None = None) -> None:
    """RUN/results.json: the flat list that scripts read. `opened`: the journal, when the caller holds it."""
    path = results.write(folder, found)
    (opened or Journal(folder)).note_files(
        Event.MEASURED, [folder / run_file.NAME, *answers.record_files(folder), path]
    )


def shard(prompts: Prompts, part: tuple[int, int] | None) -> Prompts:
    """The i-th of n interleaved parts (i from 1)."""
    return prompts if part is None else prompts[part[0] - 1 :: part[1]]
