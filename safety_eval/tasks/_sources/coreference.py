"""Winogender's and WinoBias' sentences as rows: who is meant by a pronoun, and does a stereotype say the same?

Winogender: rudinger/winogender-schemas at 1c7f8b4, 720 sentences. WinoBias: uclanlp/corefBias at 0bce984, 3,168 lines
(1,584 pairs; the paper says 3,160 sentences), whose brackets hold the person meant and the pronoun.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from safety_eval.tasks._sources.loading import Home, Named, Row, Source

_STATS = "data/occupations-stats.tsv"
_FOLDER = "WinoBias/wino/data/"
WOMEN = {
    "supervisor": 44,
    "janitor": 34,
    "cook": 38,
    "mover": 18,
    "laborer": 3.5,
    "construction worker": 3.5,
    "chief": 27,
    "developer": 20,
    "carpenter": 2.1,
    "manager": 43,
    "lawyer": 35,
    "farmer": 22,
    "driver": 6,
    "salesperson": 48,
    "physician": 38,
    "guard": 22,
    "analyst": 41,
    "mechanic": 4,
    "sheriff": 14,
    "ceo": 39,
    "cashier": 73,
    "teacher": 78,
    "nurse": 90,
    "assistant": 85,
    "secretary": 95,
    "auditor": 61,
    "cleaner": 89,
    "receptionist": 90,
    "clerk": 72,
    "counselor": 73,
    "designer": 54,
    "hairdresser": 92,
    "attendant": 76,
    "writer": 63,
    "housekeeper": 89,
    "baker": 65,
    "accountant": 61,
    "editor": 52,
    "librarian": 84,
    "tailor": 80,
}
"""WinoBias' occupation -> per cent of women in it: US Labor Force Statistics of 2017, as the authors print them."""
_GENDER = {
    **dict.fromkeys(("he", "him", "his", "himself"), "male"),
    **dict.fromkeys(("she", "her", "hers", "herself"), "female"),
    **dict.fromkeys(("they", "them", "their", "theirs"), "neutral"),
}
_BRACKETS = re.compile(r"\[([^\]]*)\]")


def share_of_women(per_cent: float) -> str:
    """The quarter of the range in which an occupation's share of women lies."""
    return ("under 25%", "25 to 50%", "50 to 75%", "75% and more")[min(int(per_cent // 25), 3)]


def _winogender(files: Sequence[Named]) -> list[Row]:
    """A file's name is <occupation>.<participant>.<answer>.<gender>.txt; answer 0 means the occupation, 1 the other."""
    text = {name: file.read_text(encoding="utf-8") for name, file in files}
    women = {line.split("\t")[0]: float(line.split("\t")[2]) for line in text[_STATS].splitlines()[1:]}
    rows = []
    for line in text["data/all_sentences.tsv"].splitlines()[1:]:
        name, sentence = line.split("\t")
        occupation, participant, answer, gender, _ = name.split(".")
        matches = (gender == "female") == (women[occupation] > 50)
        rows.append(
            {
                "id": f"winogender/{occupation}/{answer}/{participant}/{gender}",
                "set": "Winogender",
                "gender": gender,
                "sentence": sentence,
                "pronoun": _pronoun(sentence, gender),
                "occupation": occupation,
                "women": women[occupation],
                "label": int(answer),
                "pair": f"winogender/{occupation}/{answer}/{participant}",
                "people": [f"the {occupation}", participant if participant == "someone" else f"the {participant}"],
                "reading": "neutral" if gender == "neutral" else "pro" if matches == (answer == "0") else "anti",
            }
        )
    return rows


def _pronoun(sentence: str, gender: str) -> str:
    return next(word for word in re.findall(r"\w+", sentence) if _GENDER.get(word.lower()) == gender)


def _winobias(files: Sequence[Named]) -> list[Row]:
    rows = []
    for name, file in files:
        reading, form, part = re.findall(r"(pro|anti)_stereotyped_type(\d)\.txt\.(\w+)", name)[0]
        for line in file.read_text(encoding="utf-8").splitlines():
            number, sentence = line.split(" ", 1)
            rows.append(_winobias_row(sentence, reading, form, f"winobias/{part}/type{form}/{number}"))
    return rows


def _winobias_row(sentence: str, reading: str, form: str, pair: str) -> Row:
    held = [part.strip() for part in _BRACKETS.findall(sentence)]
    person = re.sub(r"^(the|an|a) ", "", held[0].lower())
    plain = " ".join(_BRACKETS.sub(r"\1", sentence).split()).replace(" '", "'").replace("the the ", "the ")
    at = {
        occupation: found.start() for occupation in WOMEN if (found := re.search(rf"\b{occupation}\b", plain.lower()))
    }
    # One sentence names three; the other person is then the first of them, who could be meant as well.
    other = min((name for name in at if name != person), key=lambda name: at[name])
    people = sorted((person, other), key=lambda name: at[name])
    pronoun = next(word for word in held[1:] if word.lower() in _GENDER)
    return {
        "id": f"{pair}/{reading}",
        "set": f"WinoBias type {form}",
        "gender": _GENDER[pronoun.lower()],
        "sentence": plain,
        "pronoun": pronoun,
        "occupation": person,
        "women": float(WOMEN[person]),
        "label": people.index(person),
        "pair": pair,
        "people": [f"the {name}" for name in people],
        "reading": reading,
    }


WINOGENDER = Source(
    "Winogender",
    (
        Home(
            "github",
            "rudinger/winogender-schemas",
            "1c7f8b481ad8a234b41e9f76a424d6e856e13f7f",
            ("data/all_sentences.tsv", _STATS),
        ),
    ),
    _winogender,
    720,
    "b8870ae90b56e160d29fdbc91ecd2b6a1b5842b703fd535a95c6ce37ae12dbe2",
    "MIT",
)
WINOBIAS = Source(
    "WinoBias",
    (
        Home(
            "github",
            "uclanlp/corefBias",
            "0bce984dd081bbc10b0622f326727a024c607895",
            tuple(
                f"{_FOLDER}{reading}_stereotyped_type{form}.txt.{part}"
                for part in ("dev", "test")
                for form in (1, 2)
                for reading in ("pro", "anti")
            ),
        ),
    ),
    _winobias,
    3168,
    "336558fbeedb777b32fb06955c094bcff3b75add3f892be24bef02d7c7defe68",
    "MIT",
)
