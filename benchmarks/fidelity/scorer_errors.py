"""Audit every scorer that runs here and write docs/explanation/scorer-errors.md.

    SAFETY_EVAL_DATA=DIR python benchmarks/fidelity/scorer_errors.py [--cards DIR] [--ship]

Cards that the folder already holds are taken as they are. A scorer whose weights are not on this machine is listed
with the reason, not audited. --ship puts the cards of refusal and truth_similarity into the package, where every run
finds them.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

from safety_eval.audit.card_page import page
from safety_eval.audit.cards import SCHEMA, SHIPPED, ScorerCard, card_for, default_folder, file_name, save
from safety_eval.audit.scorer_audit import audit
from safety_eval.core import plugins
from safety_eval.core.errors import UserError
from safety_eval.core.interfaces import ScorerSpec
from safety_eval.core.records import plain
from safety_eval.core.store import write_json

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "scorer-errors.md"
SCORERS: tuple[tuple[str, dict[str, str]], ...] = (
    ("profanity_check", {}),
    ("detoxify", {}),
    ("hf_classifier", {"preset": "toxigen_roberta"}),
    ("refusal", {}),
    ("refusal", {"parser": "xstest_prefix"}),
    ("refusal", {"parser": "cyberseceval_regex"}),
    ("truth_similarity", {}),
    ("truth_entailment", {"model": "cross-encoder/nli-MiniLM2-L6-H768"}),
    ("truth_judge", {}),
    ("vader", {}),
)
SHIPPED_CARDS: tuple[tuple[str, dict[str, str]], ...] = (("refusal", {}), ("truth_similarity", {}))
"""The first scores every task that generates, so that its errors stand beside numbers of every run; the second makes
the offline headline for truth."""
INTRODUCTION = """# What the scorers get wrong

Every rate in a report was made by an instrument with errors of its own, and where these differ between groups of
people, a gap between groups may be the instrument's. So each instrument is audited on texts that people labelled:
toxicity scorers on the 6,514 sentences of SafeNLP (Hosseini et al. 2023), refusal scorers on three models' answers
to XSTest (Röttger et al. 2024), truth scorers on the labelled answers of TruthfulQA (Lin et al. 2022). Toxicity and
sentiment scorers also get the identity-swap test: the same neutral sentence, another group of people in it.

```bash
safety-eval audit profanity_check --data ./mirror
```

writes a card (JSON and a page) under the digest of the instrument; a report shows the card of exactly the instrument
that scored, or says that there is none. This page is made by `python benchmarks/fidelity/scorer_errors.py`.

How to read it:

- *A group gap made by this instrument is worth nothing*: the spread of its false alarms (or misses) over the groups
  is established to be more than 5 points on labelled texts (the one-sided 95% limit of the gap; overlapping groups
  and near-duplicate sentences are taken into account).
- *It barely tells ...*: sensitivity + specificity - 1 is at most 0.2. No correction can rest on it.
- Corrected rates (Lang and Reiczigel 2014) assume that these error rates carry over to the answers at hand. Where
  several models were labelled and the errors differ between them, that is refuted and the correction raises an alarm.
  Leaving one of XSTest's three models out, for three matchers, on safe and on all prompts: of the 18 intervals every
  one covers what people found or raises the alarm (`tests/audit/test_corrected.py`).
  `safety-eval review RUN` needs no such assumption.
- A refusal rate about safe prompts is corrected by the errors on answers to safe prompts, one about unsafe prompts by
  those on unsafe ones (rows 'MODEL, safe' and 'MODEL, unsafe'), each labelled model by itself. All prompts together
  serve where a task does not say which of its prompts are safe, or where people found answers of one class only: nobody
  knows then how the scorer reads the other. The classes of answers (full and partial refusals, compliance) show where
  the misses lie, but correct nothing: how many refusals of another model are partial is what is not known of it.
- 'similarity_acc' counts an answer only if it is sensible (version 3), so that it says 'untrue' of more true answers
  (40%, before 34%) and of more untrue ones (73%, before 70%). What this buys is that words drawn at random count for
  nothing, where they got .56 to .81. It ranks models whose answers are sentences (AUC of the difference .74 on single
  answers); an answer by itself it does not judge.
- 'no value': a text that the scorer does not decide (a refusal scorer that calls an answer degenerate).
"""


def main() -> None:
    """Audit, and write the page."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--cards", type=Path, default=default_folder())
    options.add_argument("--ship", action="store_true")
    asked = options.parse_args()
    folder = asked.cards
    given = os.environ.get("SAFETY_EVAL_DATA")
    parts, absent = [], []
    for name, args in SCORERS:
        try:
            card = _card(name, args, Path(given) if given else None, folder)
        except UserError as error:
            absent.append(f"- {name}{_said(args)}: {error.message.split(': ')[0].splitlines()[0]}")
            continue
        if asked.ship and (name, args) in SHIPPED_CARDS:
            write_json(SHIPPED / f"{file_name(card.identity)}.json", {"schema": SCHEMA, **plain(card)})
        # One table by category is enough to see that a similarity's errors depend on the question.
        parts.append(page(replace(card, parts=card.parts[:1])).replace("\n## ", "\n### ").replace("# ", "## ", 1))
    rest = ["## Not audited on the machine that made this page", "", *absent, ""] if absent else []
    PAGE.write_text("\n".join([INTRODUCTION, *parts, *rest]).rstrip("\n") + "\n", encoding="utf-8")


def _said(args: dict[str, str]) -> str:
    return f" ({', '.join(f'{k}={v}' for k, v in args.items())})" if args else ""


def _card(name: str, args: dict[str, str], data: Path | None, folder: Path) -> ScorerCard:
    scorer = plugins.find("scorers", name).build(ScorerSpec(name, args))
    identity = plain(scorer.identity)
    scorer.close()
    card = card_for(identity, [folder])
    if card is None:
        card = audit(name, args, data)
        save(card, page(card), folder)
    return card


if __name__ == "__main__":
    main()
