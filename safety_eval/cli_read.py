"""Commands that read finished runs: verdicts, comparisons, audits. The model is never asked here."""

from __future__ import annotations

from pathlib import Path

import click

from safety_eval.cli import RUN, cli


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
