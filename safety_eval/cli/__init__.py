"""The command line: parse, call api, print. Exit codes: see errors.py.

Nothing heavy is imported before a command needs it, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress

import click

from safety_eval.cli import reading, running
from safety_eval.cli.group import ReaderGoneError, cli
from safety_eval.core.errors import SafetyEvalError
from safety_eval.torch_runtime.native import share_processors

__all__ = ["cli", "main", "reading", "running", "script"]


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code (never raises for what a user can cause)."""
    if not sys.stderr.isatty():
        # The loading bars of libraries would break the JSON lines of a log.
        os.environ.setdefault("TQDM_DISABLE", "1")
    share_processors()
    try:
        code = cli.main(args=argv, prog_name="safety-eval", standalone_mode=False)
        return int(code or 0)
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        usage = f"\n  -> Try '{context.command_path} --help'." if context is not None else ""
        click.echo(f"error: {_plain(error.format_message())}{usage}", err=True)
        return 2
    except SafetyEvalError as error:
        click.echo(f"error: {_plain(str(error))}", err=True)
        return error.exit_code
    except ModuleNotFoundError as error:
        from safety_eval.core import packages

        module = (error.name or "").partition(".")[0]
        if module not in packages.PACKAGES:
            return _bug()
        click.echo(f"error: {packages.lacking(module, 'this')}", err=True)
        return 2
    except (KeyboardInterrupt, click.Abort):
        click.echo("\nstopped; the same command continues where it was", err=True)
        return 130
    except ReaderGoneError:
        return _nobody_reads()
    except MemoryError:
        return _no_memory()
    except ImportError as error:
        # The loader's words where there is no room for a library; Python makes nothing narrower of it.
        return _no_memory() if "failed to map segment" in str(error) else _bug()
    except OSError as error:
        # What the machine refuses (a name too long, a folder in place of a file, no permission) is no bug of ours.
        click.echo(f"error: {_plain(str(error.filename or ''))}: {error.strerror or error}", err=True)
        return 2
    except UnicodeEncodeError as error:
        click.echo(f"error: {_plain(str(error.object)[:80])} holds half of a character: no path or name", err=True)
        return 2
    except Exception:
        return _bug()


def _nobody_reads() -> int:
    """Whoever read the output has gone (`| head`). Never 0: that would say that a model was approved, to nobody."""
    with suppress(OSError, ValueError):  # what is buffered would fail once more when the interpreter ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141


def _no_memory() -> int:
    click.echo(
        "error: memory ran out\n  -> Free some; what was recorded is kept, the same command continues.", err=True
    )
    return 2


def _bug() -> int:
    """What an error that nobody expected ends in; to be called while it is handled."""
    traceback.print_exc()
    click.echo("error: this is a bug in safety-eval, not a verdict; please report the lines above", err=True)
    return 1


def _plain(text: str) -> str:
    """A message as it may be shown: names in it come from anywhere, and must not act on the terminal."""
    from safety_eval.show.words import printable

    return printable(text, keep="\n")


def script() -> None:
    sys.exit(main())
