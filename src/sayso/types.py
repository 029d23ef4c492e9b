"""Records that travel down the pipe. No torch here: these are evidence, not tensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

from sayso.errors import EpisodeError

Context = Literal["episode", "turn"]
"""What the policy sees at each turn: everything so far, or the latest observation alone."""


class EndReason(Enum):
    """Why an episode stopped."""

    TERMINATED = "terminated"
    """The task itself ended. The value of what follows is 0."""
    TRUNCATED = "truncated"
    """Cut off from outside the task: by the environment's limit, by the turn budget or by the
    context length. The value of what follows is bootstrapped."""
    FAILED = "failed"
    """The environment or the reward broke. Never trained on, always counted."""


class FinishReason(Enum):
    """Why one action stopped."""

    STOP = "stop"
    """A stop token or a stop string was sampled."""
    LENGTH = "length"
    """The token budget of the action, or the context, was used up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One thing to do.

    Attributes:
        id: Stable and unique within its environment. Attempts that share it form a group.
        env: Registered name of the environment, for example ``"sayso/Writing-v0"``.
        split: ``"train"``, ``"held_out"`` or ``"unseen"``.
        payload: Everything that fixes the problem itself; JSON values only.
    """

    id: str
    env: str
    split: str
    payload: Mapping[str, Any] = field(default_factory=dict)

    @property
    def content_hash(self) -> str:
        """Hex sha256 of the payload: two tasks with the same content are the same task."""
        text = json.dumps(self.payload, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What broke an episode.

    Attributes:
        kind: Short class for counting: ``env_raised``, ``env_timeout``, ``env_died``,
            ``reward_not_finite``, ``reward_type``, ``reward_too_large``,
            ``observation_type``, ``contract`` (an answer of the wrong shape), ``context_too_long``,
            ``nothing_sampled``, ``not_deterministic``.
        message: One line: what happened, with the value.
        detail: Traceback or longer text; may be empty.
    """

    kind: str
    message: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One decision: what the policy saw since its last one, what it sampled, what it earned.

    The context of a decision is everything before it: all earlier observation and action
    tokens of the episode, then ``observation_ids``. Storing only what is new makes every
    context a strict prefix of the next by construction. Where ``Episode.context`` is ``"turn"``,
    it is ``observation_ids`` alone.

    Attributes:
        observation_ids: Tokens appended to the context before this decision, exactly as sent
            (for the first turn, and with a context of one turn: a whole prompt).
        action_ids: Tokens the policy sampled, stop token included. At least one.
        action_logprobs: Log-probability (nats) of each sampled token under the distribution it
            was drawn from, recorded by the sampler; same length as ``action_ids``.
        finish: Why the action stopped.
        reward: Reward for this turn. ``None`` means "not graded", which is not 0.0.
        reward_parts: Parts of the reward by name; ``None`` means "does not apply".
        observation: Text shown to the policy before this decision.
        action: Text the environment received.
        choices: Candidate actions the environment listed, if any.
        candidates: Token ids of the actions that were weighed against each other, the one taken
            among them; empty where the action was sampled token by token.
        media: Keys of the pictures and sounds in the observation, in order; the run keeps the items
            under ``media/``, and ``observation_ids`` hold them as ids beyond the vocabulary.
    """

    observation_ids: tuple[int, ...]
    action_ids: tuple[int, ...]
    action_logprobs: tuple[float, ...]
    finish: FinishReason = FinishReason.STOP
    reward: float | None = None
    reward_parts: Mapping[str, float | None] = field(default_factory=dict)
    observation: str = ""
    action: str = ""
    choices: tuple[str, ...] = ()
    candidates: tuple[tuple[int, ...], ...] = ()
    media: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.action_ids) != len(self.action_logprobs):
            raise EpisodeError(
                where="Turn",
                problem=(
                    f"{len(self.action_ids)} action_ids but "
                    f"{len(self.action_logprobs)} action_logprobs."
                ),
                fix="Record one log-probability per sampled token, stop token included.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """All turns of one attempt at one task: the ledger, token in and token out.

    Attributes:
        task: The task attempted. Episodes with one ``task.id`` in one step form a group.
        sample_index: Position within the group, from 0.
        policy_version: Optimiser steps taken when the first token was sampled.
        turns: Decisions in order; at least one unless ``end`` is ``FAILED``.
        end: Why the episode stopped.
        failure: What broke; set exactly when ``end`` is ``FAILED``.
        context: ``"episode"``: a decision is conditioned on everything before it; ``"turn"``: on
            its own observation, and the tokens of every turn are a text of their own.
        final_ids: Tokens of the observation after the last action. Only a truncated episode
            needs them: their last position is where the value of "what follows" is read. Empty
            where they do not fit the context.
        final_choices: Candidate actions that were listed after the last action of a truncated
            episode: what the value of "what follows" is the best of.
        seed_path: The names its random numbers were derived from, after the run's seed.
    """

    task: Task
    sample_index: int
    policy_version: int
    turns: tuple[Turn, ...]
    end: EndReason
    context: Context = "episode"
    failure: Failure | None = None
    final_ids: tuple[int, ...] = ()
    final_choices: tuple[str, ...] = ()
    seed_path: tuple[str | int, ...] = ()

    def __post_init__(self) -> None:
        if (self.end is EndReason.FAILED) is not (self.failure is not None):
            raise EpisodeError(
                where=f"episode {self.task.id}#{self.sample_index}",
                problem=f"end is {self.end.value} but failure is {self.failure!r}.",
                fix="Set `failure` exactly when the episode failed.",
            )
        if self.end is not EndReason.FAILED and not self.turns:
            raise EpisodeError(
                where=f"episode {self.task.id}#{self.sample_index}",
                problem="no turns, yet it did not fail.",
                fix="Record at least one decision.",
            )

    @property
    def return_(self) -> float | None:
        """Undiscounted sum of rewards, or ``None`` when no turn was graded."""
        rewards = [turn.reward for turn in self.turns if turn.reward is not None]
        return float(sum(rewards)) if rewards else None

    @property
    def num_action_tokens(self) -> int:
        """Tokens the policy sampled over all turns."""
        return sum(len(turn.action_ids) for turn in self.turns)

    def ids(self) -> tuple[int, ...]:
        """All tokens end to end: observations and actions in order, ``final_ids`` last.

        With a context of one turn that is no text that any model read.
        """
        stream: list[int] = []
        for turn in self.turns:
            stream += turn.observation_ids
            stream += turn.action_ids
        return (*stream, *self.final_ids)

    def context_ids(self, turn_index: int) -> tuple[int, ...]:
        """Tokens the policy was conditioned on at decision ``turn_index``."""
        stream: list[int] = []
        for turn in self.turns[:turn_index] if self.context == "episode" else ():
            stream += turn.observation_ids
            stream += turn.action_ids
        return (*stream, *self.turns[turn_index].observation_ids)

    def final_context_ids(self) -> tuple[int, ...]:
        """Tokens behind which the value of what follows a truncated episode is read.

        They end with the last action where the observation after it does not fit.
        """
        if self.context == "episode":
            return self.ids()
        last = self.turns[-1]
        return self.final_ids or (*last.observation_ids, *last.action_ids)
