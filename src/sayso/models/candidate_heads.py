"""Values and preferences of whole utterances. Dimensions: s = slates, c = candidates, d = width."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sayso.models.lm import LanguageModel
from sayso.models.options import Twins
from sayso.models.seeding import seeded
from sayso.models.slates import Read, trained_copy
from sayso.seeds import derive

INNER = 64
"""Size of a head's hidden layer."""


class CandidateHead(nn.Module):
    r"""A number per candidate in its state; 0 everywhere at the start.

    .. math:: f(s, u) = w \cdot \mathrm{gelu}(W [\mathrm{LN}(\phi(s)); \mathrm{LN}(\psi(s, u))] + b)

    Each candidate is judged alone: the order of a slate and what else is on it change nothing.
    Never in half precision.

    Args:
        width: Size d of a hidden state.
        seed: Decides the first weights of the hidden layer.
        dtype: Of the language model; anything below fp32 is raised to fp32.
        device: Where the weights go.

    Source:
        Deep reinforcement relevance networks: He et al. 2016, arXiv:1511.04636, sec. 3; an MLP over
        both instead of an inner product, as Yan et al. 2025, arXiv:2410.07927.

    Tests:
        tests/unit/test_slates.py
    """

    def __init__(
        self,
        width: int,
        *,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        precise = dtype if dtype in (torch.float32, torch.float64) else torch.float32
        with seeded(seed):
            self.state_norm = nn.LayerNorm(width, dtype=precise)
            self.action_norm = nn.LayerNorm(2 * width, dtype=precise)
            self.inner = nn.Linear(3 * width, INNER, dtype=precise)
            self.project = nn.Linear(INNER, 1, dtype=precise)
        self.to(device)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, read: Read) -> Float[Tensor, " c"]:
        """One number per candidate."""
        dtype = self.project.weight.dtype
        state = self.state_norm(read.phi.to(dtype))[read.owner]
        action = self.action_norm(read.psi.to(dtype))
        inner = nn.functional.gelu(self.inner(torch.cat([state, action], -1)))
        found: Tensor = self.project(inner)
        return found.squeeze(-1)


class CandidateCritic(nn.Module):
    """One head or two, and the trunk they read, if it is theirs.

    Args:
        lm: Gives the width, and the trunk to start from.
        twins: See ``Twins``.
        owns_trunk: The heads read a copy of the language model's trunk that trains with them; the
            language model itself stays as it is.
        seed: Decides first weights; the heads of a pair differ.
    """

    def __init__(self, lm: LanguageModel, *, twins: Twins, owns_trunk: bool, seed: int) -> None:
        super().__init__()
        self.twins: Twins = twins
        self.trunk = trained_copy(lm) if owns_trunk else None
        count = 1 if twins == "one" else 2
        self.heads = nn.ModuleList(
            CandidateHead(
                lm.width, seed=derive(seed, "critic", number), dtype=lm.dtype, device=lm.device
            )
            for number in range(count)
        )  # fmt: skip

    def each(self, read: Read) -> Float[Tensor, "h s k"]:
        """The values by each head, one row per slate, ``-inf`` where there is no candidate."""
        return torch.stack([read.padded(head(read)) for head in self.heads])

    def forward(self, read: Read) -> Float[Tensor, "s k"]:
        """The value that counts."""
        return self.agreed(self.each(read))

    def agreed(self, each: Float[Tensor, "h s k"]) -> Float[Tensor, "s k"]:
        """One value of what each head says."""
        return each.amin(0) if self.twins == "min" else each.mean(0)
