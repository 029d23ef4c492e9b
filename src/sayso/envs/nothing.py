"""No environment: for runs that learn from stored episodes and are measured elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sayso.envs.base import TextEnv
from sayso.errors import UnknownNameError
from sayso.types import Task

NO_ENV = "none"
"""What stands for it under ``env.id``."""


class NoEnv(TextEnv):
    """Nothing to play: what is learnt from stored episodes is not measured."""

    def tasks(self, split: str) -> Sequence[Task]:
        """None."""
        del split
        return []

    def why_empty(self, split: str) -> str:
        """There is nothing to play."""
        del split
        return "This run has no environment: it learnt from stored episodes alone. Name one."

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Cannot be."""
        raise UnknownNameError(
            where=f"step({action!r})", problem="there is no environment.", fix="Name one."
        )
