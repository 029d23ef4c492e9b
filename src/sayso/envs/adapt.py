"""Any Gymnasium environment whose observations and actions are text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
from gymnasium import spaces

from sayso.envs.base import Observation, TextEnv
from sayso.envs.spaces import Chat, Utterance
from sayso.envs.tasks import seed_tasks
from sayso.errors import EnvContractError
from sayso.types import Task


class SeededEnv(TextEnv):
    """A plain text environment that knows no tasks: its seeds are the tasks.

    Splits are disjoint ranges of seeds. Whether two seeds pose the same problem is up to the
    environment.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], name: str) -> None:
        self.env, self.name = env, name
        self.observation_space, self.action_space = env.observation_space, env.action_space
        self.render_mode = env.render_mode

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

    def step(self, action: str) -> tuple[Observation, Any, bool, bool, dict[str, Any]]:
        """Passed on."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated, truncated, info

    def render(self) -> Any:
        """Passed on."""
        return self.env.render()

    def close(self) -> None:
        """Passed on."""
        self.env.close()


def adapted(env: Any, name: str) -> TextEnv:
    """The environment itself if it lists tasks, else wrapped so that its seeds are the tasks.

    Raises:
        EnvContractError: If observations or actions are not text.
    """
    if isinstance(env, TextEnv):
        return env
    unwrapped = env.unwrapped if isinstance(env, gymnasium.Env) else env
    if isinstance(unwrapped, TextEnv):
        return unwrapped
    if not isinstance(env, gymnasium.Env):
        raise EnvContractError(
            where=name,
            problem=f"made a {type(env).__name__}, which is no gymnasium.Env.",
            fix="Return a sayso.TextEnv or any Gymnasium environment with text spaces.",
        )
    texts = (spaces.Text, Utterance, Chat)
    for kind in ("observation_space", "action_space"):
        space = getattr(env, kind)
        if not isinstance(space, texts):
            raise EnvContractError(
                where=f"{name}, {kind}",
                problem=f"is {space}, which is not text.",
                fix="Wrap the environment so that observations and actions are strings.",
            )
    return SeededEnv(env, name)
