"""The group of all commands, and the arguments that several share."""

from __future__ import annotations

from pathlib import Path

import click

from safety_eval import __version__
from safety_eval.cli import lm_eval

_BOTH_SPELLINGS = {
    "token_normalize_func": lambda name: name.replace("_", "-"),
    "help_option_names": ["-h", "--help"],
    "max_content_width": 110,
}
RUN = click.argument("run", type=click.Path(path_type=Path))


def _allow(context: click.Context, _: click.Parameter, given: bool) -> None:
    from safety_eval.runs import own_code

    context.with_resource(own_code.allowed(given))


OWN_TASKS = click.option(
    "--own-tasks",
    is_flag=True,
    expose_value=False,
    callback=_allow,
    help="Import .py files that the run names, also those that you have not run here.",
)
DETAILS = click.option("--details", is_flag=True, help="Print every table, not only a line for each task.")


class Lists(click.Command):
    """A command that takes several values behind a flag as lm-eval does: `--tasks a b`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, lm_eval.joined(args))


class _Commands(click.Group):
    """Flags without a command are those of `run`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        flag_alone = args[:1] and args[0].startswith("-") and args[0] not in ("-h", "--help", "--version")
        return super().parse_args(ctx, ["run", *args] if flag_alone else args)


@click.group(cls=_Commands, context_settings=_BOTH_SPELLINGS)
@click.version_option(__version__, prog_name="safety-eval")
def cli() -> None:
    """May this language model be released?

    Ask it the prompts of published safety benchmarks, score the answers, report every number per demographic
    group with its interval, and end in a verdict that a third party can verify. Flags without a command are
    those of `run`.
    Exit codes: 0 done or approved, 1 our bug, 2 wrong use, 3 rejected, 4 cannot decide,
    5 approved with waivers.
    """
