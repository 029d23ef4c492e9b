"""What a run may use up, counted on one axis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sayso.errors import OptionValueError

Axis = Literal["env_tokens", "learner_tokens", "wall_clock", "reward_queries", "episodes"]
AXES: tuple[Axis, ...] = get_args(Axis)
UNITS: dict[Axis, str] = {
    "env_tokens": "environment tokens (sampled and observed)",
    "learner_tokens": "learner tokens (a forward 1, with its backward 3)",
    "wall_clock": "seconds of sampling and updating",
    "reward_queries": "rewards asked for",
    "episodes": "episodes trained on",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much of what.

    Attributes:
        axis: What is counted; see ``UNITS``.
        amount: A run stops after the first step at or beyond it.
    """

    axis: Axis
    amount: float

    def __post_init__(self) -> None:
        if self.axis not in AXES:
            raise ValueError(f"axis must be one of {', '.join(AXES)}, got {self.axis!r}")
        if not 0 < self.amount < math.inf:
            raise ValueError(f"amount must be positive and finite, got {self.amount}")

    @classmethod
    def parse(cls, text: str) -> Budget:
        """``"env_tokens=200000"``; ``2e5`` and ``200_000`` are numbers too.

        Raises:
            OptionValueError: If it is not of that form.
        """
        axis, equals, number = text.partition("=")
        known = next((a for a in AXES if a == axis.strip()), None)
        try:
            if not equals or known is None:
                raise ValueError(text)
            return cls(axis=known, amount=float(number))
        except ValueError as error:
            raise OptionValueError(
                where="budget",
                problem=f"got {text!r}.",
                fix=f"Write AXIS=NUMBER, the axis one of {', '.join(AXES)}: env_tokens=200000.",
            ) from error

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"axis": self.axis, "amount": self.amount}

    def parts(self, num: int) -> list[float]:
        """So many places on the way, equally far apart; the last is the amount itself."""
        return [self.amount * part / num for part in range(1, num)] + [self.amount]

    def __str__(self) -> str:
        return f"{self.amount:,.0f} {UNITS[self.axis]}"
