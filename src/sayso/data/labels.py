"""Judgements of a person, as they come: a journal of every answer, and the preferences in it.

``FILE`` holds preferences, one a line, in the format of ``data.preferences``; beside it
``FILE.journal`` holds every question with its answer, ties, skips and repeated pairs too. Both are
append-only, and each answer is on the disk before the next question is asked. The journal decides:
what a crash kept out of ``FILE`` is added when the file is opened again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

from sayso.errors import DataError, LogError
from sayso.runs.jsonl import JsonlLog, read
from sayso.stats.intervals import Interval, bounded_interval

Answer = Literal["first", "second", "tie", "skip"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Two answers to one prompt, as they are shown.

    Attributes:
        pair: Number of the pair.
        task: Id of the task.
        prompt: What was asked: text, or messages as JSON values.
        first, second: The two texts in the order of showing.
        writer_first, writer_second: Who wrote them; never shown.
        is_again: The pair was judged before, the other way round.
    """

    pair: int
    task: str
    prompt: Any
    first: str
    second: str
    writer_first: str
    writer_second: str
    is_again: bool = False

    def swapped(self) -> Question:
        """The same pair the other way round, to be judged again."""
        return Question(
            pair=self.pair, task=self.task, prompt=self.prompt, first=self.second,
            second=self.first, writer_first=self.writer_second, writer_second=self.writer_first,
            is_again=True,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A question with its answer."""

    question: Question
    answer: Answer

    @property
    def chosen(self) -> str | None:
        """The preferred text; ``None``: neither."""
        q = self.question
        return {"first": q.first, "second": q.second}.get(self.answer)

    def to_preference(self) -> dict[str, Any] | None:
        """A row of the file; ``None`` for a tie, a skip, and a pair that was judged before."""
        q = self.question
        if self.chosen is None or q.is_again:
            return None
        won, lost = ("first", "second") if self.answer == "first" else ("second", "first")
        return {
            "prompt": q.prompt, "chosen": getattr(q, won), "rejected": getattr(q, lost),
            "task": q.task, "writer_chosen": getattr(q, f"writer_{won}"),
            "writer_rejected": getattr(q, f"writer_{lost}"), "pair": q.pair,
        }  # fmt: skip


class Labels:
    """The file and its journal, open for more.

    Attributes:
        judged: Every answer so far.
    """

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        """Open, or begin.

        Args:
            path: The file of preferences.
            about: What decides the questions; a file goes on with the same only.

        Raises:
            DataError: If there is a file without a journal, or one of other questions.
        """
        journal = path.with_name(f"{path.name}.journal")
        if path.exists() and not journal.exists():
            raise DataError(
                where=str(path), problem="is there and was not written by sayso label.",
                fix="Name another file.",
            )  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        self._journal, self._file = JsonlLog(journal), JsonlLog(path)
        try:
            self.judged = self._read(journal, dict(about))
            self._add_missing(path)
        except (DataError, LogError):
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close both."""
        self._journal.close()
        self._file.close()

    def add(self, question: Question, answer: Answer) -> None:
        """Keep an answer: on the disk when this returns.

        Raises:
            OSError: If the disk refuses.
        """
        judged = Judged(question=question, answer=answer)
        self._put(self._journal, {"answer": answer, **asdict(question)})
        row = judged.to_preference()
        if row is not None:
            self._put(self._file, row)
        self.judged.append(judged)

    @property
    def num_preferences(self) -> int:
        """Pairs of which one side was preferred."""
        return sum(one.to_preference() is not None for one in self.judged)

    def agreement(self) -> Interval | None:
        """How often a pair that was asked again was judged alike; ``None``: none was."""
        return agreement(self.judged)

    def _read(self, journal: Path, about: dict[str, Any]) -> list[Judged]:
        rows = list(read(journal))
        if not rows:
            self._put(self._journal, {"about": about})
            return []
        if rows[0].get("about") != about:
            raise DataError(
                where=str(journal),
                problem=f"holds answers to other questions: {rows[0].get('about')}.",
                fix=f"Ask as then, or name another file; asked now: {about}.",
            )
        return [Judged(answer=row.pop("answer"), question=Question(**row)) for row in rows[1:]]

    def _add_missing(self, path: Path) -> None:
        """Put what the journal knows and the file does not into the file."""
        there = {row.get("pair") for row in read(path)}
        for one in self.judged:
            row = one.to_preference()
            if row is not None and row["pair"] not in there:
                self._put(self._file, row)

    def _put(self, log: JsonlLog, row: Mapping[str, Any]) -> None:
        log.append(row)
        if not log.flush():
            raise OSError(f"{log.path}: the answer could not be written to the disk")


def agreement(judged: Sequence[Judged]) -> Interval | None:
    """Share of repeated pairs that were judged alike, with its 95 % interval; skips aside."""
    before = {one.question.pair: one for one in judged if not one.question.is_again}
    alike = [
        float(one.chosen == before[one.question.pair].chosen)
        for one in judged
        if one.question.is_again and "skip" not in (one.answer, before[one.question.pair].answer)
    ]
    return bounded_interval(alike, 0.0, 1.0) if alike else None
