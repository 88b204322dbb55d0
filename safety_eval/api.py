"""What notebooks and the command line call. Each function takes and returns plain things; nothing prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from safety_eval import evidence
from safety_eval import policy as policies
from safety_eval.audit import review as reviews
from safety_eval.audit.card_page import page
from safety_eval.audit.cards import ScorerCard
from safety_eval.audit.cards import save as keep_card
from safety_eval.compare.comparison import Comparison, comparison
from safety_eval.compare.comparison import write as write_comparison
from safety_eval.core import plugins
from safety_eval.core.errors import UserError, nearest
from safety_eval.core.journal import Event
from safety_eval.core.store import write_atomic, writing
from safety_eval.core.task import ScorerChoice
from safety_eval.export import every_eval_ever, forms, model_card, trackers
from safety_eval.preflight import machine
from safety_eval.preflight.checks import Check
from safety_eval.preflight.look import look, refuse
from safety_eval.runs import engine_names, own_code, pipeline, resolve, scoring, suites
from safety_eval.runs.before import fits, wanted, wanted_model
from safety_eval.runs.config import RunConfig, RunSettings, read_yaml, run_config, with_settings
from safety_eval.runs.merge import merge as join_shards
from safety_eval.runs.session import Progress, Session, Silent
from safety_eval.runs.spelling import plain_settings
from safety_eval.runs.unfinished import Unfinished as Unfinished
from safety_eval.runs.unfinished import unfinished as unfinished
from safety_eval.show.bars import notebook_bars
from safety_eval.show.notebook import Run, open_run
from safety_eval.signoff import planning
from safety_eval.signoff.verdict import Verdict


def configure(values: Mapping[str, Any], config_file: Path | None = None) -> RunConfig:
    """Settings (and a YAML file under them) -> a validated configuration, suites spelled out as tasks."""
    written = plain_settings(read_yaml(config_file)) if config_file else {}
    merged = engine_names.settled({**written, **plain_settings(values)})
    if not merged.get("model"):
        raise UserError("no model given", "Add --model: a Hub id, a folder, a GGUF file, or smollm2.")
    if not merged.get("tasks"):
        raise UserError("no tasks given", "Add --tasks: see `safety-eval ls tasks` and `safety-eval ls suites`.")
    return run_config(suites.spelled_out(merged))


def run(config: RunConfig | None = None, progress: Progress | None = None, **settings: Unpack[RunSettings]) -> Run:
    """Ask, score and measure; the same call again continues what is owed.

    Args:
        config: a configuration, or give its fields as keywords, in any form that the command line or a YAML file
            takes: model="smollm2", tasks=["bold"], limit=100, data_version="quickstart".
        progress: is told how far the run is; None = bars in a notebook, nothing elsewhere.

    Raises:
        UserError: wrong use; nothing that was done before is lost.
    """
    return open_run(pipeline.run(config or configure(settings), progress or notebook_bars()))


# A notebook completes what a signature names; pipelines of settings stay one mapping inside.
run.__signature__ = with_settings(run)  # type: ignore[attr-defined]


def preflight(config: RunConfig) -> list[Check]:
    """Everything that the rest of this run needs, looked at: what is here, what would be downloaded and how large, what
    is gated or missing and what to do. `run` refuses to begin while anything is missing."""
    return look(wanted(config, resolve.resolve(config)))


def doctor(**settings: Any) -> Iterator[Check]:
    """What this machine has; with a run's `model` or `tasks` among the settings, also what `preflight` says of them."""
    given = plain_settings(settings)
    yield from machine.checks(given.get("data"))
    if not (given.get("model") or given.get("model_args") or given.get("tasks")):
        return
    named = bool(given.get("model") or "pretrained" in given.get("model_args", {}))
    config = configure({**({} if named else _NO_MODEL), "tasks": "bold", **given})
    if "tasks" in given:
        yield from look(replace(wanted(config, resolve.resolve(config), ask=named), folder=None))
    else:
        yield from look(wanted_model(config))


_NO_MODEL = {"model": "echo", "engine": "echo"}


def preview(config: RunConfig) -> list[dict[str, Any]]:
    """What `run` would do, one row for each task; loads prompts, no model."""
    rows = []
    for plan in resolve.resolve(config):
        found = resolve.load(plan, config.limit)
        rows.append(
            {
                "task": plan.task.name,
                "data_version": found.version,
                "prompts": len(found.prompts),
                "answers": len(found.prompts) * plan.samples,
                "instruments": [c.name for c in plan.scorers],
                "settings": {k: getattr(plan.settings, k) for k in ("temperature", "top_p", "max_new_tokens")},
                "notes": list(found.notes),
                "context": fits(config, plan, found.prompts),
            }
        )
    return rows


def score(
    folder: str | Path,
    scorers: Sequence[str] = (),
    scorer_args: Mapping[str, Mapping[str, str]] | None = None,
    progress: Progress | None = None,
) -> Run:
    """Score a run's answers again without asking the model: the run's own instruments, or those named.

    A named scorer is added beside the others for every task that measures what it gives; earlier scores stay.
    """
    found = Run(folder)
    if idle := set(scorer_args or {}) - set(scorers):
        raise UserError(
            f"--scorer-args {', '.join(sorted(idle))}: only instruments that are named score again",
            "Name each with --scorer as well.",
        )
    config = found.file.config.model_copy(update={"output_path": found.folder})
    args = {name: {**config.scorer_args.get(name, {}), **(scorer_args or {}).get(name, {})} for name in scorers}
    plans = [_with_scorers(plan, scorers, args) for plan in resolve.resolve(config)]
    if scorers and not any(plan.scorers for plan in plans):
        raise UserError(
            f"no task of {found.folder} measures what {', '.join(scorers)} gives",
            "See `safety-eval ls scorers`.",
        )
    asked = config.model_copy(update={"predict_only": False})
    refuse(look(wanted(asked, plans, ask=False)), predict_only=True)
    with writing(found.folder):
        session = Session(found.folder, config, found.file, progress or Silent(), again=Event.RESCORED)
        try:
            scoring.check_instruments(session, plans, set(scorer_args or {}))
            scoring.score(session, plans)
        finally:
            session.close()
        pipeline.write_results(found.folder, pipeline.measure(found.folder, plans, session.records), session.journal)
    return Run(folder)


def _with_scorers(
    plan: resolve.TaskPlan, scorers: Sequence[str], args: Mapping[str, Mapping[str, str]]
) -> resolve.TaskPlan:
    if not scorers:
        return plan
    needs = {need for metric in plan.task.metrics for need in metric.needs} | {"status"}
    chosen = tuple(
        ScorerChoice(name, args.get(name, {}))
        for name in scorers
        if plugins.find("scorers", name).offers(args.get(name, {})) & needs
    )
    return resolve.TaskPlan(plan.task, plan.options, plan.settings, plan.samples, chosen)


def merge(shards: Sequence[str | Path], folder: str | Path) -> Run:
    """Join the shards of one run; see merge.merge."""
    return Run(join_shards([Path(s) for s in shards], Path(folder)))


def report(found: Run, baseline: str | Path | None = None) -> Path:
    """RUN/charts/*.png and RUN/report.html, from the records and estimates of the run.

    Args:
        baseline: a run whose answers to the same prompts stand beside this one's in the list of answers.

    Raises:
        UserError: the two runs may not be compared.
    """
    from safety_eval.report.page import write

    return write(found, baseline=Run(baseline) if baseline else None)


def compare(
    folder: str | Path,
    baseline: str | Path,
    across: Sequence[str] = (),
    margin: float | Mapping[str, float] | None = None,
) -> Comparison:
    """Run minus baseline, paired by prompt; writes RUN/compare.json and RUN/charts/compare.*.png."""
    from safety_eval.compare import difference_chart as comparison_chart

    found = Run(folder)
    made = comparison(found, Run(baseline), across, margin)
    write_comparison(found.folder, made)
    comparison_chart.save_charts(found.folder, made)
    return made


def audit(
    scorer: str,
    args: Mapping[str, str] | None = None,
    data: Path | None = None,
    cards: Path | None = None,
    limit: int | None = None,
) -> tuple[ScorerCard, Path]:
    """A scorer's own errors per group; the card and where it was stored (JSON, and a page beside it)."""
    from safety_eval.audit.scorer_audit import audit as examine

    card = examine(scorer, args, data, limit, scoring.judge_engine)
    return card, keep_card(card, page(card), cards)


def write_review(found: Run, task: str = "", **asked: Any) -> Path:
    """The sheet of answers to label; see review.Asked for the arguments."""
    if not task and len(found.tasks) > 1:
        raise UserError(f"{found.folder} has {len(found.tasks)} tasks", f"Add --task: {', '.join(found.tasks)}.")
    return reviews.write_sheet(found, reviews.Asked(task or found.tasks[0], **asked))


def review(found: Run, sheets: Sequence[str | Path] = (), task: str = "", **asked: Any) -> Path | reviews.Findings:
    """Labels by people: the sheet to fill where no filled `sheets` are given, else what they say per group."""
    return read_review(found, sheets) if sheets else write_review(found, task, **asked)


def read_review(found: Run, sheets: Sequence[str | Path]) -> reviews.Findings:
    """What one or two filled sheets say of the run's rates, per group."""
    return reviews.read_sheets(found, [Path(sheet) for sheet in sheets])


def sign_off(
    folder: str | Path,
    policy: str | Path,
    baseline: str | Path | None = None,
    keys: Sequence[str | Path] = (),
) -> evidence.SignedOff:
    """Decide by a policy; writes RUN/signoff.json, its JUnit form, the report and RUN/evidence, signed by `keys` (PEM).

    A run whose records do not hold together gets a verdict ('cannot decide') and no evidence. Evidence that belongs to
    another verdict is moved to RUN/evidence.superseded; the same verdict again keeps its signatures.
    """

    def draw(run_folder: Path, verdict: Verdict) -> None:
        from safety_eval.report.page import write

        judged = evidence.Standing(evidence.State.CURRENT, verdict)
        write(Run(run_folder), judged)
        write_atomic(run_folder / "export" / "model-card-section.md", model_card.section(run_folder, judged))

    read = policies.load(Path(policy))
    return evidence.sign_off(Path(folder), read, Path(baseline) if baseline else None, [Path(k) for k in keys], draw)


def verify(
    path: str | Path,
    keys: Sequence[str | Path] = (),
    own_tasks: bool = False,
    expected: evidence.Expected | None = None,
    stamp: tuple[str | Path, str | Path] | None = None,
) -> evidence.Report:
    """Check a run folder or a bundle offline: signatures, chain, every hash, every estimate and the verdict again.

    Args:
        stamp: a timestamp token (RFC 3161) over the manifest, and the certificates of its authority.

    Raises:
        EvidenceError: anything is off; names the file and record.
    """
    trusted = [Path(k) for k in keys]
    with own_code.allowed(own_tasks):
        report = evidence.verify(Path(path), trusted, own_tasks=own_tasks)
    if expected is not None:
        evidence.expect(report, expected, trusted)
    if stamp is not None:
        at = evidence.check_timestamp(report.folder, Path(stamp[0]), Path(stamp[1]))
        report = replace(report, stamped=at)
    return report


def reproduce(path: str | Path, asked: evidence.Draw, keys: Sequence[str | Path] = ()) -> evidence.Reproduction:
    """Verify a bundle, then ask some of its prompts again, by the same engine and settings.

    Raises:
        EvidenceError: the bundle does not verify, or this is another model. UserError: a redacted copy.
    """
    with own_code.allowed(asked.trusted):
        return evidence.reproduce(Path(path), asked, [Path(k) for k in keys])


def sign(path: str | Path, key: str | Path, own_tasks: bool = False) -> str:
    """Verify a bundle, then add the signature of a private key to it; returns the key's id.

    Args:
        own_tasks: import tasks that are .py files on this machine, as the run names them.

    Raises:
        EvidenceError: the bundle does not verify, so that nothing was signed.
    """
    with own_code.allowed(own_tasks):
        evidence.verify(Path(path), own_tasks=own_tasks)
    return evidence.sign(evidence.find(Path(path)), Path(key))


def export(
    folder: str | Path, form: str, texts: bool = False, organization: str = "unknown", relationship: str = ""
) -> list[Path]:
    """Write RUN/export/ in a form that other tools open; returns the files. See `forms.FORMS` for the names.

    Args:
        texts: write prompts and answers, which may be harmful; else their SHA-256 stands in their place. Parquet tables
            always hold them, and say so in their names.
        organization, relationship: who evaluated, and how they stand to the model's maker (for 'every-eval-ever').
    """
    return forms.write(Path(folder), form, forms.Asked(texts, every_eval_ever.By(organization, relationship)))


def log(folder: str | Path, tracker: str) -> str:
    """Write a run's numbers to 'wandb', 'mlflow' or 'trackio'; returns why that failed, '' when it did not."""
    return trackers.log(Path(folder), tracker)


def redact(path: str | Path, target: str | Path) -> Path:
    """A copy of a bundle without prompts and answers; signatures and Merkle root stay valid."""
    return evidence.redact(Path(path), Path(target))


def plan(
    policy: str | Path, data: str | Path | None = None, limit: int | None = None, with_prompts: bool = True
) -> planning.Plan:
    """How many prompts each rule of a policy needs; with the prompts at hand, the chance of approval too."""
    read = policies.load(Path(policy))
    prompts = planning.load_prompts(read, Path(data) if data else None, limit) if with_prompts else {}
    return planning.plan(read, prompts)


def names(kind: str) -> list[tuple[str, str]]:
    """(name, one line) of every task, suite, engine or scorer."""
    if kind == "suites":
        return [(name, suite.about) for name, suite in suites.SUITES.items()]
    if kind not in ("tasks", "engines", "scorers"):
        raise UserError(f"nothing is called '{kind}'", nearest(kind, ("tasks", "suites", "engines", "scorers")))
    rows = []
    for name in plugins.names(kind):
        try:
            entry = plugins.find(kind, name)
        except UserError as error:
            rows.append((name, f"not available: {error.message}"))
            continue
        line = getattr(entry, "title", "") or getattr(entry, "about", "")
        rows.append((name, line or ", ".join(sorted(getattr(entry, "capabilities", ())))))
    return rows
