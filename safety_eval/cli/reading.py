"""Commands that read finished runs: verdicts, comparisons, audits. Of them `reproduce` alone asks a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from safety_eval.cli import complete
from safety_eval.cli.group import COST, OWN_TASKS, RUN, cli
from safety_eval.cli.options import options, to_values
from safety_eval.core.errors import UserError
from safety_eval.runs.spelling import pairs


@cli.command()
@OWN_TASKS
@RUN
@click.option("--policy", required=True, type=click.Path(path_type=Path), help="The policy file (YAML).")
@click.option("--baseline", type=click.Path(path_type=Path), help="Run of the last release, for paired rules.")
@click.option("--sign", multiple=True, type=click.Path(path_type=Path), help="Private key file (may be given again).")
@click.pass_context
def signoff(context: click.Context, run: Path, policy: Path, baseline: Path | None, sign: tuple[Path, ...]) -> None:
    """Decide by a policy: approved (0), rejected (3), cannot decide (4), approved with waivers (5)."""
    from safety_eval import api
    from safety_eval.cli import show

    context.exit(show.signed_off(api.sign_off(run, policy, baseline, sign), run))


@cli.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--key", multiple=True, type=click.Path(path_type=Path), help="Trusted public key (may be given again).")
@click.option("--own-tasks", is_flag=True, help="Import tasks that are .py files, as the run names them.")
@click.option("--expect-weights", default="", help="Digest of the weights that it must be about.")
@click.option("--policy", type=click.Path(path_type=Path), help="The policy file that must have been used.")
@click.option("--max-age", type=click.IntRange(min=0), help="Oldest run that counts, in days from its beginning.")
@click.option("--signers", type=click.IntRange(min=0), help="Fewest signatures. Default: as many as its policy wants.")
@click.option("--timestamp", type=click.Path(path_type=Path), help="RFC 3161 token over the bundle's manifest.json.")
@click.option("--authority", type=click.Path(path_type=Path), help="Trusted certificates of its authority (PEM).")
def verify(path: Path, key: tuple[Path, ...], own_tasks: bool, **asked: Any) -> None:
    """Check a run or bundle, offline: signatures, hashes, every estimate and the verdict again; say of which model, by
    which policy, signed by whom. Exit 4 if anything is off or a signature is missing."""
    from safety_eval import api
    from safety_eval.evidence import Expected

    expected = Expected(asked["expect_weights"], asked["policy"], asked["max_age"], asked["signers"])
    if (asked["timestamp"] is None) != (asked["authority"] is None):
        raise UserError("--timestamp and --authority belong together", "Give both, or neither.")
    stamp = (asked["timestamp"], asked["authority"]) if asked["timestamp"] else None
    for line in api.verify(path, key, own_tasks, expected, stamp).lines:
        click.echo(line)


@cli.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--sample", type=click.IntRange(min=1), default=20, show_default=True, help="How many answers.")
@click.option("--seed", type=int, default=0, show_default=True, help="A number of your own: it decides which.")
@click.option("--model", default="", help="Where the model is. Default: as the run names it.")
@click.option("--device", default="", help="auto, cpu, cuda, cuda:N. Default: as the run was asked.")
@click.option("--key", multiple=True, type=click.Path(path_type=Path), help="Trusted public key (may be given again).")
@click.option("--trusted", is_flag=True, help="Run code and open environment variables that the run names.")
@click.pass_context
def reproduce(context: click.Context, path: Path, key: tuple[Path, ...], **asked: Any) -> None:
    """Verify a full bundle, then ask its model some of its prompts again: 0 when every answer is equal, else 4."""
    from safety_eval import api
    from safety_eval.evidence import Draw

    again = api.reproduce(path, Draw(**asked), key)
    for line in again.lines:
        click.echo(line)
    context.exit(again.exit_code)


@cli.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
def redact(path: Path, target: Path) -> None:
    """Copy a bundle without what was asked and answered; its signatures still verify."""
    from safety_eval import api

    click.echo(api.redact(path, target))


@cli.command()
@click.option("--policy", required=True, type=click.Path(path_type=Path), help="The policy file (YAML).")
@click.option("--data", type=click.Path(path_type=Path), envvar="SAFETY_EVAL_DATA", help="Local mirror of the data.")
@click.option("--limit", type=int, help="Plan for a run with this --limit.")
@click.option("--without-prompts", is_flag=True, help="Plan from the policy alone; load no data.")
@options("model", "engine", "model_args")
@COST
@click.pass_context
def plan(
    context: click.Context,
    policy: Path,
    data: Path | None,
    limit: int | None,
    without_prompts: bool,
    probe: int,
    price: str,
    **flags: Any,
) -> None:
    """How many prompts the verdict needs, before hours are spent. Exit 4 when it could hardly be approved.

    With --model also what the run takes: tokens, with --probe hours, with --price their price.
    """
    from safety_eval import api
    from safety_eval.cli import show
    from safety_eval.signoff import planning

    made = api.plan(policy, data, limit, with_prompts=not without_prompts)
    click.echo(planning.text(made))
    model = to_values(flags)
    if model and not without_prompts:
        show.costs(*api.costs(api.planned(policy, data=data, limit=limit, **model), probe, price))
    elif probe or price or model:
        raise UserError("what a run takes depends on its model and prompts", "Add --model, without --without-prompts.")
    context.exit(4 if made.hopeless or made.objections else 0)


@cli.command(name="check-table")
@click.argument("file", type=click.Path(path_type=Path))
def check_table(file: Path) -> None:
    """Can the percentages of a printed table (CSV) be whole counts over the sizes that it claims?"""
    from safety_eval.audit import check_table as checking

    click.echo(checking.text(checking.check(file)))


@cli.command()
@OWN_TASKS
@RUN
@click.argument("baseline", type=click.Path(path_type=Path))
@click.option("--across", multiple=True, help="What may differ on purpose: seed, system_prompt, engine, dtype ...")
@click.option("--margin", multiple=True, help="Tolerated difference, M or METRIC=M (rates 0..1), fixed before the run.")
def compare(run: Path, baseline: Path, across: tuple[str, ...], margin: tuple[str, ...]) -> None:
    """What changed against a baseline run, paired by prompt, per group."""
    from safety_eval import api
    from safety_eval.cli import show

    show.comparison(api.open_run(run), api.compare(run, baseline, across, margins(margin)))


def margins(texts: tuple[str, ...]) -> dict[str, float]:
    """'M' or 'METRIC=M' of every --margin, by metric ('' = every metric)."""
    found = {}
    for text in texts:
        metric, equals, value = text.rpartition("=")
        try:
            found[metric.strip() if equals else ""] = float(value)
        except ValueError as error:
            raise UserError(
                f"--margin: '{text}' is not a number", "Write --margin 0.01 or --margin METRIC=0.01."
            ) from error
    return found


@cli.command()
@click.argument("scorer", shell_complete=complete.scorers)
@click.option("--scorer-args", "arguments", default="", help="k=v,...: as for a run; other settings, another card.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    envvar="SAFETY_EVAL_DATA",
    help="Local mirror of the data sets.",
)
@click.option("--cards", type=click.Path(path_type=Path), envvar="SAFETY_EVAL_CARDS", help="Where cards are kept.")
@click.option("--limit", type=int, help="At most N labelled texts of each set, the same ones every time.")
def audit(scorer: str, arguments: str, data: Path | None, cards: Path | None, limit: int | None) -> None:
    """A scorer's own errors per group, on texts that people labelled."""
    from safety_eval import api
    from safety_eval.cli import show

    card, path = api.audit(scorer, pairs(arguments, "--scorer-args"), data, cards, limit)
    show.card(card, path)


@cli.command()
@OWN_TASKS
@RUN
@click.option("--task", default="", help="Task to review. Default: the run's only one.")
@click.option("--metric", default="", help="Default: the task's first.")
@click.option("--scorer", default="", help="Instrument whose flags are reviewed. Default: the first.")
@click.option("--flagged", type=click.IntRange(min=0), help="At most N flagged answers. Default: all of them.")
@click.option(
    "--others", type=click.IntRange(min=1), default=200, show_default=True, help="Random answers of the rest."
)
@click.option("--design", type=click.Choice(["two_phase", "random"]), default="two_phase", show_default=True)
@click.option(
    "--read",
    "sheets",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A filled sheet (may be given twice).",
)
def review(run: Path, sheets: tuple[Path, ...], **asked: Any) -> None:
    """Labels by people on this run's answers: write the sheet to fill in, or read one or two back."""
    from safety_eval import api
    from safety_eval.cli import show

    found = api.open_run(run)
    if sheets:
        show.findings(api.read_review(found, sheets))
    else:
        show.sheet(api.write_review(found, **asked))


@cli.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--key", required=True, type=click.Path(path_type=Path), help="Your private key (PEM, Ed25519 or P-256).")
@click.option("--own-tasks", is_flag=True, help="Import tasks that are .py files, as the run names them.")
def sign(path: Path, key: Path, own_tasks: bool) -> None:
    """Add a signature to a run's evidence, after verifying it: a second signer, on another machine."""
    from safety_eval import api

    click.echo(f"signed by {api.sign(path, key, own_tasks)}")


FORMS = ("model-card", "cyclonedx", "parquet", "inspect", "lm-eval", "every-eval-ever", "hub", "github")
"""Of export/forms.py, which is not imported before it is needed."""


@cli.command()
@OWN_TASKS
@RUN
@click.option("--format", "form", required=True, type=click.Choice(FORMS), help="What to write.")
@click.option("--with-texts", "texts", is_flag=True, help="Prompts and answers themselves, not their SHA-256.")
@click.option("--organization", default="unknown", help="Who evaluated, for every-eval-ever.")
@click.option("--relationship", default="", help="To the model's maker, for every-eval-ever: first_party, ...")
def export(run: Path, form: str, **asked: Any) -> None:
    """Write RUN/export/ for other tools: Inspect, lm-eval's readers, every_eval_ever, the Hub, a model card ..."""
    from safety_eval import api

    for written in api.export(run, form, **asked):
        click.echo(written)
