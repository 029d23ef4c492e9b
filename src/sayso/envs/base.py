"""The contract of a text environment: a ``gymnasium.Env`` whose observations and actions are text."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium

from sayso.envs.spaces import Chat, Message, Utterance
from sayso.types import Task

SPLITS = ("train", "held_out", "unseen")
Observation = str | tuple[Message, ...]


class TextEnv(gymnasium.Env[Observation, str]):
    """Base class of sayso's environments; any ``gymnasium.Env`` with text spaces works too.

    A subclass sets the two spaces, lists its tasks, and writes ``reset`` and ``step``:

    - ``reset(seed=, options={"task": id, "split": name})`` returns ``(observation, info)``. With
      a task id it poses exactly that task; without one it draws from the split (default
      ``"train"``) by ``seed``. ``self.choose(seed, options)`` does that.
    - ``step(action)`` returns ``(observation, reward, terminated, truncated, info)``.
      ``terminated`` is a real end of the task, ``truncated`` a cut-off from outside it. A reward
      of ``None`` means "not graded". ``info["reward_parts"]`` may name the parts of the reward,
      ``info["choices"]`` (in reset or step) may list candidate actions.

    Attributes:
        max_turns: Decisions after which the rollout cuts the episode off (truncated);
            ``None`` leaves that to the environment.
        timeout_s: Ask for a process of its own: each reset and step gets this many seconds,
            then the process is killed, the episode is invalid and the run goes on. ``None``
            runs in the trainer's process.
    """

    observation_space: gymnasium.Space[Any] = Utterance()
    action_space: gymnasium.Space[Any] = Utterance()
    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["ansi"]}
    max_turns: int | None = None
    timeout_s: float | None = None

    @abstractmethod
    def tasks(self, split: str) -> Sequence[Task]:
        """Tasks of a split, in a fixed order. May be lazy; empty if the split does not exist."""

    def choose(self, seed: int | None, options: dict[str, Any] | None) -> Task:
        """The task that ``reset`` should pose.

        Raises:
            UnknownNameError: If the split or the task does not exist.
        """
        raise NotImplementedError


__all__ = ["SPLITS", "Chat", "Message", "Observation", "TextEnv", "Utterance"]
