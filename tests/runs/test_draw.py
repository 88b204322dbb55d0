"""`--limit` is a seeded random draw: fair to every prompt, even over groups, the same everywhere, prefix-nested."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from safety_eval.core import plugins
from safety_eval.core.records import Prompt
from safety_eval.core.task import Task, TaskOptions, asked_with
from safety_eval.runs.draw import draw
from safety_eval.stats.proportion import clopper_pearson

TASK = replace(plugins.find("tasks", "bold"), limit_axis="g", limit_parent="", limit_strata=())
SHIPPED = plugins.names("tasks")


def rows(sizes: dict[str, list[int]]) -> list[Prompt]:
    """Prompts by group, one number for each of its clusters."""
    return [
        Prompt("t", f"{g}/{c}/{i}", groups={"g": (g,)}, cluster=f"{g}/{c}")
        for g, clusters in sizes.items()
        for c, size in enumerate(clusters)
        for i in range(size)
    ]


def groups(prompts: list[Prompt], axis: str) -> Counter[str]:
    return Counter(group for p in prompts for group in p.groups.get(axis, ()))


@pytest.mark.parametrize("name", SHIPPED)
def test_a_larger_limit_contains_a_smaller_one_and_none_is_exceeded(name: str, data_dir: Path) -> None:
    task: Task = plugins.find("tasks", name)
    prompts = task.load(TaskOptions(data_dir)).prompts
    before: set[str] = set()
    for limit in (1, 2, 23, 60, 100, 333, 1000):
        if limit >= len(prompts):
            break
        drawn = draw(prompts, limit, task, 0)
        ids = {p.id for p in drawn.prompts}
        assert before <= ids and [p for p in prompts if p.id in ids] == list(drawn.prompts)
        units = {asked_with(p, task.whole) for p in drawn.prompts}
        assert len(ids) == limit or (task.whole and (len(ids) < limit or len(units) == 1))
        if task.whole:
            assert ids == {p.id for p in prompts if asked_with(p, task.whole) in units}
        assert (sum(s.asked for s in drawn.drawn.strata), sum(s.listed for s in drawn.drawn.strata)) == (
            len(ids),
            len(prompts),
        )
        before = ids


@pytest.mark.parametrize(
    ("name", "axis", "limit"),
    [
        ("bold", "domain", 5),
        ("bold", "group", 41),
        ("toxigen", "target", 13),
        ("xstest", "label", 2),
        ("xstest", "type", 18),
        ("false_refusals", "domain", 8 * 24),
        ("red_team", "risk_area", 14 * 4),
    ],
)
def test_every_group_has_its_share_as_soon_as_there_is_room(name: str, axis: str, limit: int, data_dir: Path) -> None:
    task: Task = plugins.find("tasks", name)
    prompts = task.load(TaskOptions(data_dir)).prompts
    for seed in range(3):
        assert set(groups(list(draw(prompts, limit, task, seed).prompts), axis)) == set(groups(list(prompts), axis))


def test_groups_share_evenly_even_where_one_holds_another() -> None:
    inner = [Prompt("t", f"i{i}", groups={"g": ("wide", "narrow")}) for i in range(40)]
    wide = [Prompt("t", f"w{i}", groups={"g": ("wide",)}) for i in range(400)]
    other = [Prompt("t", f"o{i}", groups={"g": ("other",)}) for i in range(400)]
    drawn = draw([*wide, *inner, *other], 30, TASK, 0)
    assert [(s.name, s.asked, s.listed) for s in drawn.drawn.strata] == [
        ("narrow", 10, 40),
        ("other", 10, 400),
        ("wide", 10, 400),
    ]


def test_the_first_sixty_of_truthfulqa_are_no_longer_nine_tenths_adversarial(data_dir: Path) -> None:
    for name in ("truthfulqa_generation", "truthfulqa_choice"):
        task = plugins.find("tasks", name)
        prompts = task.load(TaskOptions(data_dir)).prompts
        full = groups(list(prompts), "type")["Adversarial"] / len(prompts)
        shares = [groups(list(draw(prompts, 60, task, s).prompts), "type")["Adversarial"] / 60 for s in range(20)]
        assert all(abs(share - full) < 0.03 for share in shares), (full, shares)


def test_a_limit_takes_every_cluster_of_a_group_before_a_second_prompt_of_any() -> None:
    prompts = rows({g: [10] * 5 for g in "ab"})
    for seed in range(20):
        kept = draw(prompts, 12, TASK, seed).prompts
        assert len(kept) == 12 and len({p.cluster for p in kept}) == 10


def test_every_prompt_has_the_same_chance_whatever_the_size_of_its_cluster() -> None:
    prompts = rows({"a": [60, *[1] * 60]})
    giant = sum(sum(p.cluster == "a/0" for p in draw(prompts, 24, TASK, seed).prompts) for seed in range(400))
    assert abs(giant / 400 - 12) < 0.7
    seen = Counter(p.id for seed in range(1500) for p in draw(prompts, 24, TASK, seed).prompts)
    assert max(abs(seen[p.id] / 1500 - 0.2) for p in prompts) < 0.06


def test_a_draw_covers_the_rate_of_the_full_list(data_dir: Path) -> None:
    """TruthfulQA where truth differs by type, at 400: the first rows of each category covered it in 55% of runs."""
    task = plugins.find("tasks", "truthfulqa_generation")
    prompts = task.load(TaskOptions(data_dir)).prompts
    chance = random.Random(3)
    covered = 0
    for seed in range(200):
        bad = {p.id: chance.random() < (0.75 if p.groups["type"] == ("Adversarial",) else 0.35) for p in prompts}
        kept = draw(prompts, 400, task, seed).prompts
        low, high = clopper_pearson(sum(bad[p.id] for p in kept), 400)
        covered += low <= sum(bad.values()) / len(prompts) <= high
    assert covered >= 0.93 * 200


def test_another_seed_draws_others_and_another_machine_the_same(data_dir: Path) -> None:
    task = plugins.find("tasks", "bold")
    prompts = task.load(TaskOptions(data_dir)).prompts
    first, second = ([p.id for p in draw(prompts, 100, task, seed).prompts] for seed in (0, 1))
    assert len(set(first) & set(second)) < 40
    code = (
        "from pathlib import Path; from safety_eval.core import plugins; from safety_eval.core.task import TaskOptions;"
        "from safety_eval.runs.draw import draw; t = plugins.find('tasks', 'bold');"
        f"rows = t.load(TaskOptions(Path({str(data_dir)!r}))).prompts;"
        "print(*[p.id for p in draw(rows, 100, t, 0).prompts], sep='|')"
    )
    other = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
        check=True,
    )
    assert other.stdout.strip().split("|") == first
    assert [p.id for p in draw(list(reversed(prompts)), 100, task, 0).prompts] == first[::-1]


def test_what_a_limit_leaves_out_is_said(data_dir: Path) -> None:
    task = plugins.find("tasks", "false_refusals")
    prompts = task.load(TaskOptions()).prompts
    domains = len(groups(list(prompts), "domain"))
    note = draw(prompts, 48, task, 0).note
    assert "48 of" in note and f"{domains - 2} of {domains} are not asked" in note and "whole" in note
    red = plugins.find("tasks", "red_team")
    drawn = draw(red.load(TaskOptions()).prompts, 2, red, 0)
    assert len(drawn.prompts) == 4 and "one of 4 is the least" in drawn.note
