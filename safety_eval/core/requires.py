"""What an engine, a scorer or a task needs before it can work, said without loading anything: preflight reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Home:
    """A place where a data set lives.

    Attributes:
        host: 'hub' (a data set repository of the Hugging Face Hub), 'github', or 'mirror' (a file at the top
            of a local mirror, with no public home of that form).
        repo: <org>/<name>; '' for 'mirror'.
        revision: full commit; '' = read from a mirror only.
        files: paths in the repository.
    """

    host: Literal["hub", "github", "mirror"]
    repo: str
    revision: str
    files: tuple[str, ...]

    @property
    def folder(self) -> str:
        """Where a mirror keeps it."""
        return "." if self.host == "mirror" else f"{self.host}/{self.repo}"


@dataclass(frozen=True, slots=True)
class DataNeed:
    """A data set: every home gives the same rows, the first that can be reached is taken."""

    name: str
    homes: tuple[Home, ...]


@dataclass(frozen=True, slots=True)
class ModelNeed:
    """Files of a model.

    Attributes:
        model: Hub id, or a local folder.
        revision: Hub commit or branch, '' = main; means nothing for a folder.
        kind: what they have to be: 'causal' (a causal language model), 'network' (weights of any other kind), or
            'tokenizer' (configuration and tokenizer, no weights).
        least: bytes that its weights take at least, where it is known; 0 = unknown.
        gated: its publisher asks for an accepted licence and a token.
        remote_code: code of its own repository may run.
        whose: whose model it is, in words: 'the model', 'judge truth'.
    """

    model: str
    revision: str = ""
    kind: Literal["causal", "network", "tokenizer"] = "network"
    least: int = 0
    gated: bool = False
    remote_code: bool = False
    whose: str = ""


@dataclass(frozen=True, slots=True)
class FileNeed:
    """One file. `url`: where it is fetched from if it is not there; '' = the user has to give it."""

    path: str
    url: str = ""
    least: int = 0


@dataclass(frozen=True, slots=True)
class Requires:
    """All that is needed.

    Attributes:
        packages: modules that have to be importable.
        models, files, data: see their classes.
        instead: which flag gives a local copy or chooses another, one or two sentences.
    """

    packages: tuple[str, ...] = ()
    models: tuple[ModelNeed, ...] = ()
    files: tuple[FileNeed, ...] = ()
    data: tuple[DataNeed, ...] = ()
    instead: str = ""

    @property
    def bare(self) -> bool:
        """Nothing has to be there that could be missing: what needs it can be built at once."""
        return not (self.packages or self.models or self.files or self.data)


NOTHING = Requires()
