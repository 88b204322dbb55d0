"""Commands that fill a run folder, and those that need none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from safety_eval.cli import complete, lm_eval
from safety_eval.cli.group import DETAILS, OWN_TASKS, RUN, Lists, cli
from safety_eval.cli.options import options, run_options, to_values
from safety_eval.runs.spelling import scorer_args


@cli.command(cls=Lists)
@run_options
@lm_eval.options
@click.option(
    "--log-to",
    "trackers",
    multiple=True,
    type=click.Choice(["wandb", "mlflow", "trackio"]),
    help="Log the numbers there when the run is done (may be given again). A failure there is told, and fails nothing.",
)
@click.option("--dry-run", is_flag=True, help="Print what would run and what it needs; load no model.")
@DETAILS
@click.pass_context
def run(
    context: click.Context,
    dry_run: bool,
    details: bool,
    trackers: tuple[str, ...],
    config_file: Path | None,
    **flags: Any,
) -> None:
    """Ask, score and measure a model. The same command again continues."""
    from safety_eval import api
    from safety_eval.cli import progress, show

    given, notes = lm_eval.settled(flags)
    for note in notes:
        click.echo(note, err=True)
    config = api.configure(to_values(given), config_file)
    if dry_run:
        missing = show.checks(api.preflight(config))
        if not missing:
            rows = api.preview(config)
            missing = show.checks(check for row in rows for check in row["context"])
            show.preview(rows)
        context.exit(missing)
    with progress.progress() as told:
        found = api.run(config, told)
    left = api.unfinished(found)
    if config.shard:
        show.part(found, config.shard)
    elif not config.predict_only:
        api.report(found)
        show.run(found, left, details)
        for why in filter(None, (api.log(found.folder, tracker) for tracker in trackers)):
            show.warning(why)
    context.exit(show.unfinished(found, left))


@cli.command()
@OWN_TASKS
@RUN
@click.option(
    "--scorer",
    multiple=True,
    shell_complete=complete.scorers,
    help="Instrument to add (may be given again). Default: the run's own.",
)
@click.option("--scorer-args", "arguments", multiple=True, help="NAME:k=v,... for a scorer.")
@DETAILS
@click.pass_context
def score(
    context: click.Context, run: Path, scorer: tuple[str, ...], arguments: tuple[str, ...], details: bool
) -> None:
    """Score a run's answers again, without asking the model."""
    from safety_eval import api
    from safety_eval.cli import progress, show

    with progress.progress() as told:
        found = api.score(run, scorer, scorer_args(arguments), told)
    api.report(found)
    left = api.unfinished(found)
    show.run(found, left, details)
    context.exit(show.unfinished(found, left))


@cli.command()
@OWN_TASKS
@RUN
@DETAILS
@click.option("--baseline", type=click.Path(path_type=Path), help="A run whose answers stand beside this one's.")
def report(run: Path, details: bool, baseline: Path | None) -> None:
    """Write RUN/report.html and the charts."""
    from safety_eval import api
    from safety_eval.cli import show

    measured = api.open_run(run)
    path = api.report(measured, baseline)
    if details:
        show.run(measured, api.unfinished(measured), details)
        return
    click.echo(path)


@cli.command()
@click.argument("kind", type=click.Choice(["tasks", "suites", "engines", "scorers"]))
def ls(kind: str) -> None:
    """List the tasks, suites, engines or scorers."""
    from safety_eval import api

    rows = api.names(kind)
    width = max(len(name) for name, _ in rows)
    for name, line in rows:
        click.echo(f"{name:{width}}  {line}")


@cli.command()
@OWN_TASKS
@click.argument("shards", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--output-path", required=True, type=click.Path(path_type=Path), help="Folder of the joined run.")
@DETAILS
def merge(shards: tuple[Path, ...], output_path: Path, details: bool) -> None:
    """Join the run folders of --shard 1/n ... n/n into one."""
    from safety_eval import api
    from safety_eval.cli import show

    found = api.merge(shards, output_path)
    api.report(found)
    show.run(found, api.unfinished(found), details)


@cli.command()
@options("model", "tasks", "engine", "model_args", "scorer", "scorer_args", "data_version", "data")
@click.pass_context
def doctor(context: click.Context, **flags: Any) -> None:
    """Show what this machine has of what runs need; with --model or --tasks, all that such a run needs (exit 2 if
    anything is missing)."""
    from safety_eval import api
    from safety_eval.cli import show

    context.exit(show.checks(api.doctor(**to_values(flags))))
