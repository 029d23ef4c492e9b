"""One line of ``metrics.jsonl``, and what the user must not miss in it. See docs/metrics.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sayso.algorithms.base import Update
from sayso.rewards.running import Running
from sayso.rollout.boundary import was_cut
from sayso.training.overoptimisation import agreement
from sayso.training.progress import Progress
from sayso.types import EndReason, Episode, FinishReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """Wall-clock seconds of the two phases of a step."""

    rollout_s: float
    update_s: float


def step_metrics(
    progress: Progress, episodes: Sequence[Episode], update: Update, clocks: Clocks
) -> dict[str, float]:
    """Everything worth a curve. Numbers that are not finite are left out, never written as 0."""
    valid = [e for e in episodes if e.end is not EndReason.FAILED]
    returns = [e.return_ for e in valid if e.return_ is not None]
    num_tokens = sum(e.num_action_tokens for e in episodes)
    numbers: dict[str, float] = {
        "progress/episodes": progress.num_episodes,
        "progress/tokens": progress.num_tokens,
        "progress/env_tokens": progress.num_env_tokens,
        "progress/learner_tokens": progress.num_learner_tokens,
        "progress/reward_queries": progress.num_reward_queries,
        "reward/mean": _mean(returns),
        "reward/std": _std(returns),
        "episode/valid_frac": len(valid) / max(len(episodes), 1),
        "episode/truncated_frac": _mean([e.end is EndReason.TRUNCATED for e in valid]),
        "episode/turns": _mean([len(e.turns) for e in valid]),
        "action/tokens": _mean([len(t.action_ids) for e in valid for t in e.turns]),
        "action/cut_frac": _mean([t.finish is FinishReason.LENGTH for e in valid for t in e.turns]),
        "update/steps": update.num_optimiser_steps,
        "update/skipped": len(update.skipped),
        "time/rollout_s": clocks.rollout_s,
        "time/update_s": clocks.update_s,
        "time/rollout_tokens_per_s": num_tokens / max(clocks.rollout_s, 1e-9),
        "time/update_tokens_per_s": num_tokens / max(clocks.update_s, 1e-9),
    }
    parts: dict[str, list[float]] = {}
    for episode in valid:
        for turn in episode.turns:
            for name, value in turn.reward_parts.items():
                if value is not None:
                    parts.setdefault(name, []).append(value)
    numbers |= {f"reward/part/{name}": _mean(values) for name, values in sorted(parts.items())}
    numbers |= agreement(valid)
    scales = {k: Running.from_json(stats).std for k, stats in sorted(progress.part_stats.items())}
    numbers |= {f"reward/scale/{name}": std for name, std in scales.items()}
    numbers |= {name: mean.value for name, mean in sorted(update.metrics.items())}
    return {name: float(value) for name, value in numbers.items() if math.isfinite(value)}


def stored_metrics(
    progress: Progress, episodes: Sequence[Episode], update: Update, clocks: Clocks, *, epoch: float
) -> dict[str, float]:
    """The same of a step on stored episodes: what they are is the data's doing, not the policy's.

    Args:
        progress: Counters, this step included.
        episodes: The batch.
        update: What was made of it.
        clocks: Seconds.
        epoch: Times that the data has been met.
    """
    returns = [e.return_ for e in episodes if e.return_ is not None]
    num_tokens = sum(e.num_action_tokens for e in episodes)
    numbers: dict[str, float] = {
        "progress/episodes": progress.num_episodes,
        "progress/epochs": epoch,
        "progress/learner_tokens": progress.num_learner_tokens,
        "data/return_mean": _mean(returns),
        "data/return_std": _std(returns),
        "data/graded_frac": len(returns) / max(len(episodes), 1),
        "data/truncated_frac": _mean([e.end is EndReason.TRUNCATED for e in episodes]),
        "data/turns": _mean([len(e.turns) for e in episodes]),
        "data/action_tokens": _mean([len(t.action_ids) for e in episodes for t in e.turns]),
        "update/steps": update.num_optimiser_steps,
        "update/skipped": len(update.skipped),
        "time/update_s": clocks.update_s,
        "time/update_tokens_per_s": num_tokens / max(clocks.update_s, 1e-9),
    }
    numbers |= {name: mean.value for name, mean in sorted(update.metrics.items())}
    return {name: float(value) for name, value in numbers.items() if math.isfinite(value)}


CUT_FRAC_TO_WARN = 0.9
MIN_ACTIONS_TO_WARN = 8
MIN_RETURNS_TO_WARN = 4


def step_warnings(
    progress: Progress, episodes: Sequence[Episode], useful: Sequence[Episode], update: Update
) -> list[str]:
    """Sentences for the user, each given once a run; the count of each is kept in ``progress``."""
    found = list(update.warnings)
    causes = {e.failure.kind: e.failure.message for e in episodes[::-1] if e.failure is not None}
    found += [
        f"Invalid episodes are left out, kind {kind}: for example {message}"
        for kind, message in causes.items()
    ]
    num_cut = sum(was_cut(turn.observation) for e in episodes for turn in e.turns)
    if num_cut:
        found.append(
            f"Observations were too long and cut: {num_cut} in this step; the note at the end of "
            "each tells its full length."
        )
    actions = [turn for e in useful for turn in e.turns]
    cut = _mean([turn.finish is FinishReason.LENGTH for turn in actions])
    if len(actions) >= MIN_ACTIONS_TO_WARN and cut >= CUT_FRAC_TO_WARN:
        longest = max(len(turn.action_ids) for turn in actions)
        if longest > 1:
            found.append(
                f"{cut:.0%} of the actions were cut off at {longest} tokens: the reward judges "
                "unfinished text. Raise `sampling.max_new_tokens`, or ask for shorter texts."
            )
    if useful and all(e.return_ is None for e in useful):
        found.append(
            "No episode was graded (every reward is None): there is nothing to learn from."
        )
    returns = [e.return_ for e in useful if e.return_ is not None]
    is_told = any(sentence.startswith("All rewards") for sentence in update.warnings)
    if len(returns) >= MIN_RETURNS_TO_WARN and len({*returns}) == 1 and not is_told:
        found.append(
            f"All rewards of this step are equal: {returns[0]:g}, {len(returns)} times. The reward "
            "tells no good from bad. If that goes on, make the reward finer or the tasks easier."
        )
    if episodes and not useful:
        found.append("Nothing to train on in this step: every episode failed or every group tied.")
    found += [
        f"An optimiser step was refused and nothing changed: {skip.reason}."
        for skip in update.skipped
    ]
    fresh = []
    for sentence in found:
        kind = sentence.split(":", 1)[0].translate({ord(c): None for c in "0123456789%."})
        if kind not in progress.warnings:
            fresh.append(sentence)
        progress.warnings[kind] = progress.warnings.get(kind, 0) + 1
    return fresh


_DULL = ("All rewards", "No episode was graded", "Nothing to train on")
"""How the sentences begin that tell of a step without a lesson."""


def num_dull_steps(progress: Progress) -> int:
    """Steps whose rewards told nothing good from bad."""
    return sum(n for kind, n in progress.warnings.items() if kind.startswith(_DULL))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _std(values: Sequence[float]) -> float:
    if len(values) < 2:  # one value has no spread
        return math.nan
    mean = _mean(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
