"""Does losing answers, or another limit, ever bring a verdict nearer to 'approved'? Random runs, every kind of rule.

    python benchmarks/fidelity/losses.py [TRIALS] [SEED]

Each trial draws groups, clusters of any size, overlaps, rates that depend on size, samples of a prompt, a policy with
a rule of any kind for either estimand, and a baseline; then answers are lost (one, some, a whole group or all of a
cluster; also the baseline's). A trial counts as an improvement when a rule that was not met becomes met, or when a
limit that decides a rule moves the favourable way by more than 1e-9.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from safety_eval.compare.differences import Pairs, of_pairs
from safety_eval.core.records import Output, Prompt
from safety_eval.core.task import Headline, Measured, Metric, PromptSet, ScorerChoice, Task, TaskOptions
from safety_eval.measure.metrics import columns, estimates
from safety_eval.policy import Policy, Rule
from safety_eval.signoff import rules
from safety_eval.signoff.rules import Claim

RATE = Metric(
    "rate",
    ("v",),
    lambda p, o, v: float(v["v"]),
    better="lower",
    axes=("g",),
    headlines=(Headline("macro", ("g",)),),
)
SCORE = replace(
    RATE, name="score", needs=("m",), measure=lambda p, o, v: float(v["m"]), kind="mean", bounds=(-1.0, 1.0)
)
GOOD = replace(RATE, name="good", needs=("w",), measure=lambda p, o, v: float(v["w"]), better="higher")
METRICS = {m.name: m for m in (RATE, SCORE, GOOD)}


LOSSES_A_RUN = 10
"""Losses from one random run: what the rule saw of the whole run is computed once."""


def task(rule: Rule) -> Task:
    """Of the kind 'choose', which has no further rates of its own (degenerate, refused): they are gated alike. It has
    the rule's metric alone, over the groups that the rule is about: nothing else is looked at."""
    whole, macro = METRICS[rule.metric], rule.of.axis == "macro"
    metric = replace(whole, axes=whole.axes if rule.of.every else (), headlines=whole.headlines if macro else ())

    def load(options: TaskOptions) -> PromptSet:
        return PromptSet((), "")

    return Task("t", "T", "", "choose", load, ("v",), metrics=(metric,), scorers=(ScorerChoice("s"),))


LOSSES = ("exception", "missing score", "degenerate")


@dataclass(frozen=True)
class Trial:
    """A run, its baseline and what is asked of them."""

    run: list[Measured]
    baseline: list[Measured]
    policy: Policy


def trial(seed: int) -> Trial:
    draw = random.Random(seed)
    prompts = _prompts(draw)
    samples = draw.choice([1, 1, 2, 3])
    base, slope, agree = 10 ** draw.uniform(-2.5, -0.3), draw.choice([-1.0, 0.0, 1.0]), draw.random()
    sizes = Counter(p.unit for p in prompts)
    shared = {unit: draw.random() for unit in sizes}

    def answered(worse: float) -> list[Measured]:
        rows = []
        for prompt in prompts:
            rate = min(1.0, worse * base * sizes[prompt.unit] ** slope)
            for sample in range(samples):
                u = shared[prompt.unit] if draw.random() < agree else draw.random()
                rows.append(_row(prompt, sample, float(u < rate), draw))
        return rows

    return Trial(answered(1.0), answered(draw.choice([0.5, 1.0, 1.5])), _policy(draw, base))


def _prompts(draw: random.Random) -> list[Prompt]:
    groups = [f"g{i}" for i in range(draw.randint(1, 4))]
    prompts: list[Prompt] = []
    for c in range(draw.randint(1, 12)):
        inside = tuple(draw.sample(groups, draw.choice([1, 1, 1, min(2, len(groups))])))
        for i in range(draw.choice([1, 1, 2, 5, 30])):
            prompts.append(Prompt("t", f"{c}/{i}", groups={"g": inside}, cluster=f"c{c}"))
    return prompts


def _row(prompt: Prompt, sample: int, bad: float, draw: random.Random) -> Measured:
    score = draw.choice([bad, -bad, draw.uniform(-1, 1)])
    values = {"s": {"v": bad, "w": 1 - bad, "m": score}, "refusal": {"status": "comply"}}
    return Measured(prompt, Output("k", prompt.id, sample, text="x"), values, {}, "comply")


def _policy(draw: random.Random, base: float) -> Policy:
    margin = {"margin": draw.choice([0.02, 0.1, 0.3, 0.6])}
    limits = (
        ("rate", {"max": min(0.99, draw.choice([1.5, 3, 10]) * base)}),
        ("score", {"max": draw.uniform(-0.5, 0.9)}),
        ("score", {"min": draw.uniform(-0.9, 0.5)}),
        ("good", {"min": 1 - min(0.99, draw.choice([1.5, 3]) * base)}),
        ("rate", {"max_gap": draw.uniform(0.05, 0.9)}),
        ("score", {"max_gap": draw.uniform(0.05, 1.9)}),
        ("rate", {"non_inferior": margin}),
        ("good", {"non_inferior": margin}),
        ("rate", {"equivalent": margin}),
        ("score", {"equivalent": margin}),
        ("score", {"non_inferior": {**margin, "direction": "lower"}}),
    )
    metric, limit = draw.choice(limits)
    group = "every g" if "max_gap" in limit else draw.choice(["all", "macro", "every g"])
    about = draw.choice([{}, {"estimand": "population", "icc": draw.choice([0.05, 0.3, 1.0])}])
    rule = Rule(id="r", task="t", metric=metric, group=group, because="b", floor_met_because="b", **limit, **about)
    return Policy(version=1, name="p", level=draw.choice([0.9, 0.95, 0.99]), rules=(rule,))


def lose(rows: Sequence[Measured], draw: random.Random, axis: str = "g") -> list[Measured]:
    """Some answers gone: one, a share, those of a cluster or of a group; the kindest value where one is left."""
    pick = draw.choice(["one", "one", "share", "cluster", "group"])
    victim = draw.choice(rows)
    share, how = draw.random(), draw.choice(LOSSES)
    out = []
    for row in rows:
        gone = {
            "one": row is victim,
            "share": draw.random() < share,
            "cluster": row.prompt.unit == victim.prompt.unit,
            "group": bool(set(row.prompt.groups[axis]) & set(victim.prompt.groups[axis])),
        }[pick]
        out.append(_lost(row, how) if gone else row)
    return out


def _lost(row: Measured, how: str) -> Measured:
    if how == "exception":
        broken = Output("k", row.prompt.id, row.output.sample, error="exception: gone", stop_reason="error")
        return Measured(row.prompt, broken, {}, dict.fromkeys(row.values, "not scored"), "undecided")
    if how == "missing score":
        return replace(row, values={}, errors=dict.fromkeys(row.values, "server: gone"), status="undecided")
    kind = {"s": {"v": 0.0, "w": 1.0, "m": 0.0}, "refusal": {"status": "degenerate"}}
    return replace(row, values=kind, status="degenerate")


def claims(run: Sequence[Measured], baseline: Sequence[Measured], policy: Policy) -> dict[tuple[str, str], Claim]:
    """What every rule sees, by rule and group."""
    rule = policy.rules[0]
    about = task(rule)
    compared = None
    if rule.limit in ("non_inferior", "equivalent"):
        sides = [{c.scorer: c for c in columns(about, side, "v")} for side in (run, baseline)]
        both = [(sides[0][s], sides[1][s]) for s in sides[0] if s == "s" and s in sides[1]]
        compared = [d for new, old in both for d in of_pairs(Pairs(new, old, np.ones(len(run), bool)))]
    found = [] if compared is not None else estimates(about, run, "v")
    seen = [c for rule in policy.rules for c in rules.claims(rule, found, compared, policy)]
    return {(c.rule.id, c.cell.group): c for c in seen}


def improvements(before: dict[tuple[str, str], Claim], after: dict[tuple[str, str], Claim]) -> Iterator[str]:
    """What a loss made better: a rule met that was not, or a deciding limit that moved the favourable way."""
    for place, new in after.items():
        old = before.get(place)
        if old is None or old.fault:
            if new.met:
                yield f"{place}: met, where there was nothing to act on"
            continue
        if new.met and not old.met:
            yield f"{place}: met, was not"
        limit = old.rule.limit
        rises = limit in ("max", "max_gap", "equivalent") or (limit == "non_inferior" and old.rule.metric != "good")
        falls = limit in ("min", "equivalent") or (limit == "non_inferior" and old.rule.metric == "good")
        now, then = new.interval, old.interval
        if rises and None not in (now.high, then.high) and now.high < then.high - 1e-9:
            yield f"{place}: upper limit {then.high} -> {now.high}"
        if falls and None not in (now.low, then.low) and now.low > then.low + 1e-9:
            yield f"{place}: lower limit {then.low} -> {now.low}"
    if not any(new.fault for new in after.values()):
        yield from (f"{p}: an unmet claim disappeared" for p, c in before.items() if p not in after and not c.met)


def run(trials: int, seed: int) -> tuple[int, int, Counter[str]]:
    """Losses tried, improvements found, and how often each kind of rule was met before (that it can be lost)."""
    tried = improved = 0
    met: Counter[str] = Counter()
    case = 0
    while tried < trials:
        made = trial(seed + case)
        case += 1
        before = claims(made.run, made.baseline, made.policy)
        met.update(c.rule.limit for c in before.values() if c.met)
        draw = random.Random(-seed - case)
        for _ in range(LOSSES_A_RUN):
            side = draw.random()
            new = lose(made.run, draw) if side < 0.8 else made.run
            old = lose(made.baseline, draw) if side > 0.6 else made.baseline
            wrong = list(improvements(before, claims(new, old, made.policy)))
            tried += 1
            if wrong:
                improved += 1
                print(f"seed {seed + case - 1}: {wrong[:3]}")
    return tried, improved, met


if __name__ == "__main__":
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    tried, improved, met = run(trials, int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print(f"{tried:,} losses, {improved} improvements; rules met before a loss: {dict(met)}")
    sys.exit(1 if improved else 0)
