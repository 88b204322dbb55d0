"""The command line: parse, call api, print. Exit codes: see errors.py.

Nothing heavy is imported before a command needs it, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Any

import click

from safety_eval import __version__
from safety_eval.cli.options import run_options, to_values
from safety_eval.core.errors import SafetyEvalError
from safety_eval.runs.spelling import scorer_args

_BOTH_SPELLINGS = {
    "token_normalize_func": lambda name: name.replace("_", "-"),
    "help_option_names": ["-h", "--help"],
    "max_content_width": 110,
}
RUN = click.argument("run", type=click.Path(path_type=Path))


@click.group(context_settings=_BOTH_SPELLINGS)
@click.version_option(__version__, prog_name="safety-eval")
def cli() -> None:
    """May this language model be released?

    Ask it the prompts of published safety benchmarks, score the answers, report every number per demographic
    group with its interval, and end in a verdict that a third party can verify.
    Exit codes: 0 done or approved, 1 our bug, 2 wrong use, 3 rejected, 4 cannot decide.
    """


@cli.command()
@run_options
@click.option("--dry-run", is_flag=True, help="Print what would run; load no model.")
@click.pass_context
def run(context: click.Context, dry_run: bool, config_file: Path | None, **flags: Any) -> None:
    """Ask, score and measure a model. The same command again continues."""
    from safety_eval import api
    from safety_eval.cli import progress, show

    config = api.configure(to_values(flags), config_file)
    if dry_run:
        show.preview(api.preview(config))
        return
    with progress.progress() as told:
        found = api.run(config, told)
    if not config.predict_only:
        api.report(found)
        show.run(found)
    context.exit(show.unfinished(found, api.unfinished(found)))


@cli.command()
@RUN
@click.option(
    "--scorer", multiple=True, help="Instrument to add (may be given again). Default: the run's own."
)
@click.option("--scorer-args", "arguments", multiple=True, help="NAME:k=v,... for a scorer.")
@click.pass_context
def score(context: click.Context, run: Path, scorer: tuple[str, ...], arguments: tuple[str, ...]) -> None:
    """Score a run's answers again, without asking the model."""
    from safety_eval import api
    from safety_eval.cli import progress, show

    with progress.progress() as told:
        found = api.score(run, scorer, scorer_args(arguments), told)
    api.report(found)
    show.run(found)
    context.exit(show.unfinished(found, api.unfinished(found)))


@cli.command()
@RUN
def report(run: Path) -> None:
    """Write RUN/report.html and the charts."""
    from safety_eval import api

    click.echo(api.report(api.open_run(run)))


@cli.command()
@click.argument("kind", type=click.Choice(["tasks", "suites", "engines", "scorers"]))
def ls(kind: str) -> None:
    """What there is, by name."""
    from safety_eval import api

    rows = api.names(kind)
    width = max(len(name) for name, _ in rows)
    for name, line in rows:
        click.echo(f"{name:{width}}  {line}")


@cli.command()
@click.argument("shards", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--output-path", required=True, type=click.Path(path_type=Path), help="Folder of the joined run."
)
def merge(shards: tuple[Path, ...], output_path: Path) -> None:
    """Join the run folders of --shard 1/n ... n/n into one."""
    from safety_eval import api
    from safety_eval.cli import show

    found = api.merge(shards, output_path)
    api.report(found)
    show.run(found)


@cli.command()
@click.option(
    "--data", type=click.Path(path_type=Path), envvar="SAFETY_EVAL_DATA", help="Local mirror to look at."
)
def doctor(data: Path | None) -> None:
    """What this machine has of what a run may need."""
    from safety_eval.cli import show
    from safety_eval.preflight import machine

    show.checks(machine.checks(data))


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code (never raises for what a user can cause)."""
    from safety_eval.cli import reading as cli_read  # noqa: F401 - adds its commands to the group

    if not sys.stderr.isatty():
        # The loading bars of libraries would break the JSON lines of a log.
        os.environ.setdefault("TQDM_DISABLE", "1")

    try:
        code = cli.main(args=argv, prog_name="safety-eval", standalone_mode=False)
        return int(code or 0)
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except SafetyEvalError as error:
        click.echo(f"error: {error}", err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("\nstopped; the same command continues where it was", err=True)
        return 130
    except BrokenPipeError:
        return 0
    except Exception:
        traceback.print_exc()
        click.echo(
            "error: this is a bug in safety-eval, not a verdict; please report the lines above", err=True
        )
        return 1


def script() -> None:
    sys.exit(main())
