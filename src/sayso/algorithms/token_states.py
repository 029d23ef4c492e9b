"""Token-level decisions of a packed row: states, what follows each, rewards, discounts.

The state of a decision is the hidden state before the token was chosen. The next state of the last
token of a turn lies behind the environment's reply, so bootstrapping skips tokens that the
environment said. A real end is followed by nothing (0), a cut-off by the last context.

Dimensions: n = action tokens of the row, f = truncated episodes of the row, d = width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sayso.algorithms.core import Core
from sayso.algorithms.grading import Numbers, token_rewards, turn_ends
from sayso.credit.discounts import discounts
from sayso.data.batch import Batch, PackedRow
from sayso.types import EndReason, Episode


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenStates:
    """Where the decisions of a row were made, and where they led.

    Attributes:
        hidden: State of each decision.
        final: States in which episodes were cut off.
        following: For each decision the place of the next state in ``hidden`` and ``final`` laid
            end to end; -1 where the task ended.
    """

    hidden: Float[Tensor, "n d"]
    final: Float[Tensor, "f d"]
    following: Int[Tensor, " n"]

    @property
    def is_end(self) -> Bool[Tensor, " n"]:
        """True where nothing follows."""
        return self.following < 0

    def after(
        self, value: Float[Tensor, " n"], final_value: Float[Tensor, " f"]
    ) -> Float[Tensor, " n"]:
        """Value of the next state of each decision, 0 behind a real end.

        Args:
            value: Of the states of decisions.
            final_value: Of the states in which episodes were cut off.
        """
        return value_after(self.following, value, final_value)


def value_after(
    following: Int[Tensor, " n"], value: Float[Tensor, " n"], final_value: Float[Tensor, " f"]
) -> Float[Tensor, " n"]:
    """See ``TokenStates.after``."""
    found = torch.cat([value, final_value])[following.clamp(min=0)]
    return torch.where(following < 0, torch.zeros_like(found), found)


def token_states(core: Core, row: PackedRow, episodes: Batch) -> TokenStates:
    """One forward of the trunk; gradients flow if they are enabled and it trains.

    Args:
        core: Holds the model.
        row: What to read.
        episodes: The batch the row belongs to.
    """
    where = torch.cat([row.source, row.final_source])
    hidden = core.read(row)
    states = hidden.index_select(0, where)
    return TokenStates(
        hidden=states[: len(row.source)],
        final=states[len(row.source) :],
        following=following(row, episodes),
    )


def following(row: PackedRow, batch: Batch) -> Int[Tensor, " n"]:
    """See ``TokenStates.following``."""
    num = len(row.target)
    final_of = {episode: num + place for place, episode in enumerate(row.final_episode)}
    found: list[int] = []
    for index in row.episodes:
        episode = batch.episodes[index]
        start = len(found)
        found += range(start + 1, start + episode.num_action_tokens)
        is_cut = episode.end is EndReason.TRUNCATED
        found.append(final_of[index] if is_cut else -1)
    return torch.tensor(found, dtype=torch.long, device=row.target.device)


def rewards_and_discounts(
    episode: Episode, *, gamma_token: float, gamma_turn: float
) -> tuple[Numbers, Numbers]:
    """Reward after each action token, and the discount from it to the next decision."""
    decay = discounts(turn_ends(episode), gamma_token=gamma_token, gamma_turn=gamma_turn)
    return token_rewards(episode), np.asarray(decay, np.float64)


def row_rewards(
    row: PackedRow, batch: Batch, *, gamma_token: float, gamma_turn: float, like: Tensor
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """``rewards_and_discounts`` of a row's tokens."""
    pairs = [
        rewards_and_discounts(batch.episodes[e], gamma_token=gamma_token, gamma_turn=gamma_turn)
        for e in row.episodes
    ]
    reward, discount = (
        torch.from_numpy(np.concatenate(each)).to(like) for each in zip(*pairs, strict=True)
    )
    return reward, discount
