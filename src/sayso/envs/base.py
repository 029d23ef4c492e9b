"""The contract: a ``gymnasium.Env`` whose observations and actions are text."""

from __future__ import annotations

import difflib
import itertools
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import gymnasium

from sayso.envs.listed import SplitRaisesError, num_tasks, tasks_of
from sayso.envs.spaces import Chat, Message, Utterance
from sayso.envs.tasks import LazyTasks
from sayso.errors import EnvContractError, UnknownNameError
from sayso.seeds import generator
from sayso.types import Task

if TYPE_CHECKING:
    from sayso.envs.scripted import Scripted

SPLITS = ("train", "held_out", "unseen")
Observation = str | tuple[Message, ...]
Game = TypeVar("Game")
NUM_NEAR = 5_000
"""Most ids that are compared to find the nearest one."""


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
        reward_low, reward_high: Least and greatest return of an episode, if known; what
            ``check_text_env`` measures cheap tricks against.
        part_low, part_high: Range of each part of the reward, over an episode, if known.
        parts_are_summed: The reward is the sum of its parts; ``check_text_env`` then adds up.
        scripted: Players that follow a rule, by name: bounds, and the authors of data sets.
        opened_as: The id or name that it was opened by; empty for an object of the user's own.
    """

    observation_space: gymnasium.Space[Any] = Utterance()
    action_space: gymnasium.Space[Any] = Utterance()
    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  # Gymnasium's own type
    max_turns: int | None = None
    timeout_s: float | None = None
    reward_low: float | None = None
    reward_high: float | None = None
    part_low: float | None = None
    part_high: float | None = None
    parts_are_summed: bool = False
    scripted: Mapping[str, Scripted] = MappingProxyType({})
    opened_as: str = ""

    @property
    def called(self) -> str:
        """What errors call it: the id that it was opened by, else its class."""
        return self.opened_as or type(self).__name__

    @property
    def process_spec(self) -> dict[str, Any] | None:
        """How a process of its own makes the same environment, as ``EnvSource.spec``.

        ``None``: only this process can. Asked when an object, not an id or a class, is passed.
        """
        return None

    @abstractmethod
    def tasks(self, split: str) -> Sequence[Task]:
        """Tasks of a split, in a fixed order. May be lazy; empty if the split does not exist."""

    def why_empty(self, split: str) -> str:
        """Why a split has no tasks and what to do, in a sentence; empty: nothing to add."""
        return ""

    def level(self, task: Task) -> int | None:
        """How hard a task is, from 1 on, as far as that can be told beforehand; None: unknown.

        What ``train.curriculum`` goes by. Unless overridden, ``"level"`` of the payload.
        """
        found = task.payload.get("level")
        return found if isinstance(found, int) else None

    def require_tasks(self, split: str, *, where: str = "") -> Sequence[Task]:
        """Tasks of a split that has some.

        Args:
            split: Its name.
            where: What to call the environment in the error; unset: ``called``.

        Raises:
            UnknownNameError: If it has none; lists the splits that have, with their sizes.
            EnvContractError: If ``tasks`` returns no sequence.
        """
        told = ""
        try:
            tasks = tasks_of(self, split)
        except SplitRaisesError as error:
            tasks, told = (), f": {error.problem.rstrip('.')}"
        if tasks:
            return tasks
        sizes = {name: num_tasks(self, name) for name in SPLITS}
        known = ", ".join(f"{name} ({count})" for name, count in sizes.items() if count)
        known = known or f"none of {', '.join(SPLITS)}"
        near = difflib.get_close_matches(split, [n for n in sizes if sizes[n] and n != split], n=1)
        guess = f"Did you mean {near[0]!r}? " if near else ""
        raise UnknownNameError(
            where=f"{where or self.called}, split {split!r}",
            problem=f"has no tasks{told}.",
            fix=f"{guess}Splits with tasks: {known}. {self.why_empty(split)}".rstrip(),
        )

    def choose(self, seed: int | None, options: dict[str, Any] | None) -> Task:
        """The task that ``reset`` should pose: the one named, else one drawn from the split.

        Args:
            seed: As given to ``reset``; without one, ``self.np_random`` decides.
            options: As given to ``reset``: ``{"task": id, "split": name}``, both optional.

        Raises:
            UnknownNameError: If the split or the task does not exist.
            EnvContractError: If there is an option of another name, or one is no string.
        """
        split, wanted = self._read(options)
        tasks = self.require_tasks(split)
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
        others = (s for s in SPLITS if s != split and num_tasks(self, s))
        for name in (split, *others):
            place = self._place(task_id, name)
            if place is not None:
                return self.tasks(name)[place]
        some = [task.id for task in itertools.islice(self.tasks(split), NUM_NEAR)]
        near = difflib.get_close_matches(task_id, some, n=1)
        raise UnknownNameError(
            where=f"{self.called}, task {task_id!r}",
            problem="does not exist.",
            fix=f"Did you mean {near[0]!r}?"
            if near
            else f"Ids look like {some[0]!r}."
            if some
            else f"The split {split!r} has no tasks.",
        )

    def _read(self, options: Mapping[str, Any] | None) -> tuple[str, str | None]:
        """The split and the task id of ``reset``'s options."""
        given = dict(options or {})
        split, wanted = given.pop("split", "train"), given.pop("task", None)
        problem = f"the options {sorted(map(str, given))}" if given else ""
        if not isinstance(split, str) or not isinstance(wanted, str | None):
            problem = f"split {split!r} and task {wanted!r}, which are not both names"
        if problem:
            raise EnvContractError(
                where=f"{self.called}, reset",
                problem=f"got {problem}.",
                fix='Use options={"task": id, "split": name}.',
            )
        return split, wanted

    def _place(self, task_id: str, split: str) -> int | None:
        """Place of a task in its split; the ids of plain lists are indexed once."""
        tasks = self.tasks(split)
        if isinstance(tasks, LazyTasks):
            return tasks.index_of(task_id)
        cache: dict[str, dict[str, int]] = self.__dict__.setdefault("_task_index", {})
        if split not in cache:
            cache[split] = {task.id: i for i, task in enumerate(tasks)}
        return cache[split].get(task_id)


def in_play(game: Game | None, *, is_over: bool, where: str) -> Game:
    """A game that goes on.

    Raises:
        EnvContractError: If none has begun, or it has ended.
    """
    if game is None or is_over:
        raise EnvContractError(
            where=f"{where}, step", problem="no game is on.", fix="Call reset first."
        )
    return game


__all__ = ["SPLITS", "Chat", "Message", "Observation", "TextEnv", "Utterance"]
