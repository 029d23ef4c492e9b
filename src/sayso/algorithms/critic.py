"""What critics say: values of an episode, and advantages and targets of those that judge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sayso.algorithms.base import ActionValues, Skipped
from sayso.algorithms.core import Core
from sayso.algorithms.epochs import Experience
from sayso.algorithms.grading import Numbers, turn_ends
from sayso.credit.gae import gae
from sayso.data.batch import Batch
from sayso.types import Episode


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Numbers per action token of each episode.

    Attributes:
        advantage: Generalised advantage.
        target: λ-return, what the critic should have said.
        value: What it said.
    """

    advantage: list[Numbers]
    target: list[Numbers]
    value: list[Numbers]


def judge(
    core: Core, exp: Experience, *, gamma_token: float, gamma_turn: float, lam: float
) -> Judgement | Skipped:
    """Values before the update, and GAE over each episode's action tokens.

    A cut-off episode bootstraps from the value of its final context, one that ended from 0.
    Observation tokens are carried across: they are no decisions. A critic whose values are not
    finite judges nothing: the step is skipped.
    """
    batch = core.pack(exp.episodes)
    values, final = _values(core, batch)
    if not np.isfinite([*np.concatenate(values), *final.values()]).all():
        return Skipped(reason="a value of the critic is not finite")
    judgement = Judgement(advantage=[], target=[], value=values)
    for index, (episode, rewards) in enumerate(zip(exp.episodes, exp.rewards, strict=True)):
        credit = gae(
            rewards,
            values[index],
            final_value=final.get(index, 0.0),
            turn_ends=turn_ends(episode),
            gamma_token=gamma_token,
            gamma_turn=gamma_turn,
            lam=lam,
        )
        judgement.advantage.append(credit.advantages)
        judgement.target.append(credit.returns)
    return judgement


@torch.no_grad()
def _values(core: Core, batch: Batch) -> tuple[list[Numbers], dict[int, float]]:
    """Value of the context before each action token; of the final context where one was cut off."""
    per_row, final = [], dict[int, float]()
    for row in batch.rows:
        hidden = core.read(row)
        per_row.append(core.lm.values(hidden[row.source]))
        if row.final_episode:
            ends = core.lm.values(hidden[row.final_source]).tolist()
            final |= dict(zip(row.final_episode, ends, strict=True))
    return batch.by_episode(per_row), final


def context_values(
    core: Core, episode: Episode, *, gamma_token: float, gamma_turn: float
) -> ActionValues:
    """What the value head says of the context before each action token."""
    (values,), _ = _values(core, core.pack([episode]))
    return ActionValues(values=values, kind="v", gamma_token=gamma_token, gamma_turn=gamma_turn)


def said_values(
    core: Core,
    episode: Episode,
    values_of: Callable[[Tensor, Tensor], Tensor],
    *,
    gamma_token: float,
    gamma_turn: float,
) -> ActionValues:
    """What heads of action values say of each action token.

    Args:
        core: The learner's parts.
        episode: What was said.
        values_of: From hidden states [n, d] and the tokens chosen there [n] to values [n].
        gamma_token: Discount that the values are about, between tokens of a turn.
        gamma_turn: The same, between turns.
    """
    batch = core.pack([episode])
    with torch.no_grad():
        per_row = [
            values_of(core.read(row).index_select(0, row.source), row.target) for row in batch.rows
        ]
    (values,) = batch.by_episode(per_row)
    return ActionValues(values=values, kind="q", gamma_token=gamma_token, gamma_turn=gamma_turn)
