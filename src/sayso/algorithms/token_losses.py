"""Terms that the losses of several learners of token values share.

Dimensions: n = positions of one packed row, d = width, k = tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sayso.algorithms.core import Core
from sayso.data.batch import PackedRow
from sayso.losses.imitation import imitation
from sayso.losses.loss import Loss
from sayso.losses.q_learning import conservatism
from sayso.models.lm import LanguageModel
from sayso.models.q_heads import QHead
from sayso.models.scoring import score_states

LIKELIEST_CHUNK = 256
"""Positions whose logits exist at a time when only the likeliest tokens are wanted."""


def clone(
    core: Core,
    hidden: Float[Tensor, "n d"],
    row: PackedRow,
    *,
    count: float,
    weight: Float[Tensor, " n"],
) -> Loss:
    """Imitation of the tokens in a row by the model itself; see ``Core.imitated``.

    Args:
        core: Holds the model.
        hidden: State of each decision.
        row: What was said.
        count: Action tokens of the whole step.
        weight: How much each token counts.
    """
    logprob = score_states(core.lm, hidden, row.target, core.imitated).logprob
    return imitation(logprob, row.is_action, num_in_step=count, weight=weight)


def push_down(
    lm: LanguageModel,
    heads: Sequence[QHead],
    hidden: Float[Tensor, "n d"],
    row: PackedRow,
    *,
    count: float,
    num_tokens: int,
    weight: Float[Tensor, " n"],
) -> Loss:
    """Cross-entropy of every head with the tokens in a row; see ``conservatism``.

    Args:
        lm: Says which tokens are likely.
        heads: The action values.
        hidden: State of each decision.
        row: What was said.
        count: Action tokens of the whole step.
        num_tokens: 0: over all tokens; else over so many likeliest ones, a lower bound.
        weight: How much each decision counts.
    """
    ids = likeliest(lm, hidden, num_tokens, also=row.target) if num_tokens else None
    parts = []
    for head in heads:
        taken, total = head.of(hidden, row.target[:, None])[:, 0], head.log_total(hidden, ids)
        parts.append(
            conservatism(taken, total, row.is_action, num_actions_in_step=count, weight=weight)
        )
    return Loss(torch.stack([part.value for part in parts]).sum(), parts[0].metrics)


@torch.no_grad()
def likeliest(
    lm: LanguageModel,
    hidden: Float[Tensor, "n d"],
    num_tokens: int,
    *,
    also: Int[Tensor, " n"] | None = None,
) -> Int[Tensor, "n k"]:
    """The model's likeliest tokens in each context, none twice.

    Args:
        lm: The model.
        hidden: State of each context.
        num_tokens: k, at most the whole vocabulary.
        also: A token of each context that must be among them; it takes the last one's place.
    """
    k = min(num_tokens, lm.vocabulary)
    parts = [
        lm.logits(hidden[start : start + LIKELIEST_CHUNK]).topk(k, dim=-1).indices
        for start in range(0, max(len(hidden), 1), LIKELIEST_CHUNK)
    ]
    found = torch.cat(parts)
    if also is not None:
        is_missing = ~(found == also[:, None]).any(-1)
        found[:, -1] = torch.where(is_missing, also, found[:, -1])
    return found


def weighed(coefficient: float, loss: Loss) -> Loss:
    """A loss times a number; its metrics stay what they are."""
    return Loss(coefficient * loss.value, loss.metrics)
