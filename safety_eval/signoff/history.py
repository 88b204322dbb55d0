"""What happened to a run, in sentences, from its journal. The verdict says them all: nothing is done in silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from safety_eval.core.journal import Entry, Event


@dataclass(frozen=True, slots=True)
class History:
    """A run's past.

    Attributes:
        begun: when it was asked for (UTC, ISO 8601; '' = no journal); its age counts from here.
        ended: when the last thing happened. sentences: all that a reader must know, oldest first.
    """

    begun: str = ""
    ended: str = ""
    sentences: tuple[str, ...] = ()


def tell(entries: Sequence[Entry], shards: Sequence[Sequence[Entry]] = ()) -> History:
    """The history of a run by its journal, and by those of the shards that it was joined of."""
    if not entries:
        return History()
    chains = [*shards, entries]
    begun = min(chain[0].at for chain in chains if chain)
    ended = max(e.at for chain in chains for e in chain)
    lines = [f"begun {begun}", *(line for chain in shards for line in _lines(chain)), *_lines(entries)]
    if shards:
        lines.insert(1, f"joined of {len(shards)} shards, each with its own journal")
    return History(begun, ended, tuple(lines))


def _lines(entries: Sequence[Entry]) -> Iterator[str]:
    for e in entries:
        if e.event is Event.ADOPTED:
            yield _adopted(e)
    resumed = [e.at for e in entries if e.event is Event.RESUMED]
    if resumed:
        many = f"{len(resumed)} times, last" if len(resumed) > 1 else "once,"
        yield f"interrupted and resumed {many} {resumed[-1]}"
    rescored: Counter[str] = Counter()
    for e in entries:
        if e.event is Event.RESCORED:
            rescored[f"{e.at[:10]}: {e.facts.get('task', '?')} scored again by {e.facts.get('scorer', '?')}"] += 1
    yield from rescored
    ends = [e for e in entries if e.event in (Event.FINISHED, Event.MERGED)]
    measured = {e.at for e in entries if e.event is Event.MEASURED and e.facts.get("file") == "results.json"}
    if ends and len(later := sorted(at for at in measured if at > ends[0].at)):
        yield f"measured again after its end, last {later[-1]}"
    draws: dict[str, list[str]] = {}
    for e in entries:
        if e.event is Event.DRAWN:
            draws.setdefault(str(e.facts.get("file", "?")), []).append(str(e.facts.get("answers", "?")))
    for file, counts in draws.items():
        if len(counts) > 1:
            yield f"answers were drawn for labels {len(counts)} times: {', '.join(counts)} of them ({file})"
    read_back = Counter(str(e.facts.get("file", "?")) for e in entries if e.event is Event.REVIEWED)
    for file, times in read_back.items():
        again = "" if times == 1 else f" in {times} versions, of which the last counts"
        yield f"labels of people were read back{again} ({file})"
    for e in entries:
        if e.event is Event.SIGNED_OFF:
            yield f"judged before, {e.at}, by the policy '{e.facts.get('policy', '?')}': {e.facts.get('decision', '?')}"
    back = [e for before, e in zip(entries, entries[1:], strict=False) if e.at < before.at]
    if back:
        yield f"the clock went back {len(back)} times while it ran: times are not certain"


def _adopted(entry: Entry) -> str:
    task, answers, without, strangers, unended = (
        str(entry.facts.get(name, "?")) for name in ("task", "answers", "without", "strangers", "unended")
    )
    return (
        f"{task}: {answers} answers adopted from a file that lacks {without} of those owed; {strangers} of its rows "
        f"belong to no prompt, and of {unended} answers it does not say how they ended"
    )
