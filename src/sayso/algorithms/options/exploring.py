"""ε, the share of decisions that are explored: one schedule for all who have one."""

from __future__ import annotations

from typing import Protocol

from sayso.algorithms.checks import check_positive

SCHEDULE = ("epsilon_start", "epsilon_end", "epsilon_decisions")


class Exploring(Protocol):
    """Options with a schedule of ε."""

    @property
    def epsilon_start(self) -> float:
        """ε at first."""

    @property
    def epsilon_end(self) -> float:
        """ε at last."""

    @property
    def epsilon_decisions(self) -> int:
        """Decisions from the one to the other."""


def check_exploring(options: Exploring) -> None:
    """Refuse what is no share, and a schedule without length.

    Raises:
        ValueError: Naming the option.
    """
    for name in SCHEDULE[:2]:
        if not 0 <= getattr(options, name) <= 1:
            raise ValueError(f"{name} must be in [0, 1], got {getattr(options, name)}")
    check_positive(epsilon_decisions=options.epsilon_decisions)


def epsilon_at(options: Exploring, num_decisions: int) -> float:
    """ε after so many decisions: in a straight line from start to end, where it stays.

    Args:
        options: The schedule.
        num_decisions: Turns that the learner was given, of all episodes.
    """
    done = min(1.0, num_decisions / options.epsilon_decisions)
    return options.epsilon_start + done * (options.epsilon_end - options.epsilon_start)
