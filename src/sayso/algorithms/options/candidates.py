"""What options of learners that choose among candidates have in common."""

from __future__ import annotations

from typing import Literal, Protocol

from sayso.algorithms.checks import check_memory, check_positive
from sayso.data.options import ReplayOptions
from sayso.sampling.options import CandidateOptions

Features = Literal["lm", "own"]
"""What heads read: the frozen language model's hidden states, or those of a copy that trains."""


class CandidateLearnerOptions(Protocol):
    """Options that all learners over candidates have."""

    @property
    def candidates(self) -> CandidateOptions:
        """Among what is chosen."""

    @property
    def replay(self) -> ReplayOptions:
        """What is remembered."""

    @property
    def tasks_per_step(self) -> int:
        """Different tasks per update."""

    @property
    def group_size(self) -> int:
        """Attempts at each."""

    @property
    def draws(self) -> int:
        """Decisions of an optimiser step."""

    @property
    def updates_per_step(self) -> int:
        """Optimiser steps per update."""

    @property
    def learning_starts(self) -> int:
        """Decisions seen before the first of them."""

    @property
    def gamma_turn(self) -> float:
        """Discount from one turn to the next."""

    @property
    def critic_lr(self) -> float:
        """Learning rate of all that trains."""

    @property
    def target_every(self) -> int:
        """Optimiser steps from one move of the target to the next."""

    @property
    def target_rate(self) -> float:
        """How far it moves."""

    @property
    def huber(self) -> float:
        """Where errors begin to count linearly."""


def check_candidate_options(options: CandidateLearnerOptions) -> None:
    """Refuse what is out of range.

    Raises:
        ValueError: Naming the option.
    """
    check_memory(
        tasks_per_step=options.tasks_per_step, group_size=options.group_size,
        updates_per_step=options.updates_per_step, replay=options.replay,
    )  # fmt: skip
    check_positive(
        critic_lr=options.critic_lr, huber=options.huber, draws=options.draws,
        target_every=options.target_every,
    )  # fmt: skip
    if options.learning_starts < 0:
        raise ValueError(f"learning_starts must not be negative, got {options.learning_starts}")
    if not 0 <= options.gamma_turn <= 1:
        raise ValueError(f"gamma_turn must be in [0, 1], got {options.gamma_turn}")
    if not 0 < options.target_rate <= 1:
        raise ValueError(f"target_rate must be in (0, 1], got {options.target_rate}")
