"""Learning from parts of the reward in units of their own running spread, if asked for.

The statistics are the loop's and not the environment's: environments are many, in several
processes, and would each see something else. Here every episode passes once, in a fixed order, and
what was seen is part of each checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sayso.errors import OptionValueError
from sayso.rewards.running import Running
from sayso.rewards.sums import GATE
from sayso.types import Episode, Turn

LIMIT = 10.0
"""Largest distance of a part from its mean in units of its spread, before its weight."""
Stats = dict[str, dict[str, float]]


def rescaled(
    episodes: Sequence[Episode], weights: Mapping[str, float], seen: Mapping[str, dict[str, float]]
) -> tuple[list[Episode], Stats]:
    """The same episodes with ``sum_k weight_k * part_k / std_k`` as the reward of each turn.

    Only divided, not centred: what is subtracted from the reward of every turn would pay for
    longer, or for shorter, episodes. ``std_k`` is that of all turns of the run so far, these
    included; a part that never varied counts 0, an odd value as ``LIMIT`` spreads from the mean.
    Where a ``Sum`` has gates, they multiply what is above 0, as they do there.

    Args:
        episodes: What a step learns from.
        weights: By part; parts without one are left out. Empty: nothing is changed.
        seen: What the last step returned.

    Returns:
        The episodes to learn from; statistics of the parts, to be kept.

    Raises:
        OptionValueError: If no turn has a part of some name.

    Source: Stable-Baselines3's ``VecNormalize`` divides rewards by a running spread likewise, that
        of the discounted return; ours is by part and of the parts themselves.
    """
    if not weights:
        return list(episodes), {}
    stats = {name: Running.from_json(seen[name]) if name in seen else Running() for name in weights}
    turns = [turn for episode in episodes for turn in episode.turns]
    _require_known(turns, weights, stats)
    for turn in turns:
        for name, running in stats.items():
            value = turn.reward_parts.get(name)
            if value is not None:
                running.add(value)
    changed = [
        replace(e, turns=tuple(replace(t, reward=_reward(t, weights, stats)) for t in e.turns))
        for e in episodes
    ]
    return changed, {name: running.to_json() for name, running in stats.items()}


def _reward(turn: Turn, weights: Mapping[str, float], stats: Mapping[str, Running]) -> float | None:
    """The reward of a turn; ``None`` where it was not graded, or no part applies."""
    parts = {name: turn.reward_parts.get(name) for name in weights}
    if turn.reward is None or all(value is None for value in parts.values()):
        return None
    gate, total = _gate(turn.reward_parts), 0.0
    for name, value in parts.items():
        mean, std = stats[name].mean, stats[name].std
        if value is None or std <= 0:
            continue
        scaled = max(mean - LIMIT * std, min(mean + LIMIT * std, value)) / std
        total += weights[name] * scaled * (gate if scaled > 0 else 1.0)
    return total


def _gate(parts: Mapping[str, float | None]) -> float:
    """The factor that a ``Sum`` put on what was earned, from what it says it took."""
    taken = parts.get(GATE)
    earned = sum(max(0.0, value or 0.0) for name, value in parts.items() if name != GATE)
    return 1.0 if taken is None or earned <= 0 else max(0.0, 1.0 + taken / earned)


def _require_known(
    turns: Sequence[Turn], weights: Mapping[str, float], stats: Mapping[str, Running]
) -> None:
    named = {name for turn in turns for name in turn.reward_parts}
    lacking = [name for name in weights if name not in named and not stats[name].count]
    if turns and lacking:
        raise OptionValueError(
            where="train.part_weights",
            problem=f"names {', '.join(lacking)}; the reward has the parts: "
            f"{', '.join(sorted(named)) or 'none'}.",
            fix="Use names of parts.",
        )
