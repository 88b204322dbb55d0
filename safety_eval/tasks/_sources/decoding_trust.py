"""DecodingTrust's files that two tasks ask: RealToxicityPrompts' challenging prompts, and stereotyped statements.

Source: Wang et al. 2023 (arXiv 2306.11698); AI-secure/DecodingTrust at 161ae83. The full RealToxicityPrompts is read
from a file of the user's: its home on the Hub has no commit that we have seen, so nothing pins it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from safety_eval.core.errors import UserError
from safety_eval.core.records import digest
from safety_eval.core.requires import NOTHING, FileNeed, Requires
from safety_eval.core.task import TaskOptions
from safety_eval.tasks._sources.loading import Home, Loaded, Named, Row, Source, csv_rows, jsonl_rows, needed

_REPO, _COMMIT = "AI-secure/DecodingTrust", "161ae8321ced62f45fcd9ceb412e05b47c603cd4"
_LICENSE = "CC BY-SA 4.0"
FULL_FILE = "hub/allenai/real-toxicity-prompts/prompts.jsonl"
"""Where a mirror keeps the full RealToxicityPrompts."""
FULL_PAGE = "huggingface.co/datasets/allenai/real-toxicity-prompts"
FULL_ROWS = 99_442
CAPITALISED = frozenset(
    {
        "Muslims",
        "Asians",
        "Jews",
        "Mexicans",
        "Latin Americans",
        "Christians",
        "Canadians",
        "Europeans",
        "Americans",
        "Caucasians",
        "Buddhists",
    }
)
"""Groups that keep their capital in the targeted system prompt; the others are lower-cased, as in the authors' code."""


def _sets(files: Sequence[Named]) -> list[Row]:
    return [
        {"set": name.rsplit("/", 1)[-1].removesuffix(".jsonl"), **row}
        for name, file in files
        for row in jsonl_rows(file)
    ]


def _statements(files: Sequence[Named]) -> list[Row]:
    """The statements, each with the three system prompts as asked for its group."""
    (_, system), (_, user) = files
    templates = {row["type"]: row["system_prompt"] for row in csv_rows(system)}
    return [{**row, "systems": _systems(templates, row["target_group"])} for row in csv_rows(user)]


def _systems(templates: Mapping[str, str], group: str) -> dict[str, str]:
    named = group if group in CAPITALISED else group.lower()
    return {kind: text.replace("[target_group]", named) for kind, text in templates.items()}


CHALLENGING = Source(
    "RealToxicityPrompts, DecodingTrust's challenging prompts",
    (
        Home(
            "github",
            _REPO,
            _COMMIT,
            tuple(f"data/toxicity/user_prompts/{name}.jsonl" for name in ("toxic", "nontoxic")),
        ),
    ),
    _sets,
    2396,
    "138c50192bb8c8af2a2faf872303131fa9427f779f84bd670f98fc692d7bedb3",
    _LICENSE,
)
STATEMENTS = Source(
    "DecodingTrust's stereotyped statements",
    (
        Home(
            "github",
            _REPO,
            _COMMIT,
            tuple(f"data/stereotype/dataset/{name}_prompts.csv" for name in ("system", "user")),
        ),
    ),
    _statements,
    1152,
    "e98429ea49f41d4bf630051b755a97f0aae26d6332805cf2335be38d0a2b5696",
    _LICENSE,
)


def required(source: Source) -> Callable[[TaskOptions], Requires]:
    """What a task needs that reads one of these sources, or the full set that the user gives."""

    def requires(options: TaskOptions) -> Requires:
        if options.version in ("full", "sample"):
            file = options.prompts or (options.data / FULL_FILE if options.data else Path(FULL_FILE))
            give = f"Give --prompts real_toxicity_prompts=FILE: prompts.jsonl of {FULL_PAGE}."
            return Requires(files=(FileNeed(str(file)),), instead=give)
        return NOTHING if options.version == "quickstart" else needed(source)

    return requires


def full(given: Path | None, mirror: Path | None) -> Loaded:
    """The full RealToxicityPrompts: the user's file, else the mirror's; its digest is recorded, not checked.

    Raises:
        UserError: no file, or one of another form.
    """
    file = given or (mirror / FULL_FILE if mirror else None)
    if file is None or not file.is_file():
        raise UserError(
            f"real_toxicity_prompts: {file or 'the full data set'} is not there, and no public commit of it is pinned",
            f"Download prompts.jsonl of {FULL_PAGE} and give it with "
            f"--prompts real_toxicity_prompts=FILE, or keep it in the mirror as {FULL_FILE}.",
        )
    try:
        rows = jsonl_rows(file)
        texts = [row["prompt"]["text"] for row in rows]
        rated = [row["prompt"].get("toxicity") for row in rows]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"real_toxicity_prompts: {file} is not RealToxicityPrompts' prompts.jsonl "
            f"({type(error).__name__}: {error})",
            "Each line is a JSON object with prompt.text and prompt.toxicity.",
        ) from error
    if not rows or not all(isinstance(text, str) for text in texts):
        raise UserError(f"real_toxicity_prompts: {file} has no prompts", "Download it again.")
    if not all(x is None or isinstance(x, (int, float)) for x in rated):
        raise UserError(f"real_toxicity_prompts: {file} has a toxicity that is not a number", "Download it again.")
    manifest = {
        "source": str(file),
        "revision": "",
        "files": [file.name],
        "file_sha256": sha256(file.read_bytes()).hexdigest(),
        "sha256": digest(rows),
        "rows": len(rows),
        "license": "Apache-2.0",
    }
    return Loaded(rows, manifest)
