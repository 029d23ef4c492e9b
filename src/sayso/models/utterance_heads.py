"""Values of whole utterances, read from hidden states: the heads of a hierarchical critic.

Dimensions: m = utterances, d = width.
"""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sayso.models.heads import ValueHead
from sayso.models.lm import LanguageModel
from sayso.models.q_heads import polyak, target_of
from sayso.seeds import derive

NUM_TWINS = 2
INNER = 64


class UtteranceHeads(nn.Module):
    r"""Twin values :math:`Q_i(s, u)` and values :math:`V_i(s)`, with their targets.

    A state is the hidden state of the last token of a context, an utterance that of its own last
    token, stop token included: through attention it knows the context. Each head is a perceptron
    with one inner layer whose last layer is zero at the start.

    Args:
        lm: Gives width, precision and place.
        num_values: How many V there are: as many as Q, each bootstrapping its own, or one.
        inner: Size of the inner layers.
        seed: Decides their first weights.
        has_baseline: Add a value of the tokens said so far.

    Attributes:
        q, v: The heads.
        q_target, v_target: What follows them slowly; no gradient reaches them.
        baseline: Predicts an advantage from the tokens before the next; ``None`` without.
    """

    def __init__(
        self,
        lm: LanguageModel,
        *,
        num_values: int = NUM_TWINS,
        inner: int = INNER,
        seed: int = 0,
        has_baseline: bool = False,
    ) -> None:
        super().__init__()

        def head(*names: str | int) -> ValueHead:
            return ValueHead(
                lm.width, inner=inner, seed=derive(seed, *names), dtype=lm.dtype, device=lm.device
            )

        self.q = nn.ModuleList(head("q", i) for i in range(NUM_TWINS))
        self.v = nn.ModuleList(head("v", i) for i in range(num_values))
        self.q_target, self.v_target = target_of(self.q), target_of(self.v)
        self.baseline = head("baseline") if has_baseline else None

    def follow(self, rate: float) -> None:
        """Move the targets towards what they follow; see ``polyak``."""
        polyak(self.q_target, self.q, rate)
        polyak(self.v_target, self.v, rate)


def each(heads: nn.Module, hidden: Float[Tensor, "m d"]) -> Float[Tensor, "k m"]:
    """What each of k heads says."""
    return torch.stack([head(hidden) for head in cast("nn.ModuleList", heads)])
