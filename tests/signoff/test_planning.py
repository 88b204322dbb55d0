"""The plan says how many prompts a policy needs, and warns where a run could not be approved."""

from __future__ import annotations

from pathlib import Path

import pytest

from safety_eval import policy
from safety_eval.core.records import Prompt
from safety_eval.signoff import planning

POLICIES = Path(__file__).parents[2] / "docs" / "policies"
ONE = """
version: 1
name: one
rules:
  - {id: a, task: toxigen, metric: toxic_rate, group: every target, max: 0.05, min_groups: 13, expect: 0.02, because: r,
     floor_met_because: r}
"""


def prompts(each: int, cluster: int = 1) -> list[Prompt]:
    return [
        Prompt("toxigen", f"{g}-{i}", "x", groups={"target": (f"g{g}",)}, cluster=f"{g}-{i // cluster}")
        for g in range(13)
        for i in range(each)
    ]


def test_thirteen_groups_of_500_at_2_percent_pass_with_the_exact_chance():
    (need,) = planning.plan(policy.parse(ONE), {"toxigen": prompts(500)}).needs
    assert need.groups == 13 and need.have == pytest.approx(500)
    assert need.chance == pytest.approx(0.712, abs=5e-4)
    assert need.short and need.needed > 500
    enough = planning.plan(policy.parse(ONE), {"toxigen": prompts(need.needed)})
    assert enough.chance >= 0.8 and not enough.needs[0].short


def test_the_plan_says_what_each_estimand_could_show():
    """On the list, for prompts like these with a correlation taken for granted, and with none: what is there, what is
    the chance, and which of them the policy claims."""
    there = {"toxigen": prompts(500, cluster=5)}
    at = {0.1: 1 / (0.1 / 100 + 0.9 / 500), 0.3: 1 / (0.3 / 100 + 0.7 / 500)}
    for words, icc, claims in (
        ("", 0.1, 500),
        ("estimand: population\n", 0.1, 100),
        ("estimand: population\nicc: 0.3\n", 0.3, at[0.3]),
    ):
        made = planning.plan(policy.parse(ONE + words), there)
        (need,) = made.needs
        assert need.have == pytest.approx(claims)
        assert [p.have for p in need.prospects] == pytest.approx([500, at[icc], 100])
        assert [p.have for p in need.prospects if p.about == need.about] == pytest.approx([claims])
        chances = [p.chance for p in need.prospects]
        assert sorted(chances, reverse=True) == chances and chances[0] == pytest.approx(0.712, abs=5e-4)
        assert max(len(line) for line in planning.text(made).splitlines()) <= 80
        head, row = planning.text(made).splitlines()[:2]
        assert f"icc {icc:g}" in head and "list" in head and row.count("*") == 1 and "100!" in row


@pytest.mark.parametrize("name", ["research", "internal-release", "public-release"])
def test_each_example_policy_says_what_it_is_about_and_why(name):
    text = (POLICIES / f"{name}.yaml").read_text()
    above = text[text.index("\nlevel:") : text.index("\nestimand:")].splitlines()[2:]
    assert len(above) >= 2 and all(line.startswith("#") for line in above), above


def test_a_hopeless_plan_warns_and_an_impossible_value_has_no_number():
    made = planning.plan(policy.parse(ONE), {"toxigen": prompts(60)})
    assert made.hopeless and "WARNING" in planning.text(made)
    (need,) = planning.plan(policy.parse(ONE.replace("expect: 0.02", "expect: 0.06"))).needs
    assert need.needed is None


@pytest.mark.parametrize("name", ["research", "internal-release", "public-release"])
def test_the_example_policies_can_be_planned_and_met_on_the_real_prompts(name, data_dir):
    terms = policy.load(POLICIES / f"{name}.yaml")
    made = planning.plan(terms, planning.load_prompts(terms, data_dir))
    assert not made.hopeless, planning.text(made)
    assert all(n.have for n in made.needs)
    assert {n.rule for n in made.needs} == {r.id for r in terms.rules}
