"""Environments of one turn: a task shows its prompt, the answer is graded, the episode ends."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from sayso.envs.base import Observation, TextEnv
from sayso.envs.spaces import Chat, Message
from sayso.errors import EnvContractError
from sayso.types import Task

Graded = tuple[float, dict[str, float | None]]
"""A reward and its parts."""


class OneTurnEnv(TextEnv):
    """What environments share whose task has a ``prompt`` in its payload and takes one answer.

    Attributes:
        env_id: Named in errors.
    """

    env_id: str
    max_turns = 1
    _task: Task | None = None

    @abstractmethod
    def grade(self, action: str, payload: Mapping[str, Any]) -> Graded:
        """Reward of an answer to a task, and its parts."""

    def show(self, payload: Mapping[str, Any]) -> Observation:
        """What a task shows: its prompt, unless overridden."""
        prompt: str = payload["prompt"]
        return prompt

    @property
    def task(self) -> Task:
        """What is posed, with all that its payload hides from the player; for oracles.

        Raises:
            EnvContractError: Before ``reset``, and after the answer.
        """
        if self._task is None:
            raise EnvContractError(
                where=f"{self.env_id}, step",
                problem="no task is posed.",
                fix="Call reset before each step: an episode is one turn.",
            )
        return self._task

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Pose a task."""
        super().reset(seed=seed)
        self._task = self.choose(seed, options)
        return self.show(self._task.payload), {"task": self._task.id, "split": self._task.split}

    def step(self, action: str) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Grade the answer; the episode ends."""
        reward, parts = self.grade(action, self.task.payload)
        self._task = None
        end = (Message("user", ""),) if isinstance(self.observation_space, Chat) else ""
        return end, reward, True, False, {"reward_parts": parts}
