"""A lesson of ``sayso/Tutor-v0``: what has been taught, what the student says, what it earns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sayso.envs.tutor_lines import Key, Line, read
from sayso.envs.tutor_skills import SKILLS, Problem, problems
from sayso.envs.tutor_student import Student, traced

WEIGHTS: Mapping[str, float] = {"gain": 0.45, "test": 0.45, "wording": 0.10}
"""What is earned; together 1."""
WRONG, WITHOUT_EFFECT = -0.02, -0.01
"""What a turn costs that cannot be read or is false; that only teaches nothing."""
PARTS = ("gain", "test", "wording", "form")
RIGHT = ("It is {}.", "{}!", "That makes {}.", "I get {}.")
UNSURE = ("Is it {}?", "Hmm, {}?", "I think it is {}.", "Maybe {}.")
LISTENS = ("I see.", "All right.", "Let me think about that.", "Thank you.")
PUZZLED = ("I do not understand: {}.", "Sorry, {}.", "Wait, {}.")


class Lesson:
    """One lesson; everything that an oracle may see.

    Args:
        content: The task's payload.
        most_turns: Turns of the lesson; unset: the payload's.

    Attributes:
        student: What is known, hidden from the tutor.
        names: The skills in order.
        used: Keys of the problems posed or worked out; an example of each skill to begin with,
            since the first observation shows them.
        missed: The exercise just answered wrongly, and its skill's place.
        log: Of each turn: kind, place of the skill (-1: none), whether the answer was right
            (``None``: there was none). What the tutor saw too.
        num_turns: Turns that are over.
    """

    def __init__(self, content: Mapping[str, Any], most_turns: int | None = None) -> None:
        self.most_turns = int(content["num_turns"]) if most_turns is None else most_turns
        self.student = Student(traced(content["skills"]), content["mastered"])
        self.names = [skill.name for skill in self.student.skills]
        shown = [problem for name in self.names for problem in problems(SKILLS[name].like)]
        self.used: set[Key] = {problem.key for problem in shown}
        self.missed: tuple[Problem, int] | None = None
        self.log: list[tuple[str, int, bool | None]] = []
        self.num_turns = 0
        self._first = self.student.expected
        self._num_first = int(self.student.mastered.sum())
        self._care: list[float] = []

    @property
    def is_over(self) -> bool:
        """Whether all turns are over."""
        return self.num_turns >= self.most_turns

    @property
    def test(self) -> float:
        """Share of what was missing at the start that is mastered now."""
        num_missing = len(self.names) - self._num_first
        return float((self.student.mastered.sum() - self._num_first) / num_missing)

    def step(self, text: str, rng: np.random.Generator) -> tuple[str, dict[str, float]]:
        """One turn of the tutor: the student's reply, and the parts of the reward."""
        # As many draws in every turn, so that attempts with one seed meet the same luck.
        draws = rng.random(3)
        before = self.student.expected
        missed = self.missed[0] if self.missed else None
        line = read(text, taught=self.names, used=self.used, missed=missed)
        reply = self._teach(line, draws)
        self.num_turns += 1
        parts = dict.fromkeys(PARTS, 0.0)
        if line.fault:
            parts["form"] = WITHOUT_EFFECT if line.kind and not line.is_false else WRONG
        self._care.append(0.0 if line.fault else line.care)
        scale = len(self.names) - self._first
        parts["gain"] = WEIGHTS["gain"] * (self.student.expected - before) / scale
        if self.is_over:
            parts["test"] = WEIGHTS["test"] * self.test
            parts["wording"] = WEIGHTS["wording"] * float(np.mean(self._care)) * self.test
        return reply, parts

    def _teach(self, line: Line, draws: np.ndarray) -> str:
        """What a line does to the student, and what the student says."""
        missed, self.missed = self.missed, None
        place = self.names.index(line.skill) if line.skill else -1
        if line.fault:
            self.log.append(("", place, None))
            return _pick(PUZZLED, draws[2]).format(line.fault)
        if line.kind == "hint" and missed is not None:
            self.student.hint(missed[1], care=line.care, draws=draws)
            self.log.append(("hint", missed[1], None))
            return _pick(LISTENS, draws[2])
        if line.problem is None:
            raise ValueError(f"a line without a problem and without a fault: {line}")
        self.used.add(line.problem.key)
        if line.kind == "explain":
            self.student.explain(place, care=line.care, draws=draws)
            self.log.append(("explain", place, None))
            return _pick(LISTENS, draws[2])
        return self._answer(line, line.problem, place, draws)

    def _answer(self, line: Line, problem: Problem, place: int, draws: np.ndarray) -> str:
        """An exercise: the right answer, or the skill's usual mistake."""
        skill = SKILLS[line.skill]
        is_hard = skill.is_hard(problem.left, problem.right)
        right = self.student.exercise(place, hard=is_hard, care=line.care, draws=draws)
        self.log.append(("ask", place, right))
        said = _pick(RIGHT if right else UNSURE, draws[2])
        if right:
            return f"{said.format(problem.answer)} (right)"
        self.missed = (problem, place)
        mistake = skill.mistake(problem.left, problem.right)
        wrong = mistake if mistake != problem.answer else mistake + 1
        return f"{said.format(wrong)} (wrong)"


def _pick(pool: tuple[str, ...], draw: float) -> str:
    return pool[int(draw * len(pool))]
