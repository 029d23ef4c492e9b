"""Action values over the vocabulary, read from hidden states, in a memory that can be afforded.

Dimensions: n = positions, d = width, v = vocabulary, k = tokens of interest, r = rank.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sayso.models.lm import LanguageModel
from sayso.models.seeding import seeded

FULL_UP_TO = 1024
"""Largest vocabulary that gets a head of full rank unless told otherwise."""
RANK = 16
"""Rank of the head of a larger one."""
CHUNK = 256
"""Positions whose values of all tokens exist at a time."""


class QHead(nn.Module):
    """Values of tokens in a context, in reward units; 0 everywhere at the start.

    Never in half precision. Of full rank it is ``d * v`` weights; of rank r it is ``r * (d + v)``:
    0.8 million instead of 28 million for SmolLM2, so that two heads and their targets fit.

    Args:
        width: Size d of a hidden state.
        vocabulary: Number v of tokens.
        rank: r; 0: full rank.
        layer: Units of a GELU layer in front; 0: none. Two heads without one and of full rank are
            equal for ever, whatever their seeds, for the last layer starts at zero.
        seed: Decides the first weights of inner maps, where there are some.
        dtype: Of the language model; anything below fp32 is raised to fp32.
        device: Where the weights go.
    """

    def __init__(
        self,
        width: int,
        vocabulary: int,
        *,
        rank: int = 0,
        layer: int = 0,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        precise = dtype if dtype in (torch.float32, torch.float64) else torch.float32
        with seeded(seed):
            self.layer = nn.Linear(width, layer, dtype=precise) if layer else None
            width = layer or width
            self.inner = nn.Linear(width, rank, bias=False, dtype=precise) if rank else None
            self.project = nn.Linear(rank or width, vocabulary, dtype=precise)
        self.to(device)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, hidden: Float[Tensor, "n d"]) -> Float[Tensor, "n v"]:
        """The values of all tokens."""
        values: Tensor = self.project(self._state(hidden))
        return values

    def of(self, hidden: Float[Tensor, "n d"], ids: Int[Tensor, "n k"]) -> Float[Tensor, "n k"]:
        """The values of some tokens at each position: no ``n * v`` numbers exist."""
        state, weight, bias = self._state(hidden), self.project.weight, self.project.bias
        rows = weight.index_select(0, ids.flatten()).view(*ids.shape, -1)
        return torch.einsum("nd,nkd->nk", state, rows) + bias.index_select(0, ids.flatten()).view(
            ids.shape
        )

    def log_total(
        self, hidden: Float[Tensor, "n d"], ids: Int[Tensor, "n k"] | None = None
    ) -> Float[Tensor, " n"]:
        """Log of the sum of exp(value) over all tokens, or over some.

        Over all, the values exist for ``CHUNK`` positions at a time, and again when going back.

        Args:
            hidden: States.
            ids: The tokens; each counts once per position, so none may be named twice.
        """
        if ids is not None:
            return self.of(hidden, ids).logsumexp(-1)
        parts = []
        for start in range(0, max(len(hidden), 1), CHUNK):
            part = hidden[start : start + CHUNK]
            if len(hidden) > CHUNK and torch.is_grad_enabled():
                parts.append(
                    checkpoint(self._total, part, use_reentrant=False, preserve_rng_state=False)
                )
            else:
                parts.append(self._total(part))
        return torch.cat(parts)

    def _total(self, hidden: Tensor) -> Tensor:
        total: Tensor = self(hidden).logsumexp(-1)
        return total

    def _state(self, hidden: Tensor) -> Tensor:
        state = hidden.to(self.project.weight.dtype)
        if self.layer is not None:
            state = nn.functional.gelu(self.layer(state))
        return state if self.inner is None else self.inner(state)


def q_head(lm: LanguageModel, *, rank: int | None, seed: int, has_layer: bool = False) -> QHead:
    """A head for a model.

    Args:
        lm: Gives width, vocabulary, precision and place.
        rank: 0: full; ``None``: full up to ``FULL_UP_TO`` tokens, else ``RANK``.
        seed: See ``QHead``.
        has_layer: One of full rank gets a layer of twice the width in front.
    """
    if rank is None:
        rank = 0 if lm.vocabulary <= FULL_UP_TO else RANK
    return QHead(
        lm.width, lm.vocabulary, rank=rank, layer=2 * lm.width if has_layer and not rank else 0,
        seed=seed, dtype=lm.dtype, device=lm.device,
    )  # fmt: skip


def target_of(head: nn.Module) -> nn.Module:
    """A copy that no gradient reaches."""
    return copy.deepcopy(head).requires_grad_(requires_grad=False)


@torch.no_grad()
def polyak(target: nn.Module, online: nn.Module, rate: float) -> None:
    r"""Move a target towards what it follows.

    .. math:: \bar\theta \leftarrow (1 - \rho) \bar\theta + \rho \theta

    Raises:
        ValueError: If the rate is outside (0, 1]; 1 copies.
    """
    if not 0 < rate <= 1:
        raise ValueError(f"the rate must be in (0, 1], got {rate}")
    pairs: Iterable[tuple[Tensor, Tensor]] = zip(
        target.parameters(), online.parameters(), strict=True
    )
    for behind, ahead in pairs:
        behind.lerp_(ahead.detach(), rate)
