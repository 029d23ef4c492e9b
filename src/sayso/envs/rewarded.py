"""Any environment under another reward: its own stays in the parts, as the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sayso.envs.base import Observation, TextEnv
from sayso.envs.registry import EnvSource, source
from sayso.envs.scripted import Scripted
from sayso.envs.spaces import Message
from sayso.rewards import library
from sayso.rewards.scorer import Rule, name_of, number, range_of
from sayso.types import Task

MODEL, TRUE = "model", "true"
"""Parts of the reward: what was learnt from, and what the environment itself would have paid."""


class RewardedBy(TextEnv):
    """An environment whose reward is a rule's: of what was shown, and what was answered.

    ``reward_parts`` hold ``model``, the rule's score, which is the reward, and ``true``, the
    environment's own, beside the parts of that (as ``true/NAME``): where it knows what is really
    wanted, one sees whether a policy that pleases a reward model pleases it too. What is not
    graded (``None``) by the rule is not graded.

    Args:
        env: A registered id, ``"module:Class"``, a class, or an environment.
        reward: A reward of ``sayso.rewards``, made or as the mapping that ``rewards.make`` takes,
            or any function ``(prompt, completion) -> float``. The prompt is what was shown before
            the answer, all of the episode so far in an environment of several turns.
        kwargs: Given to the environment.

    Raises:
        EnvContractError: In ``step``, if the rule returns no finite number.
    """

    def __init__(
        self,
        env: Any,
        reward: Rule | Mapping[str, Any] | str,
        kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        self._made_from = (env, reward, dict(kwargs or {}))
        is_made = isinstance(env, TextEnv) and not kwargs
        self.env: TextEnv = env if is_made else source(env, **dict(kwargs or {})).open()
        self.reward: Rule = library.make(reward) if isinstance(reward, Mapping | str) else reward
        self.observation_space = self.env.observation_space
        self.action_space = self.env.action_space
        self.max_turns, self.timeout_s = self.env.max_turns, self.env.timeout_s
        low, high = range_of(self.reward)
        if self.max_turns == 1:
            self.reward_low, self.reward_high = low, high
        self.scripted = {name: _within(player) for name, player in self.env.scripted.items()}
        self.opened_as = self.env.opened_as
        self._seen: list[Message] = []

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    @property
    def process_spec(self) -> dict[str, Any] | None:
        """How a process of its own makes the same one; None if it cannot."""
        env, reward, kwargs = self._made_from
        inner = env if isinstance(env, str) else None
        rule = reward if isinstance(reward, Mapping | str) else library.spec_of(reward)
        if inner is None or rule is None:
            return None
        made = {"env": inner, "reward": rule, "kwargs": kwargs}
        return {"env": f"{__name__}:RewardedBy", "kwargs": made}

    def tasks(self, split: str) -> Sequence[Task]:
        """Those of the environment."""
        return self.env.tasks(split)

    def why_empty(self, split: str) -> str:
        """As the environment says."""
        return self.env.why_empty(split)

    def level(self, task: Task) -> int | None:
        """As the environment says."""
        return self.env.level(task)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Pose a task of the environment."""
        super().reset(seed=seed)
        shown, info = self.env.reset(seed=seed, options=options)
        self._seen = []
        self._see(shown)
        return shown, info

    def step(self, action: str) -> tuple[Observation, Any, bool, bool, dict[str, Any]]:
        """Play, and let the rule say what it was worth."""
        earned: Any  # gymnasium says float; here None is "not graded"
        shown, earned, terminated, truncated, info = self.env.step(action)
        said = self.reward(self._prompt(), action)
        told = dict(said) if isinstance(said, Mapping) else {MODEL: said}
        where = f"reward {name_of(self.reward)}"
        own = {name: number(value, where) for name, value in told.items()}
        graded = [value for value in own.values() if value is not None]
        reward = sum(graded) if graded else None
        parts: dict[str, float | None] = {**own, MODEL: reward, TRUE: earned}
        parts |= {f"{TRUE}/{n}": part for n, part in dict(info.get("reward_parts", {})).items()}
        self._seen.append(Message("assistant", action))
        self._see(shown)
        return shown, reward, terminated, truncated, {**info, "reward_parts": parts}

    def _see(self, shown: Observation) -> None:
        self._seen += [Message("user", shown)] if isinstance(shown, str) else shown

    def _prompt(self) -> Any:
        """What was shown: text where it is one message, else the conversation so far."""
        if len(self._seen) == 1 and self._seen[0].role == "user":
            return self._seen[0].content
        return [{"role": m.role, "content": m.content} for m in self._seen]


def _within(player: Scripted) -> Scripted:
    """A player of the environment inside, which may look at what that one hides."""

    def act(env: Any, draws: np.random.Generator) -> str:
        return player.act(env.env, draws)

    return replace(player, act=act)


def rewarded(inner: EnvSource, reward: Any) -> EnvSource:
    """An environment's source under another reward; its name stays.

    Args:
        inner: The environment.
        reward: As ``RewardedBy`` takes it.
    """
    spec = inner.spec
    kwargs = None
    if spec is not None:
        kwargs = {"env": spec["env"], "reward": reward, "kwargs": dict(spec["kwargs"])}
    return EnvSource(
        id=inner.id,
        opener=lambda: RewardedBy(inner.open(), reward),
        spec=None if kwargs is None else {"env": f"{__name__}:RewardedBy", "kwargs": kwargs},
    )
