"""The contract: a ``gymnasium.Env`` whose observations and actions are text."""

from __future__ import annotations

import difflib
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import gymnasium

from sayso.envs.spaces import Chat, Message, Utterance
from sayso.errors import EnvContractError, UnknownNameError
from sayso.seeds import generator
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
    metadata: dict[str, Any] = {"render_modes": ["ansi"]}  # noqa: RUF012  # Gymnasium's own type
    max_turns: int | None = None
    timeout_s: float | None = None

    @property
    def process_spec(self) -> dict[str, Any] | None:
        """How a process of its own makes the same environment, as ``EnvSource.spec``.

        ``None``: only this process can. Asked when an object, not an id or a class, is passed.
        """
        return None

    @abstractmethod
    def tasks(self, split: str) -> Sequence[Task]:
        """Tasks of a split, in a fixed order. May be lazy; empty if the split does not exist."""

    def choose(self, seed: int | None, options: dict[str, Any] | None) -> Task:
        """The task that ``reset`` should pose: the one named, else one drawn from the split.

        Args:
            seed: As given to ``reset``; without one, ``self.np_random`` decides.
            options: As given to ``reset``: ``{"task": id, "split": name}``, both optional.

        Raises:
            UnknownNameError: If the split or the task does not exist.
            EnvContractError: If there is an option of another name.
        """
        given = dict(options or {})
        split, wanted = given.pop("split", "train"), given.pop("task", None)
        if given:
            raise EnvContractError(
                where=f"{type(self).__name__}.reset",
                problem=f"got the options {sorted(given)}.",
                fix='Use options={"task": id, "split": name}.',
            )
        tasks = self.tasks(split)
        if not len(tasks):
            known = [name for name in SPLITS if len(self.tasks(name))]
            raise UnknownNameError(
                where=f"{type(self).__name__}, split {split!r}",
                problem="has no tasks.",
                fix=f"Splits with tasks: {', '.join(known) or 'none'}.",
            )
        if wanted is not None:
            return self.task_by_id(wanted, split)
        if seed is None:
            return tasks[int(self.np_random.integers(len(tasks)))]
        return tasks[int(generator(seed, "task", split).integers(len(tasks)))]

    def task_by_id(self, task_id: str, split: str) -> Task:
        """The task with this id, looked for in its split first.

        Raises:
            UnknownNameError: With the nearest ids.
        """
        for name in (split, *(s for s in SPLITS if s != split)):
            index = self._index(name)
            if task_id in index:
                return self.tasks(name)[index[task_id]]
        near = difflib.get_close_matches(task_id, list(self._index(split))[:5000], n=1)
        raise UnknownNameError(
            where=f"{type(self).__name__}, task {task_id!r}",
            problem="does not exist.",
            fix=f"Did you mean {near[0]!r}?"
            if near
            else f"Ids look like {self.tasks(split)[0].id!r}.",
        )

    def _index(self, split: str) -> dict[str, int]:
        """Place of each task id in a split; made once."""
        cache: dict[str, dict[str, int]] = self.__dict__.setdefault("_task_index", {})
        if split not in cache:
            cache[split] = {task.id: i for i, task in enumerate(self.tasks(split))}
        return cache[split]


__all__ = ["SPLITS", "Chat", "Message", "Observation", "TextEnv", "Utterance"]
