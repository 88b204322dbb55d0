"""What a command prints. Harmful text never appears on the terminal, and control characters are escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from safety_eval.api import Unfinished
from safety_eval.audit.cards import ScorerCard, card_digest
from safety_eval.audit.review import Findings
from safety_eval.compare.comparison import Comparison
from safety_eval.core.records import Reason
from safety_eval.evidence import SignedOff
from safety_eval.preflight.checks import Check, State, size_text
from safety_eval.runs import cost, thoughts
from safety_eval.runs.cost import Price, TaskCost
from safety_eval.show.notebook import Run
from safety_eval.show.words import printable
from safety_eval.signoff import verdict as decided

_FILE_WIDTH = 120
"""Columns where standard output is not a terminal: wide enough that no row of a table has to be folded."""


class _Console(Console):
    """rich ends a program whose reader has gone with exit 1, which is our word for a bug of ours."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def console(stderr: bool = False) -> Console:
    out = _Console(stderr=stderr, highlight=False)
    return out if out.is_terminal or stderr else _Console(highlight=False, width=_FILE_WIDTH)


def preview(rows: Sequence[Mapping[str, Any]]) -> None:
    """What `run --dry-run` says."""
    table = Table("task", "data version", "prompts", "answers", "settings", "instruments")
    for row in rows:
        settings = ", ".join(f"{k} {v}" for k, v in row["settings"].items())
        table.add_row(
            row["task"],
            row["data_version"],
            str(row["prompts"]),
            str(row["answers"]),
            settings,
            ", ".join(row["instruments"]),
        )
    out = console()
    out.print(table)
    for row in rows:
        for note in row["notes"]:
            out.print(f"{row['task']}: {note}", style="dim", markup=False)


def costs(tasks: Sequence[TaskCost], rates: Price | None) -> None:
    """What a run takes, task by task, and what is not known of it."""
    asked = ["task", "answers", "tokens in", "tokens out", "hours", *(["price"] if rates else [])]
    table = Table(*asked, title="What it takes")
    for task in tasks:
        written = f"at most {task.most_out:,}" if task.tokens_out is None else f"{task.tokens_out:,.0f}"
        hours = "-" if task.asking is None else f"{task.asking:.3g} + {task.scoring or 0.0:.3g}"
        row = [task.task, f"{task.answers:,}", f"{'' if task.counted else '~'}{task.tokens_in:,}", written, hours]
        table.add_row(*row, *([_amount(cost.paid(task, rates))] if rates else []))
    out = console()
    out.print(table)
    if any(not task.counted for task in tasks):
        out.print("~ estimated: the model's tokenizer is not here to count with", markup=False)
    if any(task.asking is None for task in tasks):
        out.print("hours: --probe N asks and scores N prompts of each task, and measures", markup=False)
    else:
        out.print("hours: asking + scoring at the probe's speed; loading and downloads are not in it", markup=False)
        total = sum((task.asking or 0.0) + (task.scoring or 0.0) for task in tasks)
        out.print(f"all: {total:.3g} hours", markup=False)
    if rates:
        known = [cost.paid(task, rates) for task in tasks]
        whole = None if None in known else sum(price or 0.0 for price in known)
        out.print(f"price of all: {_amount(whole)}, in the currency of --price", markup=False)


def _amount(price: float | None) -> str:
    return "not known without --probe" if price is None else f"{price:,.2f}"


_MARKS = {
    State.READY: "ok",
    State.DOWNLOAD: "get",
    State.CAUTION: "!",
    State.ABSENT: "--",
    State.MISSING: "NO",
}


def checks(looked: Iterable[Check]) -> int:
    """What preflight looked at: one line each, and what to do about it below. Returns the exit code: 2 when something
    is missing that was asked for."""
    out = console()
    worst = 0
    for check in looked:
        size = f" [{size_text(check.size)}]" if check.size and check.state is State.DOWNLOAD else ""
        used = f" (for {', '.join(check.used_by)})" if check.used_by else ""
        name = f"{check.name:21}" if len(check.name) < 22 else f"{check.name}:"
        out.print(f"{_MARKS[check.state]:3} {name} {check.detail}{size}{used}", markup=False, soft_wrap=True)
        if check.advice:
            out.print(f"{'':4}-> {check.advice}", markup=False, soft_wrap=True)
        worst = 2 if check.state is State.MISSING else worst
    return worst


_STYLES = {"model": "bold", "warning": "yellow", "heads": "dim", "task": "", "fact": ""}


def run(measured: Run, left: Unfinished, details: bool = False) -> None:
    """The first screen; with `details` every table, and what is known of the instruments."""
    from safety_eval.report import first_screen

    out = console()
    owed = sum(left.outputs.values()) + sum(left.scores.values())
    width = max(out.width, first_screen.WIDTH) if out.is_terminal else first_screen.WIDTH
    for line in first_screen.first_screen(measured, owed, width):
        out.print(line.text, style=_STYLES[line.kind], markup=False, no_wrap=True, crop=False)
    if details:
        _details(out, measured)


def part(measured: Run, shard: tuple[int, int]) -> None:
    """What `run --shard` says: a part has no page, since its numbers are nobody's."""
    answered = sum(1 for task in measured.tasks for row in measured.measured(task) if not row.output.error)
    number, parts = shard
    out = console()
    out.print(f"part {number} of {parts}: {answered:,} answers in {measured.folder}", markup=False)
    out.print("next   safety-eval merge PART ... --output-path RUN  (numbers, charts and the report)", markup=False)


def _details(out: Console, measured: Run) -> None:
    from safety_eval.audit import review_table
    from safety_eval.measure.disparity import disparities
    from safety_eval.report.first_screen import not_measured
    from safety_eval.show import tables, words
    from safety_eval.show.disparity_table import disparity_table

    apart = disparity_table(disparities(measured.estimate_records()))
    for table in [*tables.run_tables(measured), *([apart] if apart else [])]:
        out.print(tables.rich_table(table))
    for task, metrics in not_measured(measured, measured.estimate_records()).items():
        named = ", ".join(map(words.metric_name, metrics)) or "anything"
        out.print(f"{words.name(task)}: no instrument of this run measured {named}", markup=False)
    for task in measured.tasks:
        if told := thoughts.in_words(thoughts.thoughts(m.output for m in measured.measured(task))):
            out.print(f"{words.name(task)}: thoughts {told}", markup=False)
    for sentence in review_table.cautions(measured):
        out.print(f"! {sentence}", style="yellow", markup=False)


def unfinished(found: Run, left: Unfinished) -> int:
    """Say what a run still owes; returns the exit code (0 nothing, 2 only prompts that can never fit, 4 else)."""
    out = console(stderr=True)
    for what, reasons in (
        ("prompts without an answer", left.outputs),
        ("answers without a score", left.scores),
    ):
        for reason, count in sorted(reasons.items()):
            out.print(f"{what}: {count} ({reason})", style="yellow", markup=False)
    for task in left.thoughts:
        out.print(thoughts.what_was_lost(task), style="yellow", markup=False)
    for words_of_advice in dict.fromkeys(map(thoughts.advice, left.thoughts)):
        out.print(f"-> {words_of_advice}", style="yellow", markup=False)
    if not left.outputs and not left.scores:
        return 0
    if left.too_long and not left.scores:
        out.print("-> These prompts do not fit the model's context; everything else was kept.", markup=False)
        return 2
    if set(left.outputs) == {Reason.NOT_IN_FILE} and not left.scores:
        out.print("-> They stay missing. With a whole file: the same command with another --output-path.", markup=False)
        return 4
    out.print("-> The same command asks again for what is owed; see `error` in the .jsonl files.", markup=False)
    return 4


def warning(text: str) -> None:
    """What went wrong beside a run that is done, on standard error."""
    console(stderr=True).print(printable(text, keep="\n"), style="yellow", markup=False, soft_wrap=True)


def signed_off(found: SignedOff, run_folder: Path) -> int:
    """The verdict with each rule and the number that it saw, and what became of the evidence; returns the exit code."""
    out = console()
    out.print(decided.table(found.verdict), markup=False, soft_wrap=True)
    lines = [sentence[:1].upper() + sentence[1:] + "." for sentence in found.said]
    if found.evidence is not None:
        count = len(found.signers)
        lines.append(f"evidence: {found.evidence}, {count} of {found.wanted} signatures")
        if count < found.wanted:
            lines.append(f"-> The policy wants more signatures: safety-eval sign {run_folder} --key KEY")
    if (run_folder / "report.html").is_file():
        lines.append(f"report: {run_folder / 'report.html'}")
    for line in lines:
        out.print(printable(line), markup=False, soft_wrap=True)
    return found.exit_code


def comparison(found: Run, made: Comparison) -> None:
    """What changed, and where the whole comparison lies."""
    from safety_eval.compare import table as comparison_table
    from safety_eval.show import tables

    out = console()
    for table in comparison_table.comparison_tables(made):
        out.print(tables.rich_table(table))
    out.print(f"every row: {found.folder / 'compare.json'}", markup=False, soft_wrap=True)


def card(found: ScorerCard, path: Path) -> None:
    """A scorer's errors in sentences, and where the page with the tables lies."""
    out = console()
    out.print(f"{found.scorer}: its own errors", style="bold", markup=False)
    for sentence in found.sentences:
        out.print(f"- {sentence}", markup=False)
    out.print(f"card: {path}, page: {path.with_suffix('.md')}", markup=False, soft_wrap=True)
    out.print(f"digest (a policy may pin it): {card_digest(found)}", markup=False, soft_wrap=True)


def sheet(path: Path) -> None:
    """Where the sheet lies and what to do with it. Its content is never printed: it may be offensive."""
    out = console()
    out.print(f"sheet: {path}", markup=False, soft_wrap=True)
    out.print(
        "-> Write 1 (bad) or 0 (not) under `label` in every row, then: safety-eval review RUN --read SHEET",
        markup=False,
    )
    out.print("   Two people: each a copy whose name begins the same, --read for both.", markup=False)


def findings(found: Findings) -> None:
    """Agreement, and every group's rate as judged and by the labels."""
    from safety_eval.audit import review_table
    from safety_eval.show import tables

    console().print(tables.rich_table(review_table.review_table(found)))
