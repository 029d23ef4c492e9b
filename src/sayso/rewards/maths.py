"""A scorer of mathematical answers, by math-verify (the extra ``math``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sayso.rewards.answers import boxes
from sayso.rewards.checker import checked, require_timeout
from sayso.rewards.scorer import Scorer, column

MAX_CHARS = 20_000


@dataclass(frozen=True, kw_only=True)
class Math(Scorer):
    """The answer is mathematically equal to the right one; 1 or 0, 0 for an empty answer.

    Expressions, fractions, sets, intervals, matrices, in LaTeX or plainly written, compared by
    math-verify. It runs in a process of its own, which is killed after ``timeout_s``: texts such as
    ``5^(5^(5^(5^5)))`` hang it. A text that does that is not right.

    Several boxes are no answer unless they say the same: math-verify would look for the right one.

    Attributes:
        column: Column with the right answer.
        timeout_s: Seconds for one answer.
    """

    column: str = "answer"
    timeout_s: float = 5.0

    def __post_init__(self) -> None:
        require_timeout(self.timeout_s, "Math")

    def __call__(self, prompt: Any, completion: str, **columns: Any) -> float:
        """1 if it is right."""
        right = str(column(columns, self.column, self))
        if not completion.strip() or len(completion) > MAX_CHARS or _hedges(completion):
            return 0.0
        call = {"right": _as_mathematics(right), "text": completion}
        return float(checked("math", call, timeout_s=self.timeout_s) is True)


def _hedges(text: str) -> bool:
    """Whether there are boxes with different contents."""
    return len({text[place].strip() for place in boxes(text)}) > 1


def _as_mathematics(right: str) -> str:
    """A right answer as math-verify finds it: it looks at LaTeX between dollars first."""
    return right if "$" in right or "\\boxed" in right else f"${right}$"
