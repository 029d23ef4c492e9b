"""The losses of GRPO's relatives on one packed row: which function, which weights, which count."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from sayso.algorithms.anchor import Anchor
from sayso.data.batch import Batch, PackedRow
from sayso.losses.loss import Loss
from sayso.losses.policy_gradient import cispo, clipped_surrogate, sequence_clipped_surrogate


class VariantLoss(Protocol):
    """Loss of a row, normalised by counts of the whole batch."""

    def __call__(
        self,
        logprob: Tensor,
        row: PackedRow,
        advantage: Tensor,
        batch: Batch,
        start: Anchor,
        *,
        clip_low: float,
        clip_high: float,
    ) -> Loss:
        """The row's share of the step's loss."""
        ...


def token_share(row: PackedRow, batch: Batch) -> Tensor:
    """One over the number of action tokens of the episode that each token of a row is of."""
    lengths = row.episode.new_tensor([e.num_action_tokens for e in batch.episodes])
    return 1 / lengths[row.episode].to(row.logprob_sampled)


def sequence_mean(
    logprob: Tensor, row: PackedRow, advantage: Tensor, batch: Batch, start: Anchor, *,
    clip_low: float, clip_high: float,
) -> Loss:  # fmt: skip
    """Mean over the tokens of an episode, then over episodes (GRPO)."""
    share = token_share(row, batch).to(logprob)
    return clipped_surrogate(
        logprob, start.logprob, advantage, row.is_action, clip_low=clip_low,
        clip_high=clip_high, num_actions_in_step=len(batch.episodes),
        weight=share if start.weight is None else share * start.weight,
    )  # fmt: skip


def sequence_sum(
    logprob: Tensor, row: PackedRow, advantage: Tensor, batch: Batch, start: Anchor, *,
    clip_low: float, clip_high: float,
) -> Loss:  # fmt: skip
    """Sum over tokens, mean over episodes (Dr. GRPO)."""
    return clipped_surrogate(
        logprob, start.logprob, advantage, row.is_action, clip_low=clip_low,
        clip_high=clip_high, num_actions_in_step=len(batch.episodes), weight=start.weight,
    )  # fmt: skip


def token_mean(
    logprob: Tensor, row: PackedRow, advantage: Tensor, batch: Batch, start: Anchor, *,
    clip_low: float, clip_high: float,
) -> Loss:  # fmt: skip
    """Mean over all action tokens of the step (DAPO)."""
    return clipped_surrogate(
        logprob, start.logprob, advantage, row.is_action, clip_low=clip_low,
        clip_high=clip_high, num_actions_in_step=batch.num_actions, weight=start.weight,
    )  # fmt: skip


def sequence_ratio(
    logprob: Tensor, row: PackedRow, advantage: Tensor, batch: Batch, start: Anchor, *,
    clip_low: float, clip_high: float,
) -> Loss:  # fmt: skip
    """One ratio per sequence (GSPO). An episode's action tokens are one sequence."""
    return sequence_clipped_surrogate(
        logprob, start.logprob, advantage, row.is_action, sequence=row.episode,
        clip_low=clip_low, clip_high=clip_high, num_episodes_in_step=len(batch.episodes),
        weight=start.weight,
    )  # fmt: skip


def clipped_weight(
    logprob: Tensor, row: PackedRow, advantage: Tensor, batch: Batch, start: Anchor, *,
    clip_low: float, clip_high: float,
) -> Loss:  # fmt: skip
    """REINFORCE with a clipped, detached ratio (CISPO)."""
    return cispo(
        logprob, start.logprob, advantage, row.is_action, clip_low=clip_low,
        clip_high=clip_high, num_actions_in_step=batch.num_actions, weight=start.weight,
    )  # fmt: skip


LOSSES: dict[str, VariantLoss] = {
    "sequence_mean": sequence_mean,
    "sequence_sum": sequence_sum,
    "token_mean": token_mean,
    "sequence_ratio": sequence_ratio,
    "clipped_weight": clipped_weight,
}
