"""Heads beside the language model's own. Dimensions: n = positions, d = width."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ValueHead(nn.Module):
    """Value of a context in reward units, read from the hidden state of its last token.

    Linear, never in half precision, zero at the start: a critic that knows nothing predicts 0
    everywhere. Temperature and other sampling settings do not touch it.
    """

    def __init__(self, width: int, *, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__()
        precise = dtype if dtype in (torch.float32, torch.float64) else torch.float32
        self.project = nn.Linear(width, 1, dtype=precise, device=device)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, hidden: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """One value per position."""
        value: Tensor = self.project(hidden.to(self.project.weight.dtype))
        return value.squeeze(-1)
