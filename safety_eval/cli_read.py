"""Commands that read finished runs: verdicts, comparisons, audits. The model is never asked here."""

from __future__ import annotations

from pathlib import Path

import click

from safety_eval.cli import RUN, cli
from safety_eval.errors import UserError


@cli.command()
@RUN
@click.option("--policy", required=True, type=click.Path(path_type=Path), help="The policy file (YAML).")
@click.option(
    "--baseline", type=click.Path(path_type=Path), help="Run of the last release, for paired rules."
)
@click.option(
    "--sign", multiple=True, type=click.Path(path_type=Path), help="Private key file (may be given again)."
)
@click.pass_context
def signoff(
    context: click.Context, run: Path, policy: Path, baseline: Path | None, sign: tuple[Path, ...]
) -> None:
    """Decide by a policy: approved (0), rejected (3) or cannot decide (4)."""
    from safety_eval import api, show

    verdict = api.sign_off(run, policy, baseline, sign)
    context.exit(show.verdict(verdict))


@cli.command()
@RUN
@click.argument("baseline", type=click.Path(path_type=Path))
@click.option(
    "--across", multiple=True, help="What may differ on purpose: seed, system_prompt, engine, dtype ..."
)
@click.option(
    "--margin", multiple=True, help="Tolerated difference, M or METRIC=M (rates 0..1), fixed before the run."
)
def compare(run: Path, baseline: Path, across: tuple[str, ...], margin: tuple[str, ...]) -> None:
    """What changed against a baseline run, paired by prompt, per group."""
    from safety_eval import api, show

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
                f"--margin: '{text}' is no number", "Write --margin 0.01 or --margin METRIC=0.01."
            ) from error
    return found
