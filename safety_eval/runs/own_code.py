"""Code of somebody's own that a run folder names: imported only where this user has run it, or says so.

A run folder may have been received from anywhere, and importing a file runs it. Whoever gives a .py file to a command
has read it, or takes the risk: its digest is remembered in the user's cache. A path that only a run.json names is
imported when that digest is known, or under --own-tasks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from safety_eval.core.errors import UserError
from safety_eval.core.fetch import cache_folder
from safety_eval.core.records import digest
from safety_eval.core.secrets import FROM_ENVIRONMENT
from safety_eval.runs.config import RunConfig

_known: set[str] = set()
_allowed: ContextVar[bool] = ContextVar("own code is allowed", default=False)


def named(config: RunConfig) -> list[Path]:
    """Every .py file that a configuration names: tasks, engine, scorers, and what scorers are given."""
    scorers = [name.strip() for names in config.scorers.values() for name in names.split("+")]
    given = [value for arguments in config.scorer_args.values() for value in arguments.values()]
    words = (*config.tasks, config.engine, *scorers, *config.scorer_args, *given)
    return [Path(word) for word in dict.fromkeys(words) if word.endswith(".py")]


def remember(config: RunConfig) -> None:
    """This user has asked for these files by name, and for judges at these servers with these variables."""
    digests = {*map(_digest, named(config)), _reach(config)} - _remembered() - {""}
    _known.update(digests)
    if digests:
        with suppress(OSError):  # a home that cannot be written to: known for this process
            _memory().parent.mkdir(parents=True, exist_ok=True)
            with _memory().open("a", encoding="utf-8") as file:
                file.write("".join(f"{digest}\n" for digest in sorted(digests)))


def refuse(config: RunConfig, folder: Path) -> None:
    """Refuse to import what only a run folder names.

    Raises:
        UserError: a file that this user has not run as it is now.
    """
    if _allowed.get():
        return
    for path in named(config):
        if path.is_file() and _digest(path) not in _remembered():
            raise UserError(
                f"{folder} names code of somebody's own, {path}, which was not run here as it is now",
                "Importing it would run it. Read it; if you trust it, give --own-tasks.",
            )


def refuse_reaching(config: RunConfig, folder: Path) -> None:
    """Refuse to ask a judge that only a run folder names where that sends answers, or a secret, to somebody's server.

    Raises:
        UserError: a server, or a variable of this machine's environment, that this user has not named here.
    """
    if not _allowed.get() and (reach := _reach(config)) and reach not in _remembered():
        raise UserError(
            f"{folder} names judges at a server, or variables of this machine for them, which were not used here",
            "Read scorer_args in its run.json; if you trust it, give --own-tasks.",
        )


def _reach(config: RunConfig) -> str:
    """Digest of the scorers' arguments that reach out of this process; '' where none does."""
    reaching = {
        scorer: args
        for scorer, args in config.scorer_args.items()
        if "base_url" in args or any(value.startswith(FROM_ENVIRONMENT) for value in args.values())
    }
    return digest(reaching) if reaching else ""


@contextmanager
def allowed(yes: bool = True) -> Iterator[None]:
    """While this holds, files that a run folder names are imported."""
    token = _allowed.set(yes or _allowed.get())
    try:
        yield
    finally:
        _allowed.reset(token)


def _memory() -> Path:
    return cache_folder() / "own-code.txt"


def _remembered() -> set[str]:
    try:
        return _known | set(_memory().read_text(encoding="utf-8").split())
    except (OSError, ValueError):
        return set(_known)


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
