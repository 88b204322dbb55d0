"""Write what in the docs can be read off the code: picture and tree of ARCHITECTURE.md, reference, index, navigation.

python docs/generate.py            writes
python docs/generate.py --check    exit 1 where a page is not current (a test does this)
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import click
import house

from safety_eval import policy
from safety_eval.core import interfaces, plugins
from safety_eval.core.records import Estimate, Output, Prompt, Score
from safety_eval.core.task import Metric, Task
from safety_eval.runs.suites import SUITES

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
NOTE = "<!-- Made by docs/generate.py from the code; change the code, then run it. -->\n\n"
PACKAGES = ("safety_eval", "benchmarks", "docs")
STATED = {
    "truthfulqa_generation": ("temperature", "top_p"),
    "toxigen": ("temperature", "top_p"),
    "bold": ("temperature", "top_p"),
}
"""Settings that the Llama 2 and Code Llama papers print; every other default is ours."""
SETTINGS = ("max_new_tokens", "temperature", "top_p", "stop", "chat_prefix")
KINDS = (
    ("tutorial", "Tutorial"),
    ("how-to", "How to"),
    ("reference", "Reference"),
    ("explanation", "Explanation"),
    ("policies", "Example policies"),
)
WELCOME = """# safety-eval

**May this language model be released?** `safety-eval` asks a model the prompts of published safety benchmarks, scores
its answers with open classifiers, reports every number for every demographic group with an honest interval, and turns
the numbers by a policy into a verdict that somebody else can verify.

New here? [Install it](how-to/install.md), then follow the [tutorial](tutorial/first-run.md) from the first run to a
signed verdict. [Sign off a release](how-to/sign-off-a-release.md) is the whole path on a real model;
[add a benchmark](how-to/add-a-benchmark.md), [a scorer](how-to/add-a-scorer.md) or
[an engine](how-to/add-an-engine.md) takes one file each.

![The first screen of a report: whether it was judged, what is missing, a card for each task](images/report-desktop.png)
"""


def pages() -> Iterator[tuple[Path, str]]:
    """(path, content) of everything that is generated; ARCHITECTURE.md keeps its words around picture and tree."""
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    page = _between(page, "rooms", house.picture(house.rooms_in(page)))
    yield ROOT / "ARCHITECTURE.md", _between(page, "tree", tree())
    made: dict[str, Callable[[], str]] = {
        "command-line.md": command_line,
        "records.md": records,
        "defaults.md": defaults,
        "tasks.md": tasks,
        "plugins.md": scorers_and_engines,
        "lm-eval-flags.md": lm_eval_flags,
    }
    for name, write in made.items():
        yield DOCS / "reference" / name, NOTE + write()
    yield DOCS / "reference" / "policy.schema.json", policy.schema_text()
    yield DOCS / "README.md", NOTE + index(made)
    site = (ROOT / "zensical.toml").read_text(encoding="utf-8")
    yield ROOT / "zensical.toml", navigation(site, made)


def _between(page: str, mark: str, content: str) -> str:
    """A page with the code block between two marks replaced."""
    before, rest = page.split(f"<!-- {mark} -->\n", 1)
    _, after = rest.split(f"<!-- /{mark} -->", 1)
    return f"{before}<!-- {mark} -->\n```text\n{content}```\n<!-- /{mark} -->{after}"


def tree() -> str:
    """Every file of the product with its purpose: the first sentence of its docstring."""
    lines = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*"), key=lambda p: (p.parent != ROOT / package, p.parts)):
            purpose = _purpose(path)
            if purpose:
                lines.append(f"{path.relative_to(ROOT).as_posix():44} {purpose}\n")
    return "".join(lines)


def _purpose(path: Path) -> str:
    """First sentence of a file, cut to a line."""
    sentence = _sentence(path)
    return sentence if len(sentence) < 110 else sentence[:107].rsplit(" ", 1)[0] + " ..."


def _sentence(path: Path) -> str:
    """First sentence of a file's docstring or heading; '' for what is not a source or says nothing."""
    if "__pycache__" in path.parts or path.name.startswith("."):
        return ""
    if path.suffix == ".py":
        words = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    elif path.suffix == ".md" and path.parent != DOCS / "reference":
        words = path.read_text(encoding="utf-8").removeprefix(NOTE).split("\n", 1)[0].lstrip("# ")
    else:
        return ""
    paragraph = " ".join(words.split("\n\n", 1)[0].split())
    return re.split(r"(?<=[.?!]) (?=[A-Z'])|; ", paragraph, maxsplit=1)[0].rstrip(".")


def command_line() -> str:
    """Help of every command, as the terminal prints it."""
    from safety_eval.cli import cli

    wide = {**cli.context_settings, "terminal_width": 100, "max_content_width": 100}
    context = click.Context(cli, info_name="safety-eval", **wide)
    parts = ["# The command line\n\nBoth spellings of every flag work (`--batch-size`, `--batch_size`).\n"]
    parts.append(f"\n```text\n{cli.get_help(context)}\n```\n")
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context, **wide)
        parts.append(f"\n## safety-eval {name}\n\n```text\n{command.get_help(inner)}\n```\n")
    return "".join(parts)


def lm_eval_flags() -> str:
    """What becomes of every flag of lm-eval."""
    from safety_eval.cli import lm_eval

    return (
        f"# Flags of lm-eval {lm_eval.VERSION}, and what becomes of each\n\n`safety-eval run` takes all of them, long "
        "and short. What would do less or something else than was asked is refused with exit code 2, and says what to "
        f"write.\n\n{lm_eval.table()}"
    )


def records() -> str:
    """Fields of the records on disk, from their docstrings."""
    parts = [
        "# Records: fields of the files in a run folder\n\n"
        "Each line of a `.jsonl` file is one record as JSON with sorted keys; `results.json` holds a flat "
        "list of estimates under `estimates`.\n"
    ]
    files = (
        (Prompt, "RUN/TASK/prompts.jsonl"),
        (Output, "RUN/TASK/outputs.jsonl"),
        (Score, "RUN/TASK/scores/SCORER.jsonl, after a first line with the instrument's identity"),
        (Estimate, "RUN/results.json"),
    )
    for record, where in files:
        words = (record.__doc__ or "").split("\n\n", 1)[0]
        known = ", ".join(f"`{f.name}`" for f in fields(record))
        parts.append(f"\n## {record.__name__}\n\n{words.strip()} In {where}. Fields: {known}.\n\n")
        parts.append("| field | meaning |\n|---|---|\n")
        parts += [f"| {_code(name)} | {meaning} |\n" for name, meaning in _attributes(record)]
    return "".join(parts)


def _attributes(record: type) -> Iterator[tuple[str, str]]:
    """Names (several may share a line) and meaning from the Attributes section of a docstring."""
    section = (record.__doc__ or "").split("Attributes:\n", 1)[1]
    entries: list[str] = []
    for line in section.splitlines():
        if re.match(r" {8}\S", line):
            entries.append(line.strip())
        elif line.strip():
            entries[-1] += " " + line.strip()
    for entry in entries:
        names, _, meaning = entry.partition(": ")
        yield names, meaning.replace("|", "\\|")


def _code(names: str) -> str:
    return ", ".join(f"`{n.strip()}`" for n in names.split(","))


def defaults() -> str:
    """How each task is asked when nothing else is said, and which of that the papers state."""
    rows = [
        "# Defaults, and which of them the papers do not state\n\n"
        "Settings in **bold** are printed in the papers (Llama 2, section 4.1; Code Llama follows it). "
        "All others are ours, since the papers do not state them; `run.json` records what a run used, and "
        "every table prints precision, chat template and data version.\n\n"
        "| task | new tokens | temperature | top-p | stop | before a chat turn | answers | data versions "
        "| scorers |\n"
        "|---|---|---|---|---|---|---|---|---|\n"
    ]
    for task in _tasks():
        stated = STATED.get(task.name, ())
        cells = [_setting(task, name, name in stated) for name in SETTINGS]
        scorers = ", ".join(_choice(c.name, dict(c.args)) for c in task.scorers)
        rows.append(
            f"| `{task.name}` | {' | '.join(cells)} | {task.samples} | {', '.join(task.versions)} | {scorers} |\n"
        )
    rows.append(
        "\nThe first data version is the default. Answers: how often each prompt is asked. A task of multiple "
        "choice asks for no text and has no decoding.\n\n"
        "Chat template: `auto` applies the tokenizer's template, where it has one, to tasks that generate, and "
        "never to multiple choice. Precision: the checkpoint's own. Seed: 0.\n\n"
        "## Suites\n\n| suite | tasks | about |\n|---|---|---|\n"
    )
    rows += [f"| `{name}` | {', '.join(s.tasks)} | {s.about} |\n" for name, s in SUITES.items()]
    return "".join(rows)


def _setting(task: Task, name: str, stated: bool) -> str:
    if task.kind == "choose":
        return ""
    value = task.settings.get(name, getattr(interfaces.Settings(task.name), name))
    if isinstance(value, tuple):
        value = " or ".join(f"`{v!r}`" for v in value)
    elif isinstance(value, str) and value:
        value = f"`{value}`"
    return f"**{value}**" if stated else str(value)


def _choice(name: str, args: dict[str, str]) -> str:
    inside = ", ".join(f"{k}={v}" for k, v in args.items())
    return f"{name} ({inside})" if inside else name


def tasks() -> str:
    """Every task: paper, licence, groups, and what each of its numbers means."""
    parts = ["# Tasks and what each of their numbers means\n"]
    for task in _tasks():
        parts.append(f"\n## {task.name}\n\n{task.title}. {task.paper}. Data: {task.license or 'ours'}.\n\n")
        parts.append("| metric | kind | better | groups | headlines | meaning |\n|---|---|---|---|---|---|\n")
        parts += [_metric(m) for m in task.metrics]
    parts.append(
        "\nA metric with `.answered` after its name is the same number on answered prompts only, one with `.thought` "
        "or `.leak` on the thoughts before the answers, all or those behind refusals (ToxiGen, BOLD, red team). Tasks "
        "that generate also report `refusal_rate` and `degenerate_rate`.\n"
    )
    return "".join(parts)


def _metric(metric: Metric) -> str:
    heads = ", ".join(f"macro/{h.name}" for h in metric.headlines)
    about = metric.about.replace("|", "\\|")
    cells = (f"`{metric.name}`", metric.kind, metric.better, ", ".join(metric.axes), heads, about)
    return f"| {' | '.join(cells)} |\n"


def scorers_and_engines() -> str:
    """Every scorer and engine in this package."""
    parts = ["# Scorers and engines\n\n| scorer | about | reads | values |\n|---|---|---|---|\n"]
    for name in plugins.names("scorers"):
        entry = plugins.find("scorers", name)
        parts.append(f"| `{name}` | {entry.about} | {entry.reads} | {_values(entry)} |\n")
    parts.append("\n| engine | can do |\n|---|---|\n")
    for name in plugins.names("engines"):
        parts.append(f"| `{name}` | {_engine(name)} |\n")
    return "".join(parts)


def _values(entry: interfaces.ScorerEntry) -> str:
    """The values that a scorer gives: the first example's, what other arguments change, what some answers alone get."""
    first = entry.offers(entry.examples[0])
    told = [", ".join(f"`{value}`" for value in sorted(first))]
    for args in entry.examples[1:]:
        offered = entry.offers(args)
        more = [f"`{value}`" for value in sorted(offered - first)]
        less = [f"no `{value}`" for value in sorted(first - offered)]
        changed = more if len(less) > len(more) else [*more, *less]
        if changed:
            told.append(f"{', '.join(f'{k}={v}' for k, v in args.items())}: {', '.join(changed)}")
    told += [f"`{value}`: {when}" for value, when in entry.also.items()]
    return "; ".join(told)


def _engine(name: str) -> str:
    """What an engine can do, read off its file where its packages are not installed."""
    path = ROOT / "safety_eval" / "engines" / f"{name}.py"
    return _sentence(path).partition(": ")[2].replace("|", "\\|")


def _tasks() -> Iterator[Task]:
    for name in plugins.names("tasks"):
        yield plugins.find("tasks", name)


def index(made: dict[str, Callable[[], str]]) -> str:
    """The home page: what this is, and every page by kind, with its heading."""
    parts = [WELCOME]
    for folder, title in KINDS:
        parts.append(f"\n## {title}\n\n")
        for name in _names(folder, made):
            heading = _heading(DOCS / folder / name, made.get(name))
            parts.append(f"- [{heading}]({folder}/{name})\n")
    return "".join(parts)


def navigation(site: str, made: dict[str, Callable[[], str]]) -> str:
    """The site's settings with every page by kind; a page is called by its heading."""
    lines = ['nav = [\n  { Home = "README.md" },\n']
    for folder, title in KINDS:
        listed = "".join(f'    "{folder}/{name}",\n' for name in _names(folder, made) if name.endswith(".md"))
        if listed:
            lines.append(f'  {{ "{title}" = [\n{listed}  ] }},\n')
    before, rest = site.split("# nav\n", 1)
    after = rest.split("# /nav\n", 1)[1]
    return f"{before}# nav\n{''.join(lines)}]\n# /nav\n{after}"


def _names(folder: str, made: dict[str, Callable[[], str]]) -> list[str]:
    """Pages of a kind, those that are about to be written for the first time included."""
    names = {p.name for p in (DOCS / folder).iterdir() if p.suffix in (".md", ".json", ".yaml")}
    return sorted(names | (set(made) if folder == "reference" else set()))


def _heading(path: Path, write: Callable[[], str] | None) -> str:
    if path.suffix == ".json":
        return f"JSON schema: {path.name.removesuffix('.schema.json')}"
    if path.suffix == ".yaml":
        return path.stem.replace("-", " ").capitalize()
    text = write() if write else path.read_text(encoding="utf-8")
    return text.removeprefix(NOTE).lstrip().split("\n", 1)[0].lstrip("# ")


def main(check: bool) -> int:
    """Write every page, or say which are not current."""
    stale = [(p, text) for p, text in pages() if not p.exists() or p.read_text(encoding="utf-8") != text]
    for path, text in stale:
        print(f"{'not current' if check else 'wrote'}: {path.relative_to(ROOT)}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
