"""Heads beside the language model's own. Dimensions: n = positions, d = width."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sayso.models.seeding import seeded


class ValueHead(nn.Module):
    """Value of a context in reward units, read from the hidden state of its last token.

    Never in half precision, and its last layer is zero at the start: a critic that knows nothing
    predicts 0 everywhere. Temperature and other sampling settings do not touch it.

    Args:
        width: Size d of a hidden state.
        inner: Size of one hidden layer with a GELU; 0 leaves the head linear.
        seed: Decides the inner layer's first weights.
        dtype: Of the language model; anything below fp32 is raised to fp32.
        device: Where the weights go.
    """

    def __init__(
        self,
        width: int,
        *,
        inner: int = 0,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        precise = dtype if dtype in (torch.float32, torch.float64) else torch.float32
        with seeded(seed):
            self.inner = nn.Linear(width, inner, dtype=precise) if inner else None
            self.project = nn.Linear(inner or width, 1, dtype=precise)
        self.to(device)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, hidden: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """One value per position."""
        state = hidden.to(self.project.weight.dtype)
        if self.inner is not None:
            state = nn.functional.gelu(self.inner(state))
        value: Tensor = self.project(state)
        return value.squeeze(-1)
