"""Arithmetic skills of ``sayso/Tutor-v0``: what tests each, the answers, the usual mistakes.

A problem is two numbers and a sign. Whether it tests a skill is decided by the numbers alone:
"27 + 15" tests carrying, because 7 and 5 make ten or more; no words can make "1 + 1" do so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

SIGNS = {
    "+": "+", "-": "-", "\u2212": "-", "x": "x", "\u00d7": "x", "*": "x", "/": "/", "\u00f7": "/",
}  # fmt: skip
"""Signs as they may be written, minus, times and divided by included."""
PROBLEM = r"([0-9]{1,4}) ?([+\-\u2212x\u00d7*/\u00f7]) ?([0-9]{1,4})|([0-9]{1,2})% of ([0-9]{1,4})"
EQUATION = re.compile(rf"(?<![0-9.\-])(?:{PROBLEM}) ?= ?(-?[0-9]{{1,6}})(?![0-9])")
EXPRESSION = re.compile(rf"(?<![0-9.\-])(?:{PROBLEM})(?![0-9])")


class Problem(NamedTuple):
    """Two numbers and a sign: ``+ - x /``, or ``%`` for "left percent of right"."""

    left: int
    sign: str
    right: int

    def text(self) -> str:
        """As it is written."""
        if self.sign == "%":
            return f"{self.left}% of {self.right}"
        return f"{self.left} {self.sign} {self.right}"

    @property
    def answer(self) -> int | None:
        """The whole number that it makes, ``None`` if it makes none."""
        a, b = self.left, self.right
        if self.sign == "/":
            return a // b if b and a % b == 0 else None
        if self.sign == "%":
            return a * b // 100 if a * b % 100 == 0 else None
        return {"+": a + b, "-": a - b, "x": a * b}[self.sign]

    @property
    def key(self) -> tuple[int, str, int]:
        """The same for problems that differ in the order of what is added or multiplied."""
        swaps = self.sign in "+x" and self.left > self.right
        left, right = (self.right, self.left) if swaps else (self.left, self.right)
        return (left, self.sign, right)


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """What can be learned.

    Attributes:
        sign: Sign of its problems.
        like: An example, for the first observation.
        fits: Whether two numbers test it.
        is_hard: Whether they do so in the harder way.
        mistake: The answer of one who has not learned it.
        left, right: Least and greatest number on each side that exercises are drawn from.
        says: How it is done; a worked example follows it.
    """

    sign: str
    like: str
    fits: Callable[[int, int], bool]
    is_hard: Callable[[int, int], bool]
    mistake: Callable[[int, int], int]
    left: tuple[int, int]
    right: tuple[int, int]
    says: str


def _borrow_mistake(a: int, b: int) -> int:
    """Each digit of the smaller from the larger, whichever stands above."""
    return abs(a // 10 - b // 10) * 10 + abs(a % 10 - b % 10)


SKILLS: Mapping[str, Skill] = {
    "adding": Skill(
        sign="+", like="3 + 4", left=(1, 9), right=(1, 9),
        fits=lambda a, b: 1 <= a <= 9 and 1 <= b <= 9,
        is_hard=lambda a, b: a + b > 10, mistake=lambda a, b: a + b - 1,
        says="We start at the first number and count on by the second",
    ),
    "carrying": Skill(
        sign="+", like="27 + 15", left=(11, 99), right=(11, 99),
        fits=lambda a, b: 10 <= a <= 99 and 10 <= b <= 99 and a % 10 + b % 10 >= 10,
        is_hard=lambda a, b: a + b >= 100, mistake=lambda a, b: a + b - 10,
        says="When the ones make ten or more, we carry one ten to the tens",
    ),
    "subtracting": Skill(
        sign="-", like="9 - 4", left=(2, 18), right=(1, 9),
        fits=lambda a, b: 2 <= a <= 18 and 1 <= b <= 9 and a > b,
        is_hard=lambda a, b: a > 10, mistake=lambda a, b: a - b + 1,
        says="We start at the first number and count back by the second",
    ),
    "borrowing": Skill(
        sign="-", like="52 - 27", left=(20, 99), right=(11, 89),
        fits=lambda a, b: 20 <= a <= 99 and 10 <= b < a and a % 10 < b % 10,
        is_hard=lambda a, b: a >= 60, mistake=_borrow_mistake,
        says="When the ones are too few, we borrow one ten from the tens",
    ),
    "multiplying": Skill(
        sign="x", like="4 x 3", left=(2, 9), right=(2, 9),
        fits=lambda a, b: 2 <= a <= 9 and 2 <= b <= 9,
        is_hard=lambda a, b: a >= 6 and b >= 6, mistake=lambda a, b: a * b - a,
        says="We add the first number as many times as the second says",
    ),
    "multiplying tens": Skill(
        sign="x", like="34 x 6", left=(11, 99), right=(2, 9),
        fits=lambda a, b: 11 <= a <= 99 and 2 <= b <= 9,
        is_hard=lambda a, b: a >= 50, mistake=lambda a, b: a // 10 * b * 10 + a % 10 * b % 10,
        says="We multiply the tens and the ones and add the two together",
    ),
    "dividing": Skill(
        sign="/", like="12 / 4", left=(4, 81), right=(2, 9),
        fits=lambda a, b: 2 <= b <= 9 and a % b == 0 and 2 <= a // b <= 9,
        is_hard=lambda a, b: a >= 40, mistake=lambda a, b: a // b + 1,
        says="We ask how many times the second number goes into the first",
    ),
    "negatives": Skill(
        sign="-", like="4 - 9", left=(1, 19), right=(2, 20),
        fits=lambda a, b: 1 <= a < b <= 20,
        is_hard=lambda a, b: b - a > 8, mistake=lambda a, b: b - a,
        says="We count back past zero, so the number is less than nothing",
    ),
    "percentages": Skill(
        sign="%", like="50% of 40", left=(1, 99), right=(20, 400),
        fits=lambda a, b: a in (10, 20, 25, 50, 75) and 20 <= b <= 400 and b % 20 == 0,
        is_hard=lambda a, b: a in (25, 75), mistake=lambda a, b: b - a,
        says="We take as many parts of every hundred as the first number says",
    ),
    "thousands": Skill(
        sign="+", like="2400 + 1300", left=(1000, 9900), right=(1000, 9900),
        fits=lambda a, b: a >= 1000 and b >= 1000 and a % 100 == 0 and b % 100 == 0,
        is_hard=lambda a, b: a % 1000 + b % 1000 >= 1000, mistake=lambda a, b: a + b - 1000,
        says="We add the thousands and the hundreds one after the other",
    ),
}  # fmt: skip


def problem_of(groups: Sequence[str]) -> Problem:
    """The problem in the groups of a match of ``PROBLEM``, where those not met are empty."""
    left, sign, right, percent, whole = groups[:5]
    if percent:
        return Problem(int(percent), "%", int(whole))
    return Problem(int(left), SIGNS[sign], int(right))


def problems(text: str) -> list[Problem]:
    """Every problem that a text states, in order."""
    return [problem_of(groups) for groups in EXPRESSION.findall(text)]


def fits(problem: Problem, skill: str) -> bool:
    """Whether a problem tests a skill."""
    known = SKILLS[skill]
    return problem.sign == known.sign and known.fits(problem.left, problem.right)


@lru_cache(maxsize=64)
def pool(skill: str, *, hard: bool) -> tuple[Problem, ...]:
    """All problems of a skill that exercises are drawn from."""
    known = SKILLS[skill]
    (low, high), (least, most) = known.left, known.right
    step = 100 if low >= 1000 else 1  # whole hundreds
    return tuple(
        Problem(left, known.sign, right)
        for left in range(low, high + 1, step)
        for right in range(least, most + 1, step)
        if known.fits(left, right) and known.is_hard(left, right) is hard
    )


def draw(
    rng: np.random.Generator, skill: str, used: Collection[tuple[int, str, int]], *, hard: bool
) -> Problem:
    """A problem of a skill that was not posed yet; if all were, any."""
    found = pool(skill, hard=hard)
    start = int(rng.integers(len(found)))
    for offset in range(len(found)):
        problem = found[(start + offset) % len(found)]
        if problem.key not in used:
            return problem
    return found[start]
