"""A list of prompts and a reward function are an environment."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sayso.calls import ByName, named, refuse_class
from sayso.envs.base import Observation, TextEnv
from sayso.envs.spaces import ROLES, Chat, Message, messages, observation_of
from sayso.errors import EnvContractError, OptionValueError
from sayso.rewards import library
from sayso.rewards.scorer import missing_columns, range_of
from sayso.types import Task

Conversation = Sequence[Mapping[str, str] | Message]
Prompt = str | Conversation | Mapping[str, Any]
Reward = Callable[..., float | Mapping[str, float | None] | None]
HELD_OUT_PERCENT = 10
CALL = "(prompt, completion, **columns) -> float"


class PromptEnv(ByName, TextEnv):
    """One turn: show a prompt, judge the answer.

    Args:
        prompts: Strings, or mappings with the key ``prompt`` and any others, which the reward gets
            as keyword arguments. A split of a Hugging Face data set is such a list. A prompt may
            also be a conversation, ``[{"role": "system", "content": ...}, {"role": "user", ...}]``;
            the reward gets it as that list.
        reward: Called as ``reward(prompt, completion, **columns)``, once for each completion.
            Returns a number or a bool, ``None`` for "not graded", or a mapping of parts, whose sum
            is the reward (a part of ``None`` does not apply). Or a string ``"module:function"``,
            which a process of its own can import; or one of ``sayso.rewards``, made or as the
            mapping that ``rewards.make`` takes. Functions written for TRL: ``rewards.trl``.
        held_out: Prompts to evaluate on; unset: a tenth of ``prompts``, chosen by their text, and
            at least one if there are two. Rows with the same text are never in both splits,
            whatever their other columns.
        timeout_s: Judge in a process of its own and give each call this many seconds.
        reward_low, reward_high: Range of the reward, if known: ``check_text_env`` then says
            whether cheap tricks earn more than half of it. Rewards of ``sayso.rewards`` know it.

    Raises:
        EnvContractError: If there are no prompts, one has no text, or the reward is no function
            that can be called so.
    """

    max_turns = 1

    def __init__(
        self,
        *,
        prompts: Iterable[Prompt],
        reward: Reward | str | Mapping[str, Any],
        held_out: Iterable[Prompt] | None = None,
        timeout_s: float | None = None,
        reward_low: float | None = None,
        reward_high: float | None = None,
    ) -> None:
        self.reward = _function(reward)
        self.timeout_s = timeout_s
        low, high = range_of(self.reward)
        self.reward_low = low if reward_low is None else reward_low
        self.reward_high = high if reward_high is None else reward_high
        given = _listed("prompts", prompts)
        kept = None if held_out is None else _listed("held_out", held_out)
        self._made_from = (reward, given, kept)
        self._rows = _split(_unique(given), kept)
        if not self._rows["train"]:
            raise EnvContractError(
                where="PromptEnv",
                problem="has no prompts to train on.",
                fix="Pass prompts that are not all in held_out.",
            )
        every = (*self._rows["train"], *self._rows["held_out"])
        for row in {frozenset(row): row for row in every}.values():
            _require_callable_with(self.reward, row)
        if any(not isinstance(row["prompt"], str) for row in every):
            self.observation_space = Chat()
        self._task: Task | None = None
        self._tasks: dict[str, list[Task]] = {}

    @property
    def process_spec(self) -> dict[str, Any] | None:
        """How a process of its own makes the same one; None if it cannot import the reward."""
        reward, prompts, held_out = self._made_from
        if not isinstance(reward, str):
            found = reward if isinstance(reward, Mapping) else library.spec_of(reward)
            if found is None:
                return None
            reward = found
        kwargs: dict[str, Any] = {"prompts": prompts, "reward": reward, "held_out": held_out}
        kwargs |= {
            "timeout_s": self.timeout_s,
            "reward_low": self.reward_low,
            "reward_high": self.reward_high,
        }
        return {"env": f"{__name__}:PromptEnv", "kwargs": kwargs}

    def tasks(self, split: str) -> Sequence[Task]:
        """One task per prompt; the id is a hash of its content."""
        if split not in self._tasks:  # a reset asks for them, and a hash of all takes a while
            self._tasks[split] = [
                Task(id=_digest(row)[:16], env="PromptEnv", split=split, payload=row)
                for row in self._rows.get(split, [])
            ]
        return self._tasks[split]

    def why_empty(self, split: str) -> str:
        """With one prompt nothing can be held out."""
        if split != "held_out" or self._made_from[2] is not None:
            return ""
        return "There is one prompt, which is trained on: pass two or more, or held_out=[...]."

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Show the prompt."""
        super().reset(seed=seed)
        self._task = self.choose(seed, options)
        return self._shown(self._task.payload["prompt"]), {}

    def _shown(self, prompt: str | list[dict[str, str]]) -> Observation:
        """The prompt as the space wants it: where some are conversations, all are."""
        if not isinstance(prompt, str):
            return messages(prompt)
        return (Message("user", prompt),) if isinstance(self.observation_space, Chat) else prompt

    def step(self, action: str) -> tuple[Observation, Any, bool, bool, dict[str, Any]]:
        """Judge the answer; the episode ends."""
        if self._task is None:
            raise EnvContractError(
                where="PromptEnv.step", problem="came before reset.", fix="Call reset first."
            )
        columns, end = dict(self._task.payload), self._shown("")
        result = self.reward(columns.pop("prompt"), action, **columns)
        if not isinstance(result, Mapping):
            return end, result, True, False, {}
        graded = [value for value in result.values() if value is not None]
        total = sum(graded) if graded else None
        return end, total, True, False, {"reward_parts": dict(result)}


def _function(reward: Reward | str | Mapping[str, Any]) -> Reward:
    if isinstance(reward, Mapping):
        return library.make(reward)
    refuse_class(reward, where="PromptEnv, reward")
    if callable(reward):
        return reward
    if not isinstance(reward, str):
        raise EnvContractError(
            where="PromptEnv, reward",
            problem=f"is {reward!r}, which cannot be called.",
            fix=f"Pass a function {CALL}, or 'module:function'.",
        )
    found: Reward = named(reward, where=f"reward {reward!r}")
    return found


def _require_callable_with(reward: Reward, row: Mapping[str, Any]) -> None:
    """Refuse a reward that a row's columns do not fit, before anything is sampled."""
    columns = {name: value for name, value in row.items() if name != "prompt"}
    try:
        signature = inspect.signature(reward)
    except (ValueError, TypeError):  # some functions do not tell
        return
    theirs = [f"`{n}`" for n in ("prompts", "completions") if n in signature.parameters]
    if theirs and not {"prompts", "completions"} & set(columns):
        raise EnvContractError(
            where=f"PromptEnv, reward {getattr(reward, '__name__', reward)!r}",
            problem=f"takes {' and '.join(theirs)}, lists of a whole batch.",
            fix=f"Here it is called once for each completion: write {CALL}, or pass "
            "sayso.rewards.trl(function) if it is written for TRL.",
        )
    lacking = missing_columns(reward, columns)
    if lacking:
        raise EnvContractError(
            where=f"PromptEnv, reward {getattr(reward, '__name__', type(reward).__name__)!r}",
            problem=f"reads the columns {', '.join(lacking)}; a prompt has "
            f"{', '.join(columns) or 'none'}.",
            fix="Add them to every prompt, or name others in the reward.",
        )
    try:
        signature.bind("prompt", "completion", **columns)
    except TypeError as error:
        asked = f"(prompt, completion{''.join(f', {name}' for name in columns)})"
        raise EnvContractError(
            where=f"PromptEnv, reward {getattr(reward, '__name__', reward)!r}",
            problem=f"cannot be called as reward{asked}: {error}.",
            fix=f"Write it as {asked}: the text shown, the text sampled, and a keyword for each "
            "other column of a prompt.",
        ) from error


def _listed(name: str, rows: Iterable[Prompt]) -> list[dict[str, Any]]:
    """Rows with a prompt each, as JSON can hold them."""
    if isinstance(rows, str | Mapping) or not isinstance(rows, Iterable):
        told = f"a mapping with the keys {list(rows)}" if isinstance(rows, Mapping) else repr(rows)
        raise EnvContractError(
            where=f"PromptEnv, {name}",
            problem=f"is {told[:200]}, which is no list of prompts.",
            fix=f"Pass a list: {name}=['Name a colour.', 'Name a fruit.'].",
        )
    return [_row(given, f"PromptEnv, {name}[{index}]") for index, given in enumerate(rows)]


def _row(given: Any, where: str) -> dict[str, Any]:
    row = dict(given) if isinstance(given, Mapping) else {"prompt": given}
    try:
        shown = observation_of(row.get("prompt"), where=where)
    except OptionValueError as error:
        raise EnvContractError(
            where=where,
            problem=f"is {given!r}, which has neither a text nor messages under 'prompt'.",
            fix='Pass strings, conversations such as [{"role": "user", "content": "Hello"}] with '
            f"the roles {', '.join(ROLES)}, or mappings with one of them under 'prompt'.",
        ) from error
    if not isinstance(shown, str):
        row["prompt"] = [{"role": m.role, "content": m.content} for m in shown]
    return row


def _split(
    rows: list[dict[str, Any]], kept: list[dict[str, Any]] | None
) -> dict[str, list[dict[str, Any]]]:
    """Rows by split. Without ``kept``, a tenth is held out: at least one prompt, never all."""
    if kept is not None:
        seen = {_digest(row["prompt"]) for row in kept}
        train = [row for row in rows if _digest(row["prompt"]) not in seen]
        return {"train": train, "held_out": _unique(kept)}
    places = {_digest(row["prompt"]): _place(row["prompt"]) for row in rows}
    ordered = sorted(places, key=lambda digest: (places[digest], digest))
    chosen = [digest for digest in ordered if places[digest] < HELD_OUT_PERCENT] or ordered[:1]
    held_out = set(chosen[: len(ordered) - 1])
    return {
        "train": [row for row in rows if _digest(row["prompt"]) not in held_out],
        "held_out": [row for row in rows if _digest(row["prompt"]) in held_out],
    }


def _unique(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each content once."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        found.setdefault(_digest(row), row)
    return list(found.values())


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _place(prompt: Any) -> int:
    """From 0 to 99, by the prompt alone: with other columns it is still the same problem."""
    return int(_digest({"prompt": prompt})[:8], 16) % 100
