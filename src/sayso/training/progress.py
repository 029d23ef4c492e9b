"""What the loop itself must remember between steps; JSON, a part of every checkpoint."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sayso.algorithms.base import Update
from sayso.types import Episode

WINDOW = 100


@dataclass(slots=True, kw_only=True)
class Progress:
    """Counters and cursors of a run. Changed by the loop only, between steps.

    Attributes:
        step: Updates finished.
        num_blocks: Task blocks sampled; those that dynamic sampling drew as well.
        num_episodes: Valid episodes trained on.
        num_idle_steps: Steps in a row, up to now, that had no episode to train on.
        num_ungraded_steps: Steps in a row, up to now, with valid episodes and no reward for any.
        num_tokens: Action tokens sampled.
        num_env_tokens: Tokens that passed between policy and environment: sampled and observed.
        num_learner_tokens: Tokens that updates read: 1 a forward, 2 more with its backward.
        num_reward_queries: Rewards that the environment gave, one for each graded turn.
        num_invalid: Failed episodes by kind.
        recent_invalid: Failure kind, or "" for a valid episode, of the last 100 episodes.
        recent_skips: 1 for each optimiser step that was refused, 0 for each taken, last 100.
        eval_step: Step of the last evaluation; -1 before the first.
        best_step: Step of the best evaluation so far; -1 before the first.
        best_return: Its mean return.
        num_stale_evals: Evaluations since then.
        patience_total: ``total_episodes`` of the run when it stopped early; 0 if it did not.
        warnings: Times each warning was given.
        curriculum: Faded sums of success and failure by level of difficulty.
        part_stats: Running statistics of the parts in ``train.part_weights``.
    """

    step: int = 0
    num_blocks: int = 0
    num_episodes: int = 0
    num_idle_steps: int = 0
    num_ungraded_steps: int = 0
    num_tokens: int = 0
    num_env_tokens: int = 0
    num_learner_tokens: int = 0
    num_reward_queries: int = 0
    num_invalid: dict[str, int] = field(default_factory=dict)
    recent_invalid: list[str] = field(default_factory=list)
    recent_skips: list[int] = field(default_factory=list)
    eval_step: int = -1
    best_step: int = -1
    best_return: float = 0.0
    num_stale_evals: int = 0
    patience_total: int = 0
    warnings: dict[str, int] = field(default_factory=dict)
    curriculum: dict[str, list[float]] = field(default_factory=dict)
    part_stats: dict[str, dict[str, float]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Progress:
        """Undo ``to_json``."""
        return cls(**record)

    def note_step(
        self, episodes: Sequence[Episode], update: Update, *, num_blocks: int, num_trained: int
    ) -> None:
        """Count one finished step; called once everything it did is done."""
        self.step += 1
        self.num_blocks += num_blocks
        self.num_episodes += num_trained
        self.num_idle_steps = 0 if num_trained else self.num_idle_steps + 1
        self.num_tokens += sum(e.num_action_tokens for e in episodes)
        self.num_env_tokens += sum(num_env_tokens(e) for e in episodes)
        self.num_reward_queries += sum(t.reward is not None for e in episodes for t in e.turns)
        valid = [e for e in episodes if e.failure is None]
        is_ungraded = bool(valid) and all(e.return_ is None for e in valid)
        self.num_ungraded_steps = self.num_ungraded_steps + 1 if is_ungraded else 0
        kinds = [e.failure.kind if e.failure else "" for e in episodes]
        for kind in filter(None, kinds):
            self.num_invalid[kind] = self.num_invalid.get(kind, 0) + 1
        self.recent_invalid = (self.recent_invalid + kinds)[-WINDOW:]
        taken, skipped = update.num_optimiser_steps, len(update.skipped)
        self.recent_skips = (self.recent_skips + [0] * taken + [1] * skipped)[-WINDOW:]

    def note_evaluation(self, mean_return: float) -> bool:
        """True when this evaluation is the best so far; one that graded nothing (NaN) never is."""
        self.eval_step = self.step
        is_better = self.best_step < 0 or mean_return > self.best_return
        if is_better and math.isfinite(mean_return):
            self.best_step, self.best_return, self.num_stale_evals = self.step, mean_return, 0
            return True
        self.num_stale_evals += 1
        return False


def num_env_tokens(episode: Episode) -> int:
    """Tokens sampled and observed in an episode, each once."""
    turns = sum(len(t.observation_ids) + len(t.action_ids) for t in episode.turns)
    return turns + len(episode.final_ids)
