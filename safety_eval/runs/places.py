"""Where each record of a task begins in its file, joined on disk, so that a run of any size takes the same memory.

A private SQLite database, which nobody else sees and which SQLite deletes: a small one stays in its cache, a large one
goes to the folder of temporary files (SQLITE_TMPDIR, TMPDIR). It holds ids, keys and places, no prompt and no answer.
"""

from __future__ import annotations

import sqlite3
import weakref
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from safety_eval.core.errors import UserError
from safety_eval.core.records import FINAL, Output, Prompt, Score, key

Located = tuple[int, int | None, tuple[int | None, ...]]
"""Of an owed answer: the places of its prompt, its output and its scores by the scorers asked for; None = not there."""
_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE prompt (number INTEGER PRIMARY KEY, id TEXT, place INTEGER);
CREATE INDEX by_id ON prompt (id);
CREATE TABLE answer (
  prompt_id TEXT, sample INTEGER, number INTEGER, place INTEGER, key BLOB, failed INTEGER,
  PRIMARY KEY (prompt_id, sample)
) WITHOUT ROWID;
CREATE TABLE score (scorer INTEGER, key BLOB, place INTEGER, owed INTEGER, PRIMARY KEY (scorer, key)) WITHOUT ROWID;
"""
_ANSWER = """
INSERT INTO answer VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (prompt_id, sample)
DO UPDATE SET place = excluded.place, key = excluded.key, failed = excluded.failed
WHERE NOT excluded.failed OR answer.failed
"""
_SAMPLES = 1 << 31
"""No run asks so many; a number beyond is of a file that was tampered with, and names no answer that is owed."""
_SCORE = "INSERT OR REPLACE INTO score VALUES (?, ?, ?, ?)"


class Places:
    """The places of a task's records. Of an answer that was given twice the last without an error counts, else the
    last; of a score the last."""

    def __init__(self) -> None:
        with _told():
            self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            self._db.executescript(_TABLES)
        self._scorers: dict[str, int] = {}
        self._answers = 0
        weakref.finalize(self, self._db.close)

    def add_prompts(self, located: Iterable[tuple[int, Prompt]]) -> None:
        """The prompts of a task, in its file's order."""
        rows = ((number, prompt.id, place) for number, (place, prompt) in enumerate(located))
        with _told():
            self._db.executemany("INSERT INTO prompt VALUES (?, ?, ?)", rows)

    def add_outputs(self, located: Iterable[tuple[int, Output]]) -> None:
        """Outputs, in the order in which they were given."""
        with _told():
            self._db.executemany(_ANSWER, (self._answer(place, output) for place, output in located))

    def add_scores(self, scorer: str, located: Iterable[tuple[int, Score]]) -> None:
        """Scores of a scorer, in the order in which they were given."""
        number = self._scorers.setdefault(scorer, len(self._scorers))
        rows = ((number, _packed(s.output_key), place, bool(s.error) and s.reason not in FINAL) for place, s in located)
        with _told():
            self._db.executemany(_SCORE, rows)

    def _answer(self, place: int, output: Output) -> tuple[str, int, int, int, bytes, bool]:
        self._answers += 1
        sample = output.sample if 0 <= output.sample < _SAMPLES else -1
        return output.prompt_id, sample, self._answers, place, _packed(key(output)), bool(output.error)

    def prompts(self) -> array[int]:
        """The place of every prompt, in the file's order."""
        return array("Q", (place for (place,) in self._all("SELECT place FROM prompt ORDER BY number")))

    def number(self, prompt_id: str) -> int | None:
        """Number of a prompt by its id; None = there is no such prompt."""
        return next((number for (number,) in self._all("SELECT number FROM prompt WHERE id = ?", prompt_id)), None)

    def unanswered(self, sample: int) -> Iterator[int]:
        """Numbers of the prompts without an answer of this sample, or with a failed one."""
        asked = """SELECT p.number FROM prompt p LEFT JOIN answer a ON a.prompt_id = p.id AND a.sample = ?
                   WHERE a.place IS NULL OR a.failed ORDER BY p.number"""
        return (number for (number,) in self._all(asked, sample))

    def asked(self) -> Iterator[int]:
        """Numbers of the prompts of which any sample was asked."""
        there = "SELECT number FROM prompt p WHERE EXISTS (SELECT 1 FROM answer a WHERE a.prompt_id = p.id)"
        return (number for (number,) in self._all(there))

    def unscored(self, scorer: str) -> Iterator[tuple[int, int]]:
        """(place of the prompt, place of the output) of the answers that a scorer has not judged, or failed on for a
        reason that may pass."""
        owed = """SELECT p.place, a.place FROM answer a JOIN prompt p ON p.id = a.prompt_id
                  LEFT JOIN score s ON s.scorer = ? AND s.key = a.key
                  WHERE NOT a.failed AND (s.place IS NULL OR s.owed) ORDER BY a.number"""
        return ((prompt, output) for prompt, output in self._all(owed, self._scorers[scorer]))

    def outputs(self) -> Iterator[int]:
        """Places of the outputs that count, in the order in which they were first given."""
        return (place for (place,) in self._all("SELECT place FROM answer ORDER BY number"))

    def rows(self, samples: int, scorers: Sequence[str], number: int | None = None) -> Iterator[Located]:
        """The places of every owed answer, prompt by prompt and of each sample by sample. `number`: of one prompt."""
        joins = "".join(
            f" LEFT JOIN score s{i} ON s{i}.scorer = {self._scorers[s]} AND s{i}.key = a.key"
            for i, s in enumerate(scorers)
        )
        fields = "".join(f", s{i}.place" for i in range(len(scorers)))
        one = "" if number is None else f"WHERE p.number = {int(number)}"
        rows = f"""WITH RECURSIVE owed (sample) AS (VALUES (0) UNION ALL SELECT sample + 1 FROM owed
                   WHERE sample + 1 < {int(samples)})
                   SELECT p.place, a.place{fields} FROM prompt p CROSS JOIN owed
                   LEFT JOIN answer a ON a.prompt_id = p.id AND a.sample = owed.sample{joins}
                   {one} ORDER BY p.number, owed.sample"""
        return ((prompt, output, tuple(scores)) for prompt, output, *scores in self._all(rows))

    def _all(self, query: str, *values: int | str) -> Iterator[tuple[int, ...]]:
        with _told():
            yield from self._db.execute(query, values)


def _packed(name: str) -> bytes:
    """A record's key in half the room; a name that is no key as it is."""
    try:
        packed = bytes.fromhex(name)
    except ValueError:
        packed = b""
    return packed if packed.hex() == name else name.encode()


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise UserError(
            f"the index of a run's records cannot be kept: {error}",
            "Large runs need room in the folder of temporary files: free some there, or set TMPDIR to another one.",
        ) from error
