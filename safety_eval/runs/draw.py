"""`--limit`: a seeded, stratified random draw from a task's list of prompts, the same on every machine.

All prompts are put into one random order that depends on the seed, the task and the prompts' ids alone, and the first
ones are taken: so a larger limit contains a smaller one. In that order the groups of the task's limit axis take turns
(an even share), or, without such an axis, every stratum keeps its share of the list. Within a group each stratum, and
within a stratum each cluster, is spread evenly: the j-th of its m members stands at (j + u) / m, u uniform. So every
prompt of a group has the same chance, clusters of one size all come before a second member of any, and a cluster
that holds half of a group holds half of its draw: a draw that took one prompt of each cluster instead would answer for
another list, and could approve what the full list does not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from safety_eval.core import sampling
from safety_eval.core.records import Prompt
from safety_eval.core.task import Drawn, Stratum, Task, asked_with

_RANGE = 2.0**63


@dataclass(frozen=True, slots=True)
class Draw:
    """Prompts drawn from a list.

    Attributes:
        prompts: in the list's order.
        drawn: how many of how many, by the group that took its turns. note: the same in words.
    """

    prompts: Sequence[Prompt]
    drawn: Drawn
    note: str


@dataclass(frozen=True, slots=True)
class _Unit:
    """What is drawn together: a prompt, or all prompts of a cluster or an intent where the task asks these whole."""

    name: str
    prompts: tuple[Prompt, ...]
    home: str
    parent: str
    strata: tuple[str, ...]


def draw(prompts: Sequence[Prompt], limit: int, task: Task, seed: int) -> Draw:
    """At most `limit` prompts; more only where the task asks clusters (intents) whole and one alone is larger.

    Args:
        prompts: the whole list. limit: 1 or more, below the list's size. seed: the run's.
    """
    units = _units(prompts, task)
    names: set[str] = set()
    kept: list[Prompt] = []
    for unit in _order(units, task, seed):
        if kept and len(kept) + len(unit.prompts) > limit:
            break
        names.add(unit.name)
        kept += unit.prompts
        if len(kept) >= limit:
            break
    ids = {p.id for p in kept}
    listed = Counter({u.home: 0 for u in units})
    asked = Counter({u.home: 0 for u in units})
    for unit in units:
        listed[unit.home] += len(unit.prompts)
        asked[unit.home] += len(unit.prompts) * (unit.name in names)
    strata = tuple(Stratum(home, asked[home], listed[home]) for home in _by_size(prompts, task) if home in listed)
    drawn = Drawn(task.limit_axis, strata, _listed(prompts, task))
    return Draw([p for p in prompts if p.id in ids], drawn, _note(len(prompts), limit, task, seed, strata))


def _listed(prompts: Sequence[Prompt], task: Task) -> dict[str, dict[str, int]]:
    """Prompts of every group on the list, for all metrics together and for each one that is about a part."""
    tables = {"": prompts}
    tables |= {m.name: [p for p in prompts if m.where(p)] for m in task.metrics if m.where is not None}
    return {
        name: dict(Counter(f"{axis}/{group}" for p in rows for axis, groups in p.groups.items() for group in groups))
        | {"total/all": len(rows)}
        for name, rows in tables.items()
    }


def _groups(prompt: Prompt, axis: str) -> tuple[str, ...]:
    return prompt.groups.get(axis, ()) or ("",)


def _by_size(prompts: Sequence[Prompt], task: Task) -> list[str]:
    """Groups of the limit axis, the smallest first: the first one that a prompt is in is where it takes its turn, so
    that a group whose prompts are all in a larger one gets its share."""
    sizes = Counter(group for prompt in prompts for group in _groups(prompt, task.limit_axis))
    return sorted(sizes, key=lambda group: (sizes[group], group))


def _units(prompts: Sequence[Prompt], task: Task) -> list[_Unit]:
    together: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        together.setdefault(asked_with(prompt, task.whole), []).append(prompt)
    rank = {group: i for i, group in enumerate(_by_size(prompts, task))}
    units = []
    for name, members in together.items():
        first = members[0]
        home = min((g for p in members for g in _groups(p, task.limit_axis)), key=rank.__getitem__)
        strata = (
            *(_stratum(first, axis) for axis in task.limit_strata),
            "" if task.whole == "cluster" else first.unit,
        )
        units.append(_Unit(name, tuple(members), home, _stratum(first, task.limit_parent), strata))
    return units


def _stratum(prompt: Prompt, axis: str) -> str:
    """Value of a group axis or of a design factor."""
    return "+".join(prompt.groups[axis]) if axis in prompt.groups else prompt.factors.get(axis, "")


def _order(units: Sequence[_Unit], task: Task, seed: int) -> list[_Unit]:
    """Every unit, in the order of the draw."""
    homes: dict[str, list[_Unit]] = {}
    for unit in units:
        homes.setdefault(unit.home, []).append(unit)
    chance = _Chance(seed, task.name)
    queues = {home: _spread(members, 0, chance, home) for home, members in homes.items()}
    turns = _turns({home: members[0].parent for home, members in homes.items()}, chance)
    longest = max(map(len, queues.values()), default=0)
    return [queues[home][i] for i in range(longest) for home in turns if i < len(queues[home])]


def _turns(parents: Mapping[str, str], chance: _Chance) -> list[str]:
    """Homes in the order of their turns: one of each parent before a second of any."""
    by_parent: dict[str, list[str]] = {}
    for home in sorted(parents, key=lambda home: (chance(f"turn {home}"), home)):
        by_parent.setdefault(parents[home], []).append(home)
    ranked = [
        (rank, chance(f"parent {parent}"), home)
        for parent, members in by_parent.items()
        for rank, home in enumerate(members)
    ]
    return [home for *_, home in sorted(ranked)]


class _Chance:
    """Uniform numbers in [0, 1) by name: the same ones on every machine."""

    def __init__(self, seed: int, task: str) -> None:
        self._seed, self._stream = seed, f"limit of {task}"

    def __call__(self, name: str) -> float:
        return sampling.draw_key(self._seed, self._stream, name, 0) / _RANGE


def _spread(units: Sequence[_Unit], level: int, chance: _Chance, path: str) -> list[_Unit]:
    """Units in random order, those of every stratum spread evenly over it."""
    if len(units) == 1 or level == len(units[0].strata):
        return sorted(units, key=lambda unit: (chance(unit.name), unit.name))
    parts: dict[str, list[_Unit]] = {}
    for unit in units:
        parts.setdefault(unit.strata[level], []).append(unit)
    places: list[tuple[float, str, int, _Unit]] = []
    for name, members in parts.items():
        inner = f"{path}\x1f{name}"
        phase = chance(f"phase {inner}")
        for i, unit in enumerate(_spread(members, level + 1, chance, inner)):
            places.append(((i + phase) / len(members), name, i, unit))
    return [unit for *_, unit in sorted(places, key=lambda place: place[:3])]


def _note(listed: int, limit: int, task: Task, seed: int, strata: Sequence[Stratum]) -> str:
    asked = sum(s.asked for s in strata)
    words = f"limit: {asked} of {listed} prompts, drawn at random by seed {seed}"
    if task.limit_axis:
        words += f", an even share of every {task.limit_axis}"
    elif task.limit_strata:
        words += f", every {' and '.join(task.limit_strata)} by its share of the list"
    silent = [s.name for s in strata if not s.asked]
    if silent:
        words += f" as far as {limit} go: {len(silent)} of {len(strata)} are not asked"
    if asked > limit:
        words += f" (each {task.whole} is asked whole, and one of {asked} is the least)"
    elif task.whole:
        words += f" (each {task.whole} is asked whole)"
    return words + "; not the full benchmark."
