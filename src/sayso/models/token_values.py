"""The heads of token-level value learners: action values, their targets, values of contexts.

Dimensions: h = heads, n = positions, d = width, v = vocabulary, k, m = tokens of interest.
"""

from __future__ import annotations

import copy

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


class DuelingValues(nn.Module):
    r"""Values of the tokens to choose among, 0 everywhere at the start.

    .. math:: Q(h, a) = V(h) + A(h, a) - \tfrac{1}{|K|} \textstyle\sum_{b \in K(h)} A(h, b)

    or without V and the mean: Q = A.

    Args:
        lm: Gives width, vocabulary, precision and place.
        rank: See ``q_head``.
        is_dueling: Whether V is a head of its own.
        seed: Decides first weights.

    Attributes:
        action: A.
        context: V, if it is a head of its own.

    Source:
        Wang et al. 2016, arXiv:1511.06581, eq. 9.
    """

    def __init__(self, lm: LanguageModel, *, rank: int | None, is_dueling: bool, seed: int) -> None:
        super().__init__()
        self.action = q_head(lm, rank=rank, seed=derive(seed, "q head"), has_layer=True)
        self.context: ValueHead | None = None
        if is_dueling:
            self.context = ValueHead(
                lm.width, inner=2 * lm.width, seed=derive(seed, "context head"), dtype=lm.dtype,
                device=lm.device,
            )  # fmt: skip

    def of(
        self,
        hidden: Float[Tensor, "n d"],
        ids: Int[Tensor, "n k"] | None,
        among: Int[Tensor, "n m"] | None,
    ) -> Float[Tensor, "n k"]:
        """Values of some tokens.

        Args:
            hidden: States.
            ids: Which tokens; ``None``: all.
            among: K(h); ``None``: all.
        """
        values = self._action(hidden, ids)
        if self.context is None:
            return values
        value: Tensor = self.context(hidden)
        return values - self._action(hidden, among).mean(-1, keepdim=True) + value[:, None]

    def _action(self, hidden: Tensor, ids: Tensor | None) -> Tensor:
        found: Tensor = self.action(hidden) if ids is None else self.action.of(hidden, ids)
        return found


class ChosenValues(nn.Module):
    """``DuelingValues`` and a slow copy of them.

    Attributes:
        online: Those that learn.
        target: Their slow copy.
    """

    def __init__(self, lm: LanguageModel, *, rank: int | None, is_dueling: bool, seed: int) -> None:
        super().__init__()
        self.online = DuelingValues(lm, rank=rank, is_dueling=is_dueling, seed=seed)
        self.target = copy.deepcopy(self.online).requires_grad_(requires_grad=False)

    @torch.no_grad()
    def best(
        self,
        hidden: Float[Tensor, "n d"],
        ids: Int[Tensor, "n k"] | None,
        among: Int[Tensor, "n m"] | None,
        *,
        is_double: bool,
    ) -> Float[Tensor, " n"]:
        """What the best of some tokens is worth, by the slow copy.

        Args:
            hidden: States.
            ids: The tokens to choose among; ``None``: all.
            among: See ``DuelingValues.of``.
            is_double: Let the heads that learn say which is best: the noise by which a token is
                chosen is then not the noise that it is valued with.
        """
        slow = self.target.of(hidden, ids, among)
        chooser = self.online.of(hidden, ids, among) if is_double else slow
        return slow.gather(-1, chooser.argmax(-1, keepdim=True))[:, 0]

    def follow(self, rate: float) -> None:
        """Move the slow copy; see ``polyak``."""
        polyak(self.target, self.online, rate)
