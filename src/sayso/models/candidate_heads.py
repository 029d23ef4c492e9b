"""Values and preferences of whole utterances. Dimensions: s = slates, c = candidates, d = width."""

from __future__ import annotations

import math

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


GELU_SQUARE = 1 / 3 + 1 / (2 * math.sqrt(3) * math.pi)
"""Mean of gelu(z)² over a standard normal z."""


class CandidateHead(nn.Module):
    r"""A number per candidate in its state; 0 everywhere at the start unless ``spread`` is set.

    .. math:: f(s, u) = w \cdot \mathrm{gelu}(W [\mathrm{LN}(\phi(s)); \mathrm{LN}(\psi(s, u))] + b)

    Each candidate is judged alone: the order of a slate and what else is on it change nothing.
    Never in half precision.

    Args:
        width: Size d of a hidden state.
        seed: Decides the first weights.
        spread: Standard deviation, over seeds, of what is said of any candidate at first, in reward
            units. Above 0 all weights are Gaussian: W of variance 1 / inputs, so that what gelu
            sees is standard normal.
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
        spread: float = 0.0,
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
            nn.init.zeros_(self.project.weight)
            nn.init.zeros_(self.project.bias)
            if spread:
                nn.init.normal_(self.inner.weight, std=(3 * width) ** -0.5)
                nn.init.zeros_(self.inner.bias)
                nn.init.normal_(self.project.weight, std=spread / (INNER * GELU_SQUARE) ** 0.5)
        self.to(device)

    def forward(self, read: Read) -> Float[Tensor, " c"]:
        """One number per candidate."""
        dtype = self.project.weight.dtype
        state = self.state_norm(read.phi.to(dtype))[read.owner]
        action = self.action_norm(read.psi.to(dtype))
        inner = nn.functional.gelu(self.inner(torch.cat([state, action], -1)))
        found: Tensor = self.project(inner)
        return found.squeeze(-1)


class CandidateCritic(nn.Module):
    r"""One head, two, or an ensemble; and the trunk they read, if it is theirs.

    Each member k of an ensemble is what trains plus a random function that does not (its prior):

    .. math:: Q_k(s, u) = f_k(s, u) + p_k(s, u)

    so that members differ where data do not tell them better. Priors read the language model as it
    is, whatever the trunk of the rest.

    Args:
        lm: Gives the width, and the trunk to start from.
        twins: See ``Twins``.
        owns_trunk: The heads read a copy of the language model's trunk that trains with them; the
            language model itself stays as it is.
        seed: Decides first weights; no two heads begin alike.
        ensemble: Members, instead of ``twins``; 0: no ensemble.
        prior_scale: Standard deviation of the priors, in reward units; 0: none.

    Source:
        Osband, Aslanides and Cassirer 2018, arXiv:1806.03335, algorithm 1 and sec. 4.
    """

    def __init__(
        self,
        lm: LanguageModel,
        *,
        twins: Twins,
        owns_trunk: bool,
        seed: int,
        ensemble: int = 0,
        prior_scale: float = 0.0,
    ) -> None:
        super().__init__()
        self.twins: Twins = twins
        self.trunk = trained_copy(lm) if owns_trunk else None
        count = ensemble or (1 if twins == "one" else 2)

        def heads(name: str, spread: float) -> nn.ModuleList:
            return nn.ModuleList(
                CandidateHead(
                    lm.width, seed=derive(seed, name, number), spread=spread, dtype=lm.dtype,
                    device=lm.device,
                )
                for number in range(count)
            )  # fmt: skip

        self.heads = heads("critic", 0.0)
        self.priors = heads("prior", prior_scale) if ensemble and prior_scale else None
        if self.priors is not None:
            self.priors.requires_grad_(requires_grad=False)

    def each(self, read: Read) -> Float[Tensor, "h s k"]:
        """The values by each head, one row per slate, ``-inf`` where there is no candidate."""
        values = [head(read) for head in self.heads]
        if self.priors is not None:
            plain = read.frozen or read
            said = [prior(plain) for prior in self.priors]
            values = [f + p for f, p in zip(values, said, strict=True)]
        return torch.stack([read.padded(value) for value in values])

    def forward(self, read: Read) -> Float[Tensor, "s k"]:
        """The value that counts."""
        return self.agreed(self.each(read))

    def agreed(self, each: Float[Tensor, "h s k"]) -> Float[Tensor, "s k"]:
        """One value of what each head says."""
        return each.amin(0) if self.twins == "min" else each.mean(0)
