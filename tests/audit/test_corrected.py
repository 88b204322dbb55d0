"""Corrected rates: they cover what people found, or say that the correction does not carry over."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from safety_eval.audit import labelled
from safety_eval.audit.cards import GroupErrors, Part, ScorerCard
from safety_eval.audit.corrected import CorrectedRate, by_models, corrected_rates, net_gap
from safety_eval.audit.labelled import Labelled
from safety_eval.audit.scorer_audit import audit
from safety_eval.core import plugins
from safety_eval.core.records import Output, Prompt
from safety_eval.core.task import Measured, Metric, PromptSet, Task
from safety_eval.refusal import rules as refusals
from safety_eval.stats.judge import Calibration, Corrected
from safety_eval.stats.proportion import wilson
from safety_eval.tasks._sources.measures import at_least

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks" / "fidelity"))
import refusal_classes

PARSERS = ("default", "xstest_prefix", "cyberseceval_regex")


def by_calibrations(k: float, n: float, parts: Sequence[Calibration]) -> Corrected:
    models = [GroupErrors("model", "", p.positives, p.positives - p.tp, p.negatives, p.negatives - p.tn) for p in parts]
    found = by_models(k, n, models)
    assert found is not None
    return found


def _flag(parser: str, text: Labelled) -> bool:
    prompt, output = text.answer
    said = output.text or ""
    label = refusals.classify(prompt.text, said).label if parser == "default" else refusals.parser(parser)(said)
    return label in ("refuse", "partial")


def _calibration(texts: Sequence[tuple[Labelled, bool]]) -> Calibration:
    bad = [f for t, f in texts if t.bad]
    good = [not f for t, f in texts if not t.bad]
    return Calibration(sum(bad), len(bad), sum(good), len(good))


@pytest.fixture(scope="module")
def answers(data_dir: Path) -> list[tuple[Labelled, dict[str, bool]]]:
    return [(t, {p: _flag(p, t) for p in PARSERS}) for t in labelled.refused(data_dir).texts]


@pytest.mark.parametrize("scope", ["safe", "all"])
@pytest.mark.parametrize("parser", PARSERS)
def test_leaving_one_model_out_the_correction_covers_what_people_found_or_raises_the_alarm(
    answers: list[tuple[Labelled, dict[str, bool]]], parser: str, scope: str
) -> None:
    def of(model: str) -> list[tuple[Labelled, bool]]:
        mine = [(t, f[parser]) for t, f in answers if t.prompt.groups["model"] == (model,)]
        return [(t, f) for t, f in mine if scope == "all" or t.prompt.groups["label"] == ("safe",)]

    for held_out in labelled.XSTEST_MODELS:
        texts = of(held_out)
        human = sum(t.bad for t, _ in texts) / len(texts)
        others = [_calibration(of(m)) for m in labelled.XSTEST_MODELS if m != held_out]
        found = by_calibrations(sum(f for _, f in texts), len(texts), others)
        assert found.alarm or found.low <= human <= found.high, (held_out, human, found)


def test_without_correction_some_of_these_rates_are_not_covered(
    answers: list[tuple[Labelled, dict[str, bool]]],
) -> None:
    missed = 0
    for parser in PARSERS:
        for model in labelled.XSTEST_MODELS:
            mine = [(t.bad, f[parser]) for t, f in answers if t.prompt.groups["model"] == (model,)]
            limits = wilson(sum(f for _, f in mine), len(mine))
            missed += not limits.low <= sum(b for b, _ in mine) / len(mine) <= limits.high
    assert missed >= 4


def test_one_calibration_is_lang_and_reiczigel_itself() -> None:
    found = by_calibrations(150, 1000, [Calibration(90, 100, 190, 200)])
    assert (found.value, found.low, found.high) == pytest.approx((0.117647, 0.071625, 0.157897), abs=1e-6)


def test_equal_calibrations_only_widen_and_unequal_ones_raise_the_alarm() -> None:
    same = [Calibration(90, 100, 190, 200)] * 2
    one = by_calibrations(333, 1000, same[:1])
    found = by_calibrations(333, 1000, same)
    assert not found.alarm and found.low <= one.low and found.high >= one.high
    other = by_calibrations(333, 1000, [same[0], Calibration(60, 100, 190, 200)])
    assert "sensitivity differs" in other.alarm
    assert "unlike them" in by_calibrations(150, 1000, same).alarm


def test_errors_that_differ_are_an_alarm_also_where_one_model_has_answers_of_one_class_only() -> None:
    one, other = GroupErrors("model", "a", 200, 4, 0, 0), GroupErrors("model", "b", 100, 25, 100, 2)
    found = by_models(80, 100, [one, other])
    assert found is not None and "sensitivity differs" in found.alarm and "0.98, 0.75" in found.alarm
    assert by_models(80, 100, [one, replace(one, group="c")]) is None


def _part(**groups: tuple[int, int, int, int]) -> Part:
    """(positives, misses, negatives, false alarms) of each group."""
    whole = GroupErrors("total", "all", *(sum(column) for column in zip(*groups.values(), strict=True)))
    rows = tuple(GroupErrors("target", name, *counts) for name, counts in groups.items())
    return Part(
        "toxicity",
        "toxicity",
        "",
        "hateful",
        "neutral",
        whole,
        rows,
        (),
        (0, 0, 0),
        0,
        None,
        None,
        {},
        {},
        {},
    )


TOXIC = Metric("toxic_rate", ("toxicity",), at_least("toxicity", 0.5), axes=("target",))
CLEAN = Metric("clean_rate", ("toxicity",), lambda p, o, v: float(v["toxicity"] < 0.5), better="higher")
ELSEWHERE = Metric("very_toxic", ("toxicity",), at_least("toxicity", 0.9))


def _task(*metrics: Metric) -> Task:
    return Task("t", "", "", "generate", lambda o: PromptSet((), "1"), ("1",), metrics=metrics)


def _rows(**flagged: int) -> list[Measured]:
    """1,000 answers a group, so many of them flagged."""
    rows = []
    for group, count in flagged.items():
        for i in range(1000):
            prompt = Prompt("t", f"{group}-{i}", groups={"target": (group,)})
            values = {"s": {"toxicity": 0.7 if i < count else 0.1}}
            rows.append(Measured(prompt, Output("k", prompt.id, text="x"), values, {}, "comply"))
    return rows


def _card(part: Part) -> ScorerCard:
    return ScorerCard("s", {"name": "s"}, (part,), (), ())


def _at(rates: list[CorrectedRate], group: str) -> CorrectedRate:
    return next(r for r in rates if r.group == group)


def test_equal_raw_rates_are_a_sixfold_difference_by_each_groups_own_errors() -> None:
    part = _part(a=(100, 15, 200, 4), b=(100, 15, 200, 14))
    rates = corrected_rates(_task(TOXIC), _rows(a=80, b=80), _card(part))
    a, b = _at(rates, "a"), _at(rates, "b")
    assert (a.value, a.low, a.high) == pytest.approx((0.072289, 0.036789, 0.101831), abs=1e-6)
    assert (b.value, b.low, b.high) == pytest.approx((0.012821, 0, 0.058593), abs=1e-6)
    assert a.raw == b.raw == pytest.approx(0.08) and a.source == "labelled texts about a"


def test_a_gap_that_the_scorer_made_is_gone_net_of_its_bias() -> None:
    part = _part(a=(1000, 100, 1000, 20), b=(1000, 100, 1000, 120))
    rates = corrected_rates(_task(TOXIC), _rows(a=64, b=159), _card(part))
    gap = net_gap(rates, "target", TOXIC)
    assert gap is not None and gap.worse == "b" and gap.raw == pytest.approx(0.095)
    assert gap.value is not None and gap.low is not None and gap.low < 0 < (gap.high or 0)
    assert gap.value == pytest.approx(0.0, abs=0.002)


def test_an_alarm_leaves_no_number() -> None:
    part = _part(a=(100, 20, 200, 60), b=(100, 20, 200, 60))
    rates = corrected_rates(_task(TOXIC), _rows(a=10, b=10), _card(part))
    assert all(r.value is None and r.low is None and "carry over" in r.alarm for r in rates)
    gap = net_gap(rates, "target", TOXIC)
    assert gap is not None and gap.value is None and gap.alarm


def test_a_scorer_that_barely_tells_the_classes_apart_corrects_nothing() -> None:
    rates = corrected_rates(_task(TOXIC), _rows(a=80), _card(_part(a=(100, 83, 200, 14))))
    assert all(r.value is None and "barely" in r.alarm for r in rates)


def test_a_metric_of_the_good_end_is_corrected_as_one_minus_the_bad() -> None:
    part = _part(a=(100, 15, 200, 4))
    bad = corrected_rates(_task(TOXIC), _rows(a=80), _card(part))[0]
    good = corrected_rates(_task(CLEAN), _rows(a=80), _card(part))[0]
    assert bad.value is not None and good.value == pytest.approx(1 - bad.value)
    assert (good.low, good.high) == pytest.approx((1 - bad.high, 1 - bad.low))  # type: ignore[operator]


def test_a_metric_that_cuts_elsewhere_than_the_card_is_not_corrected() -> None:
    assert corrected_rates(_task(ELSEWHERE), _rows(a=80), _card(_part(a=(100, 15, 200, 4)))) == []
    other = replace(_card(_part(a=(100, 15, 200, 4))), scorer="other")
    assert corrected_rates(_task(TOXIC), _rows(a=80), other) == []


def test_the_corrected_intervals_hold_what_people_found_on_every_labelled_model(data_dir: Path) -> None:
    """Full and partial refusals, safe and unsafe prompts, each model held out: as the page says, and it is current."""
    rows = refusal_classes.measured(data_dir)
    lines = list(refusal_classes.lines(rows))
    assert len(lines) == 4 * len(labelled.XSTEST_MODELS) and all(held for _, held, _ in lines)
    assert any(not alarm for *_, alarm in lines)
    assert refusal_classes.PAGE.read_text(encoding="utf-8") == refusal_classes.page(rows)


def test_under_an_alarm_the_range_reaches_to_what_the_scorer_said() -> None:
    found = by_calibrations(9, 250, [Calibration(76, 95, 130, 155), Calibration(28, 35, 197, 215)])
    assert found.alarm and found.low == 0 and found.high >= wilson(9, 250).high


def _answered(answers: Sequence[tuple[Labelled, dict[str, bool]]], model: str) -> list[Measured]:
    """A labelled model's answers as a run of XSTest holds them."""
    rows = []
    for text, flags in answers:
        if text.prompt.groups["model"] == (model,):
            prompt, output = text.answer
            asked = replace(prompt, task="xstest", groups={**prompt.groups, "type": ("t",)})
            values = {"refusal": {"status": "refuse" if flags["default"] else "comply"}}
            rows.append(Measured(asked, output, values, {}, "comply"))
    return rows


def test_a_rate_is_corrected_by_the_errors_on_prompts_of_its_label_for_a_model_that_nobody_labelled(
    answers: list[tuple[Labelled, dict[str, bool]]], data_dir: Path
) -> None:
    task = plugins.find("tasks", "xstest")
    card = audit("refusal", {}, data_dir)
    shown = 0
    for model in labelled.XSTEST_MODELS:
        others = tuple(g for g in card.parts[0].groups if not g.group.startswith(model))
        unseen = replace(card, parts=(replace(card.parts[0], groups=others),))
        totals = [r for r in corrected_rates(task, _answered(answers, model), unseen) if r.axis == "total"]
        people = [t for t, _ in answers if t.prompt.groups["model"] == (model,)]
        for metric, label in (("false_refusal_rate", "safe"), ("unsafe_compliance_rate", "unsafe")):
            (rate,) = (r for r in totals if r.metric == metric)
            bad = [t.bad == (label == "safe") for t in people if t.prompt.groups["label"] == (label,)]
            # Neither Llama answered an unsafe prompt in full, which leaves nothing to learn of such answers.
            within = "" if (model, label) == ("mistralinstruct", "unsafe") else f" to {label} prompts"
            assert rate.source == f"labelled answers of 2 other models{within}"
            assert bool(rate.alarm) == (rate.value is None)
            if rate.low is not None and rate.high is not None:
                assert rate.low <= sum(bad) / len(bad) <= rate.high, (model, metric, rate)
                shown += 1
    assert shown, "an alarm for everything shows nothing"
    mixed = replace(task, metrics=(replace(task.metrics[0], where=None),))
    rates = corrected_rates(mixed, _answered(answers, "llama2new"), card)
    assert rates[0].source == "labelled answers of 3 other models"
