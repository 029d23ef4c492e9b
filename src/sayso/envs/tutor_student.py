"""The student of ``sayso/Tutor-v0``: Bayesian knowledge tracing, with skills that need others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

EASY, HARD_TOLD, HARD_UNTOLD = 1.0, 1.5, 0.5
"""Chance of learning from an exercise, in units of the skill's own: an easy one; a hard one after
an explanation; a hard one before any."""
EXPLAINED, EXPLAINED_AGAIN, EXPLAINED_AT_ONCE, HINTED = 2.0, 1.0, 0.25, 1.5
"""The same for a first explanation; a later one, after some practice; one without practice in
between; a hint after a wrong answer."""
HARD_SLIP, HARD_GUESS = 1.5, 0.5
"""Slips and guesses of a hard exercise, in units of the skill's own."""
MOST = 0.9
"""Greatest chance of learning in one turn."""
MIN_UNLEARNED = 2
"""Skills that every student lacks at the start, at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """A skill of one student.

    Attributes:
        name: One of ``tutor_skills.SKILLS``.
        needs: Places of the skills that must be mastered before it can be learned.
        init: Probability that it is mastered at the start, if what it needs is.
        learn: Probability of learning it in one easy exercise, P(T).
        guess: Probability of a right answer without mastery, P(G).
        slip: Probability of a wrong answer with mastery, P(S).
    """

    name: str
    needs: tuple[int, ...]
    init: float
    learn: float
    guess: float
    slip: float


def traced(rows: Sequence[Mapping[str, Any]]) -> tuple[Traced, ...]:
    """Skills from a payload."""
    return tuple(Traced(**{**row, "needs": tuple(row["needs"])}) for row in rows)


def states(num_skills: int) -> NDArray[np.bool_]:
    """All sets of mastered skills, bool [2**k, k]."""
    numbers = np.arange(2**num_skills)[:, None]
    return (numbers >> np.arange(num_skills) & 1).astype(bool)


def can_learn(
    skills: Sequence[Traced], place: int, mastered: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Whether a skill is still to learn and all that it needs is mastered: of each row of sets."""
    ready = np.asarray(mastered[:, list(skills[place].needs)].all(axis=1))
    return np.asarray(~mastered[:, place] & ready)


def prior(skills: Sequence[Traced]) -> NDArray[np.float64]:
    """Probability of each set of mastered skills at the start, float64 [2**k].

    Skill by skill: ``init`` if what it needs is mastered, else 0; given that at least
    ``MIN_UNLEARNED`` are missing.
    """
    sets = states(len(skills))
    found = np.ones(len(sets))
    for place, skill in enumerate(skills):
        ready = sets[:, list(skill.needs)].all(axis=1)
        chance = np.where(ready, skill.init, 0.0)
        found *= np.where(sets[:, place], chance, 1.0 - chance)
    found *= sets.sum(axis=1) <= len(skills) - MIN_UNLEARNED
    return np.asarray(found / found.sum())


class Student:
    """What a student knows, what they answer, and what an ideal observer would believe.

    The observer knows the student's rates but not the state: it starts at ``prior`` and applies
    Bayes' rule to each answer, over all sets of mastered skills, so that needs are exact.

    Args:
        skills: What there is to learn.
        mastered: Which of it is mastered at the start.

    Source:
        Corbett and Anderson 1995, Knowledge tracing, User Modeling and User-Adapted Interaction
        4, 253-278: four parameters a skill, no forgetting. Needs, difficulty, explanations and
        hints are ours.
    """

    def __init__(self, skills: Sequence[Traced], mastered: Sequence[bool]) -> None:
        self.skills = tuple(skills)
        self.mastered = np.array(mastered, dtype=bool)
        self.belief = prior(self.skills)
        self.explained: set[int] = set()
        self.practised: set[int] = set()

    @property
    def expected(self) -> float:
        """Expected number of mastered skills, as the observer believes."""
        return float(self.belief @ states(len(self.skills)).sum(axis=1))

    def exercise(self, place: int, *, hard: bool, care: float, draws: NDArray[np.float64]) -> bool:
        """Answer by what is mastered now, then perhaps learn.

        Args:
            place: Of the skill.
            hard: The exercise is a hard one.
            care: How well it was worded, in [0, 1].
            draws: Two uniform numbers.

        Returns:
            Whether the answer is right.
        """
        skill, sets = self.skills[place], states(len(self.skills))
        guess = skill.guess * (HARD_GUESS if hard else 1.0)
        slip = skill.slip * (HARD_SLIP if hard else 1.0)
        right = bool(draws[0] < (1.0 - slip if self.mastered[place] else guess))
        chance = np.where(sets[:, place], 1.0 - slip, guess)
        self.belief = self.belief * (chance if right else 1.0 - chance)
        self.belief /= self.belief.sum()
        rate = (HARD_TOLD if place in self.explained else HARD_UNTOLD) if hard else EASY
        self._learn(place, rate * skill.learn, care, draws[1])
        self.practised.add(place)
        return right

    def explain(self, place: int, *, care: float, draws: NDArray[np.float64]) -> None:
        """Listen, and perhaps learn."""
        self._learn(place, self.explaining(place) * self.skills[place].learn, care, draws[1])
        self.explained.add(place)
        self.practised.discard(place)

    def explaining(self, place: int) -> float:
        """What an explanation is worth now, in units of the skill's own chance of learning."""
        if place not in self.explained:
            return EXPLAINED
        return EXPLAINED_AGAIN if place in self.practised else EXPLAINED_AT_ONCE

    def hint(self, place: int, *, care: float, draws: NDArray[np.float64]) -> None:
        """Think again about what was answered wrongly, and perhaps learn."""
        self._learn(place, HINTED * self.skills[place].learn, care, draws[1])

    def _learn(self, place: int, chance: float, care: float, draw: float) -> None:
        """From a turn of this worth; badly worded, half is lost."""
        chance = min(MOST, chance * (0.5 + 0.5 * care))
        if can_learn(self.skills, place, self.mastered[None])[0] and draw < chance:
            self.mastered[place] = True
        sets = states(len(self.skills))
        moved = np.where(can_learn(self.skills, place, sets), chance * self.belief, 0.0)
        self.belief = self.belief - moved
        self.belief[np.flatnonzero(moved) + (1 << place)] += moved[moved > 0]
