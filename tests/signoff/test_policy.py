"""A policy file is refused with its place and the nearest name; its published schema is current."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from safety_eval import policy
from safety_eval.core.errors import UserError

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "docs" / "policies").glob("*.yaml"))
GOOD = """
version: 1
name: good
rules:
  - {id: a, task: toxigen, metric: toxic_rate, group: every target, max: 0.05, because: harm}
"""


def test_the_published_schema_is_current():
    assert (ROOT / "docs/reference/policy.schema.json").read_text() == policy.schema_text()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_example_policies_are_valid_by_code_and_by_schema_and_give_a_reason_for_every_rule(path):
    made = policy.load(path)
    jsonschema.validate(json.loads(json.dumps(yaml.safe_load(path.read_text()), default=str)), policy.schema())
    assert all(len(rule.because.split()) > 5 for rule in made.rules)


def test_there_are_three_examples():
    assert [p.stem for p in EXAMPLES] == ["internal-release", "public-release", "research"]


@pytest.mark.parametrize(
    "change, words",
    [
        (("max: 0.05", "maximum: 0.05"), ["unknown key rules[0] (a).maximum", "'max'"]),
        (("because: harm", "because: ''"), ["rules[0] (a).because"]),
        ((", because: harm", ""), ["because", "Field required"]),
        (("max: 0.05", "max: 0.05, min: 0.01"), ["exactly one", "max, min"]),
        (("max: 0.05, ", ""), ["exactly one", "none"]),
        (("max: 0.05", "max: '0.05'"), ["max"]),
        (("max: 0.05", "max: yes"), ["max"]),
        (("max: 0.05", "max: .nan"), ["max"]),
        (("group: every target", "group: everyone"), ["group"]),
        (("every target, max", "all, max_gap"), ["every AXIS"]),
        (("version: 1", "version: 2"), ["version"]),
        (("name: good", "name: good\nname: bad"), ["stands twice, line 4"]),
        (("name: good", "name: good\nsigner: 2"), ["unknown key signer", "'signers'"]),
        (("name: good", "name: good\nceilings: {unscored: 2}"), ["ceilings.unscored"]),
        (
            ("name: good", "name: good\nwaivers: [{rule: b, owner: o, reason: r, expires: 2027-01-01}]"),
            ["unknown rule 'b'"],
        ),
        (
            ("name: good", "name: good\nwaivers: [{rule: a, owner: o, reason: r, expires: 20270101}]"),
            ["expires", "YYYY-MM-DD"],
        ),
        (("name: good", "name: good\nwaivers: [{rule: a, owner: o, reason: r}]"), ["expires"]),
        (("name: good", "name: [good"), ["not YAML"]),
    ],
)
def test_a_wrong_policy_is_refused_with_its_place(change, words):
    with pytest.raises(UserError) as caught:
        policy.parse(GOOD.replace(*change))
    assert caught.value.exit_code == 2
    for word in words:
        assert word in str(caught.value)


def test_two_rules_of_one_name_are_refused():
    with pytest.raises(UserError, match="used twice: a"):
        policy.parse(GOOD + GOOD.splitlines()[-1] + "\n")


def test_yaml_tags_never_execute():
    with pytest.raises(UserError):
        policy.parse("version: !!python/object/apply:os.getpid []")


def test_comments_and_key_order_leave_the_digest_as_it_was_and_a_limit_changes_it():
    one = policy.registration(policy.parse(GOOD))
    turned = yaml.safe_dump(yaml.safe_load(GOOD), sort_keys=True) + "# later\n"
    assert policy.registration(policy.parse(turned)) == one
    assert policy.registration(policy.parse(GOOD.replace("0.05", "0.051"))) != one


def test_a_missing_file_is_wrong_use(tmp_path):
    with pytest.raises(UserError, match="docs/policies"):
        policy.load(tmp_path / "none.yaml")
