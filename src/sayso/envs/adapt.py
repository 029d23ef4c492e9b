"""Any Gymnasium environment whose observations and actions are text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
from gymnasium import spaces
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker

from sayso.envs.base import Observation, TextEnv
from sayso.envs.spaces import Chat, Utterance
from sayso.envs.tasks import seed_tasks
from sayso.errors import EnvContractError
from sayso.types import Task


class OuterEnv(TextEnv):
    """What both kinds of adapted environments share: everything but tasks and reset is passed on.

    Args:
        env: The environment, wrappers included. ``max_turns`` and ``timeout_s`` are those of its
            core, if it has them.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        self.env = env
        self.observation_space, self.action_space = env.observation_space, env.action_space
        self.metadata, self.render_mode = env.metadata, env.render_mode
        self.max_turns = getattr(env.unwrapped, "max_turns", None)
        self.timeout_s = getattr(env.unwrapped, "timeout_s", None)

    def step(self, action: str) -> tuple[Observation, Any, bool, bool, dict[str, Any]]:
        """Passed on."""
        return self.env.step(action)

    def render(self) -> Any:
        """Passed on."""
        return self.env.render()

    def close(self) -> None:
        """Passed on."""
        self.env.close()


class SeededEnv(OuterEnv):
    """A plain text environment that knows no tasks: its seeds are the tasks.

    Splits are disjoint ranges of seeds. Whether two seeds pose the same problem is up to the
    environment.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], name: str) -> None:
        super().__init__(env)
        self.name = name

    def tasks(self, split: str) -> Sequence[Task]:
        """One task per seed."""
        return seed_tasks(self.name, split)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Reset with the task's seed."""
        super().reset(seed=seed)
        task = self.choose(seed, options)
        observation, info = self.env.reset(seed=int(task.payload["seed"]))
        return observation, info


class WrappedEnv(OuterEnv):
    """A ``TextEnv`` inside Gymnasium wrappers: they stay on, the core lists the tasks."""

    def __init__(self, env: gymnasium.Env[Any, Any], core: TextEnv) -> None:
        super().__init__(env)
        self.core = core

    def tasks(self, split: str) -> Sequence[Task]:
        """The core's."""
        return self.core.tasks(split)

    def why_empty(self, split: str) -> str:
        """The core's."""
        return self.core.why_empty(split)

    def level(self, task: Task) -> int | None:
        """The core's."""
        return self.core.level(task)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Passed on."""
        return self.env.reset(seed=seed, options=options)


def adapted(env: Any, name: str) -> TextEnv:
    """The environment itself if it lists tasks, else wrapped so that its seeds are the tasks.

    Gymnasium's own checking wrappers around a ``TextEnv`` are taken off; all others are kept.

    Raises:
        EnvContractError: If observations or actions are not text.
    """
    if not isinstance(env, gymnasium.Env):
        raise EnvContractError(
            where=name,
            problem=f"made a {type(env).__name__}, which is no gymnasium.Env.",
            fix="Return a sayso.TextEnv or any Gymnasium environment with text spaces.",
        )
    bare = env
    while isinstance(bare, PassiveEnvChecker | OrderEnforcing):
        bare = bare.env
    if isinstance(bare, TextEnv):
        return bare
    texts = (spaces.Text, Utterance, Chat)
    for kind in ("observation_space", "action_space"):
        space = getattr(env, kind)
        if not isinstance(space, texts):
            raise EnvContractError(
                where=f"{name}, {kind}",
                problem=f"is {_brief(space)}, which is not text.",
                fix="Wrap the environment so that observations and actions are strings, "
                "and declare sayso.Utterance().",
            )
    core = env.unwrapped
    return WrappedEnv(env, core) if isinstance(core, TextEnv) else SeededEnv(env, name)


def _brief(space: gymnasium.Space[Any]) -> str:
    """A space without its bounds: ``Box(4,)``, ``Discrete()``."""
    return f"{type(space).__name__}{space.shape or '()'}"
