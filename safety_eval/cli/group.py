"""The group of all commands, and the arguments that several share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
    help="Import .py files and ask judges at servers that the run names, also those that you have not used here.",
)
DETAILS = click.option("--details", is_flag=True, help="Print every table, not only a line for each task.")


def COST(command: Callable[..., Any]) -> Callable[..., Any]:
    """What a run takes: --probe and --price."""
    for option in (
        click.option("--price", default="", help="gpu_hour=,gpus=,million_in=,million_out=: rates, for the price."),
        click.option(
            "--probe",
            type=click.IntRange(min=0),
            default=0,
            metavar="N",
            help="Ask and score N prompts of each task first, for hours and written tokens; nothing of it is kept.",
        ),
    ):
        command = option(command)
    return command


class Lists(click.Command):
    """A command that takes several values behind a flag as lm-eval does: `--tasks a b`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, lm_eval.joined(args))


class ReaderGoneError(Exception):
    """Nobody reads the output any more (`| head`); click itself would end with 1, our word for a bug of ours."""


class _Commands(click.Group):
    """Flags without a command are those of `run`."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _told_by_its_name():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _told_by_its_name():
            return super().invoke(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        flag_alone = args[:1] and args[0].startswith("-") and args[0] not in ("-h", "--help", "--version")
        return super().parse_args(ctx, ["run", *args] if flag_alone else args)


@contextmanager
def _told_by_its_name() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise ReaderGoneError from error


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
