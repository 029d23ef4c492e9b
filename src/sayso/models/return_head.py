"""What may still be earned after each token, as a distribution, read from hidden states.

Dimensions: n = positions, d = width, v = vocabulary, k = tokens of interest, m = outcomes,
r = rank.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sayso.models.lm import LanguageModel
from sayso.models.q_heads import FULL_UP_TO, RANK
from sayso.models.seeding import seeded


class ReturnHead(nn.Module):
    """Logits over m outcomes for each token in a context; uniform at the start.

    A part that all tokens of a context share, and one of the token's own: what the context says
    holds for tokens that were seldom tried. Of full rank the latter is ``d * v * (m - 1)`` weights;
    of rank r ``r * (d * (m - 1) + v)`` and a bias for each token and outcome. The first outcome's
    logit is 0: a softmax needs no more, and with two outcomes this is a logistic regression.

    Never in half precision.

    Args:
        width: Size d of a hidden state.
        vocabulary: Number v of tokens.
        num_outcomes: m, at least 2.
        rank: r; 0: full rank.
        seed: Decides the first weights of the inner map, where there is one.
        dtype: Of the language model; anything below fp32 is raised to fp32.
        device: Where the weights go.
    """

    def __init__(
        self,
        width: int,
        vocabulary: int,
        *,
        num_outcomes: int,
        rank: int = 0,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        precise = dtype if dtype in (torch.float32, torch.float64) else torch.float32
        free = num_outcomes - 1
        self._free, self._rank = free, rank
        with seeded(seed):
            inner = nn.Linear(width, free * rank, bias=False, dtype=precise) if rank else None
        self.inner = inner
        self.shared = nn.Linear(width, free, dtype=precise)
        shape = (vocabulary, rank) if rank else (vocabulary, free, width)
        self.token = nn.Parameter(torch.zeros(shape, dtype=precise))
        self.bias = nn.Parameter(torch.zeros(vocabulary, free, dtype=precise))
        nn.init.zeros_(self.shared.weight)
        nn.init.zeros_(self.shared.bias)
        self.to(device)

    def forward(self, hidden: Float[Tensor, "n d"]) -> Float[Tensor, "n v m"]:
        """The logits of all tokens."""
        state = hidden.to(self.bias.dtype)
        if self.inner is None:
            own = torch.einsum("nd,vfd->nvf", state, self.token)
        else:
            own = torch.einsum("nfr,vr->nvf", self._folded(state), self.token)
        return self._whole(state, own + self.bias)

    def of(self, hidden: Float[Tensor, "n d"], ids: Int[Tensor, "n k"]) -> Float[Tensor, "n k m"]:
        """The logits of some tokens at each position: no ``n * v`` numbers exist."""
        state, flat = hidden.to(self.bias.dtype), ids.flatten()
        token = self.token.index_select(0, flat).view(*ids.shape, *self.token.shape[1:])
        if self.inner is None:
            own = torch.einsum("nd,nkfd->nkf", state, token)
        else:
            own = torch.einsum("nfr,nkr->nkf", self._folded(state), token)
        bias = self.bias.index_select(0, flat).view(*ids.shape, self._free)
        return self._whole(state, own + bias)

    def _folded(self, state: Tensor) -> Tensor:
        assert self.inner is not None  # noqa: S101  # the caller has looked
        folded: Tensor = self.inner(state)
        return folded.view(len(state), self._free, self._rank)

    def _whole(self, state: Tensor, own: Tensor) -> Tensor:
        """With what the tokens share, and with the first outcome."""
        free = own + self.shared(state)[:, None]
        return nn.functional.pad(free, (1, 0))


def return_head(lm: LanguageModel, *, num_outcomes: int, seed: int) -> ReturnHead:
    """A head for a model: of full rank up to ``FULL_UP_TO`` tokens, else of rank ``RANK``."""
    return ReturnHead(
        lm.width,
        lm.vocabulary,
        num_outcomes=num_outcomes,
        rank=0 if lm.vocabulary <= FULL_UP_TO else RANK,
        seed=seed,
        dtype=lm.dtype,
        device=lm.device,
    )
