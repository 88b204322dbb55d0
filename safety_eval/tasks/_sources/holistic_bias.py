"""HolisticBias' sentences, made of the authors' lists by the authors' rules.

Source: Smith et al. 2022 (arXiv 2205.09209); facebookresearch/ResponsibleNLP at 0ec714e, lists v1.1. A test holds the
sentences equal to what the authors' own program writes from these lists: 22,029 noun phrases, 566,625 sentences.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from safety_eval.core.requires import NOTHING, Requires
from safety_eval.core.task import TaskOptions
from safety_eval.tasks._sources.loading import Home, Named, Row, Source, needed

_FOLDER = "holistic_bias/dataset/v1.1"
_LISTS = ("descriptors", "nouns", "sentence_templates", "standalone_noun_phrases")
BASELINE = "no descriptor"
"""Name of the authors' control: a noun alone ('a man' beside 'a blind man'); its axis is 'null', as theirs."""


def _lists(files: Sequence[Named]) -> list[Row]:
    return [
        {"list": name.rsplit("/", 1)[-1].removesuffix(".json"), "content": json.loads(file.read_text("utf-8"))}
        for name, file in files
    ]


HOLISTIC_BIAS = Source(
    "HolisticBias v1.1",
    (
        Home(
            "github",
            "facebookresearch/ResponsibleNLP",
            "0ec714eb084217f44cd9ac466d9e988c795302f9",
            tuple(f"{_FOLDER}/{name}.json" for name in _LISTS),
        ),
    ),
    _lists,
    4,
    "96abd4dfda162db891f6f7a0034cb64fc936d71a454123162e605e3a2e9031f3",
    "MIT (see facebookresearch/ResponsibleNLP LICENSE)",
)


@dataclass(frozen=True, slots=True)
class Phrase:
    """A noun phrase: whom a sentence speaks of.

    Attributes:
        axis, descriptor: as the authors name them. preference: of the community, where the authors asked.
        noun: '' where the phrase has none. gender: of the noun. singular, plural: the phrase itself.
    """

    axis: str
    descriptor: str
    preference: str
    noun: str
    gender: str
    singular: str
    plural: str


@dataclass(frozen=True, slots=True)
class Sentence:
    """A phrase in one of the templates. `id` names both, and is unique."""

    id: str
    phrase: Phrase
    template: str
    text: str


def sentences(rows: Sequence[Row]) -> list[Sentence]:
    """Every sentence, in the order of the lists; texts may repeat ('I'm a veteran.' stands under two descriptors)."""
    lists = {row["list"]: row["content"] for row in rows}
    templates: Mapping[str, Mapping[str, Any]] = lists["sentence_templates"]
    made: list[Sentence] = []
    seen: dict[str, int] = {}
    for phrase in phrases(lists):
        for number, (template, rules) in enumerate(templates.items()):
            if phrase.noun or not rules.get("must_be_noun"):
                name = f"{phrase.axis}/{phrase.descriptor}/{phrase.noun or '-'}/{number:02d}"
                seen[name] = seen.get(name, 0) + 1
                text = template.format(noun_phrase=phrase.singular, plural_noun_phrase=phrase.plural)
                again = f"/{seen[name]}" if seen[name] > 1 else ""
                made.append(Sentence(name + again, phrase, template, text))
    return made


def share(everything: Sequence[Sentence], most: int) -> list[Sentence]:
    """At most so many sentences of each descriptor, in the order of the lists: the first ones in the random order of
    seed 0, which is the same on every machine."""
    by_descriptor: dict[tuple[str, str], list[str]] = {}
    for sentence in everything:
        by_descriptor.setdefault((sentence.phrase.axis, sentence.phrase.descriptor), []).append(sentence.id)
    kept: set[str] = set()
    for names in by_descriptor.values():
        kept.update(sorted(names, key=lambda name: sha256(f"0/holistic_bias/{name}".encode()).digest())[:most])
    return [s for s in everything if s.id in kept]


def required(options: TaskOptions) -> Requires:
    """What a run needs: the authors' lists, but not for our own prompts."""
    return NOTHING if options.version == "quickstart" else needed(HOLISTIC_BIAS)


def phrases(lists: Mapping[str, Any]) -> Iterator[Phrase]:
    """Nouns alone, descriptors alone and before every noun that fits their gender, and the standalone phrases."""
    nouns = [(gender, *pair) for gender, pairs in lists["nouns"].items() for pair in pairs]
    for gender, noun, plural in nouns:
        yield Phrase("null", BASELINE, "", noun, gender, f"{_article(noun)} {noun}", plural)
    for axis, buckets in lists["descriptors"].items():
        for entry in (entry for bucket in buckets.values() for entry in bucket):
            yield from _described(axis, {"descriptor": entry} if isinstance(entry, str) else entry, nouns)
    for axis, entries in lists["standalone_noun_phrases"].items():
        for entry in entries:
            yield from _standing(axis, {"noun_phrase": entry} if isinstance(entry, str) else entry, nouns)


Nouns = Sequence[tuple[str, str, str]]
"""Gender, singular, plural."""


def _described(axis: str, entry: Mapping[str, str], nouns: Nouns) -> Iterator[Phrase]:
    word = entry["descriptor"]
    liked = entry.get("preference", "no_data")
    article = entry.get("article", _article(word))
    yield Phrase(axis, word, liked, "", "", word, word)
    for gender, noun, plural in nouns:
        if entry.get("gender", gender) == gender:
            yield Phrase(axis, word, liked, noun, gender, f"{article} {word} {noun}", f"{word} {plural}")


def _standing(axis: str, entry: Mapping[str, str], nouns: Nouns) -> Iterator[Phrase]:
    """A phrase that holds its noun ('a wheelchair user') or has room for one ('{article} {noun} with a lisp')."""
    one, liked = entry["noun_phrase"], entry.get("preference", "no_data")
    many = entry.get("plural_noun_phrase", one)
    if "{noun}" not in one:
        yield Phrase(axis, one, liked, "", "neutral", one, many)
        return
    word = one.format(article="", noun="").lstrip()
    for gender, noun, plural in nouns:
        singular = one.format(article=_article(noun), noun=noun)
        yield Phrase(axis, word, liked, noun, gender, singular, many.format(article="", noun=plural).lstrip())


def _article(word: str) -> str:
    return "an" if word[0].lower() in "aeiou" else "a"
