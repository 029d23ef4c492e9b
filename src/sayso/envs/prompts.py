"""A list of prompts and a reward function are an environment."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sayso.envs.base import TextEnv
from sayso.errors import EnvContractError
from sayso.types import Task

Reward = Callable[..., float | Mapping[str, float | None] | None]
HELD_OUT_PERCENT = 10


class PromptEnv(TextEnv):
    """One turn: show a prompt, judge the answer.

    Args:
        prompts: Strings, or mappings with the key ``prompt`` and any others, which the reward gets
            as keyword arguments.
        reward: Called as ``reward(prompt, completion, **columns)``. Returns a float, ``None`` for
            "not graded", or a mapping of parts, whose sum is the reward (a part of ``None`` does
            not apply). Or a string ``"module:function"``, which a process of its own can import.
        held_out: Prompts to evaluate on; unset: a tenth of ``prompts``, chosen by their text.
            Rows with the same text are never in both splits, whatever their other columns.
        timeout_s: Judge in a process of its own and give each call this many seconds.
        reward_low, reward_high: Range of the reward, if known: ``check_text_env`` then says
            whether cheap tricks earn more than half of it.

    Raises:
        EnvContractError: If there are no prompts, or one has no text.
    """

    max_turns = 1

    def __init__(
        self,
        *,
        prompts: Sequence[str | Mapping[str, Any]],
        reward: Reward | str,
        held_out: Sequence[str | Mapping[str, Any]] | None = None,
        timeout_s: float | None = None,
        reward_low: float | None = None,
        reward_high: float | None = None,
    ) -> None:
        self.reward = _function(reward)
        self.timeout_s, self.reward_low, self.reward_high = timeout_s, reward_low, reward_high
        self._made_from = (reward, prompts, held_out)
        rows = _unique(prompts)
        if held_out is None:
            self._rows = {
                "train": [row for row in rows if not _is_held_out(row)],
                "held_out": [row for row in rows if _is_held_out(row)],
            }
            if not self._rows["train"]:
                self._rows = {"train": rows, "held_out": []}
        else:
            kept = _unique(held_out)
            seen = {row["prompt"] for row in kept}
            self._rows = {"train": [r for r in rows if r["prompt"] not in seen], "held_out": kept}
        if not self._rows["train"]:
            raise EnvContractError(
                where="PromptEnv",
                problem="has no prompts to train on.",
                fix="Pass prompts that are not all in held_out.",
            )
        self._task: Task | None = None

    @property
    def process_spec(self) -> dict[str, Any] | None:
        """How a process of its own makes the same one; None if it cannot import the reward."""
        reward, prompts, held_out = self._made_from
        if not isinstance(reward, str):
            module, name = getattr(reward, "__module__", ""), getattr(reward, "__qualname__", "")
            if not module or module == "__main__" or not name.isidentifier():
                return None
            reward = f"{module}:{name}"
        kept = None if held_out is None else list(held_out)
        kwargs: dict[str, Any] = {"prompts": list(prompts), "reward": reward, "held_out": kept}
        kwargs |= {
            "timeout_s": self.timeout_s,
            "reward_low": self.reward_low,
            "reward_high": self.reward_high,
        }
        return {"env": f"{__name__}:PromptEnv", "kwargs": kwargs}

    def tasks(self, split: str) -> Sequence[Task]:
        """One task per prompt; the id is a hash of its content."""
        return [
            Task(id=_digest(row)[:16], env="PromptEnv", split=split, payload=row)
            for row in self._rows.get(split, [])
        ]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Show the prompt."""
        super().reset(seed=seed)
        self._task = self.choose(seed, options)
        return str(self._task.payload["prompt"]), {}

    def step(self, action: str) -> tuple[str, Any, bool, bool, dict[str, Any]]:
        """Judge the answer; the episode ends."""
        if self._task is None:
            raise EnvContractError(
                where="PromptEnv.step", problem="came before reset.", fix="Call reset first."
            )
        columns = dict(self._task.payload)
        result = self.reward(columns.pop("prompt"), action, **columns)
        if not isinstance(result, Mapping):
            return "", result, True, False, {}
        graded = [value for value in result.values() if value is not None]
        total = sum(graded) if graded else None
        return "", total, True, False, {"reward_parts": dict(result)}


def _function(reward: Reward | str) -> Reward:
    if not isinstance(reward, str):
        return reward
    module, _, name = reward.partition(":")
    try:
        found: Reward = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise EnvContractError(
            where=f"reward {reward!r}",
            problem=f"cannot be imported ({error}).",
            fix="Use 'module:function' with a module on the Python path.",
        ) from error
    return found


def _unique(prompts: Sequence[str | Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows with a text, each content once."""
    rows: dict[str, dict[str, Any]] = {}
    for index, given in enumerate(prompts):
        row = {"prompt": given} if isinstance(given, str) else dict(given)
        if not isinstance(row.get("prompt"), str):
            raise EnvContractError(
                where=f"PromptEnv, prompts[{index}]",
                problem=f"is {given!r}, which has no text under 'prompt'.",
                fix="Pass strings, or mappings with the key 'prompt'.",
            )
        rows.setdefault(_digest(row), row)
    return list(rows.values())


def _digest(row: Mapping[str, Any]) -> str:
    text = json.dumps(row, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _is_held_out(row: Mapping[str, Any]) -> bool:
    """By the prompt alone: with other columns it is still the same problem."""
    digest = _digest({"prompt": row["prompt"]})
    return int(digest[:8], 16) % 100 < HELD_OUT_PERCENT
