"""The heads of token-level value learners: action values, their targets, values of contexts.

Dimensions: h = heads, n = positions, d = width, v = vocabulary, k = tokens of interest.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sayso.models.heads import ValueHead
from sayso.models.lm import LanguageModel
from sayso.models.q_heads import QHead, polyak, q_head, target_of
from sayso.seeds import derive


class TokenValues(nn.Module):
    """One or several heads Q, a slow copy of each, and a head V; all 0 at the start.

    They read the model's own trunk; a target is a copy of the head alone, so where the trunk trains
    the states that it reads move at once. Heads differ by their seeds.

    Args:
        lm: Gives width, vocabulary, precision and place.
        num_heads: h.
        rank: See ``q_head``.
        seed: Decides first weights.
        has_targets: Whether there are slow copies.

    Attributes:
        online: The heads that learn.
        target: Their slow copies; empty without.
        context: V.
    """

    def __init__(
        self,
        lm: LanguageModel,
        *,
        num_heads: int,
        rank: int | None,
        seed: int,
        has_targets: bool = True,
    ) -> None:
        super().__init__()
        heads = [
            q_head(lm, rank=rank, seed=derive(seed, "q head", number), has_layer=True)
            for number in range(num_heads)
        ]
        self.online = nn.ModuleList(heads)
        self.target = nn.ModuleList(target_of(head) for head in heads if has_targets)
        self.context = ValueHead(
            lm.width, inner=2 * lm.width, seed=derive(seed, "context head"), dtype=lm.dtype,
            device=lm.device,
        )  # fmt: skip

    def heads(self) -> list[QHead]:
        """Those that learn."""
        return [head for head in self.online if isinstance(head, QHead)]

    def taken(self, hidden: Float[Tensor, "n d"], ids: Int[Tensor, " n"]) -> Float[Tensor, "h n"]:
        """Value of one token in each context, by each head."""
        return torch.stack([head.of(hidden, ids[:, None])[:, 0] for head in self.heads()])

    @torch.no_grad()
    def taken_by_target(
        self, hidden: Float[Tensor, "n d"], ids: Int[Tensor, " n"]
    ) -> Float[Tensor, " n"]:
        """The least that the targets say: two that err apart err less together."""
        heads = [head for head in self.target if isinstance(head, QHead)]
        both = torch.stack([head.of(hidden, ids[:, None])[:, 0] for head in heads])
        return both.amin(0)

    def values(self, hidden: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """V of each context."""
        value: Tensor = self.context(hidden)
        return value

    @torch.no_grad()
    def advantage(self, hidden: Float[Tensor, "n d"]) -> Float[Tensor, "n v"]:
        """``min_i Q_i - V`` of every token."""
        least: Tensor = self.heads()[0](hidden)
        for head in self.heads()[1:]:
            least = torch.minimum(least, head(hidden))
        return least - self.values(hidden)[:, None]

    def follow(self, rate: float) -> None:
        """Move the targets; see ``polyak``."""
        polyak(self.target, self.online, rate)
