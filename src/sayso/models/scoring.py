"""Log-probabilities, entropies and values of chosen tokens of a packed row, in one forward.

Dimensions: t = positions of the row, n = chosen tokens, f = truncated episodes, d = width,
v = vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from sayso.models.distribution import token_logprobs
from sayso.models.filters import Distribution
from sayso.models.forest import Forest
from sayso.models.head import head_logprobs
from sayso.models.lm import LanguageModel

HEAD_CHUNK = 512
"""With more positions than this, logits exist for so many at a time, and again when going back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What a forward says about n chosen tokens.

    Attributes:
        logprob: Log-probability (nats) under the sampling distribution.
        entropy: Entropy (nats) of that distribution, if asked for.
        value: Value of the context before the token, if asked for.
        state: Hidden states that the tokens were chosen in.
        final_state: Hidden states in which episodes were cut off, if asked for.
        num_outside_support: Tokens that a filter (top-k, top-p, min-p) would no longer let
            through. Rounding at its edge does that; their log-probability is then taken over the
            filtered set and the token itself.
    """

    logprob: Float[Tensor, " n"]
    entropy: Float[Tensor, " n"] | None = None
    value: Float[Tensor, " n"] | None = None
    state: Float[Tensor, "n d"] | None = None
    final_state: Float[Tensor, "f d"] | None = None
    num_outside_support: int = 0

    def value_or_raise(self) -> Float[Tensor, " n"]:
        """The values, which must have been asked for.

        Raises:
            ValueError: If they were not.
        """
        if self.value is None:
            raise ValueError("values were not asked for: score(..., want_value=True)")
        return self.value


def score(  # noqa: PLR0913  # one row in five tensors, and what is wanted of it
    lm: LanguageModel,
    *,
    ids: Int[Tensor, " t"],
    position: Int[Tensor, " t"],
    visible: Bool[Tensor, "t t"] | Forest,
    source: Int[Tensor, " n"],
    target: Int[Tensor, " n"],
    distribution: Distribution,
    want_entropy: bool = False,
    want_value: bool = False,
    final: Int[Tensor, " f"] | None = None,
) -> Scores:
    """Score tokens of a row; the head runs on the n chosen positions only.

    Args:
        lm: The model.
        ids: Tokens of the row.
        position: Position of each in its own text.
        visible: Which token may look at which, as a mask or as a forest.
        source: For each chosen token, where in the row the token before it stands.
        target: Its id.
        distribution: The one it was sampled from; not applied to values.
        want_entropy: Fill ``Scores.entropy``.
        want_value: Fill ``Scores.value``.
        final: Where in the row episodes were cut off; fills ``Scores.final_state``.

    Tests:
        tests/unit/test_scoring.py: against the plain forward of four architectures.
    """
    # Not [source]: where attempts share a token, threads would add up its gradient in any order.
    row = _hidden(lm, ids, position, visible)
    scores = score_states(
        lm, row.index_select(0, source), target, distribution,
        want_entropy=want_entropy, want_value=want_value,
    )  # fmt: skip
    return scores if final is None else replace(scores, final_state=row.index_select(0, final))


def score_states(
    lm: LanguageModel,
    hidden: Float[Tensor, "n d"],
    target: Int[Tensor, " n"],
    distribution: Distribution,
    *,
    want_entropy: bool = False,
    want_value: bool = False,
) -> Scores:
    """``score`` of tokens whose states are known.

    Args:
        lm: The model.
        hidden: State before each chosen token.
        target: Its id.
        distribution: As in ``score``.
        want_entropy: As there.
        want_value: As there.
    """
    weight = lm.plain_head()
    if weight is not None and distribution.is_full and not want_entropy and len(target):
        return Scores(
            logprob=head_logprobs(hidden, weight, target, temperature=distribution.temperature),
            value=lm.values(hidden) if want_value else None,
            state=hidden,
        )
    logprobs, entropies, outside = [], [], 0
    for start in range(0, max(len(target), 1), HEAD_CHUNK):
        part = slice(start, start + HEAD_CHUNK)
        arguments = (lm, hidden[part], target[part], distribution, want_entropy)
        if len(target) > HEAD_CHUNK and torch.is_grad_enabled():
            scored = checkpoint(_head, *arguments, use_reentrant=False, preserve_rng_state=False)
        else:
            scored = _head(*arguments)
        logprob, entropy, num_outside = scored
        logprobs.append(logprob)
        entropies.append(entropy)
        outside += num_outside
    return Scores(
        logprob=torch.cat(logprobs),
        entropy=torch.cat(entropies) if want_entropy else None,
        value=lm.values(hidden) if want_value else None,
        state=hidden,
        num_outside_support=outside,
    )


def values(
    lm: LanguageModel,
    *,
    ids: Int[Tensor, " t"],
    position: Int[Tensor, " t"],
    visible: Bool[Tensor, "t t"] | Forest,
    source: Int[Tensor, " n"],
) -> Float[Tensor, " n"]:
    """Values of the contexts that end at ``source``."""
    return lm.values(_hidden(lm, ids, position, visible).index_select(0, source))


def _hidden(
    lm: LanguageModel, ids: Tensor, position: Tensor, visible: Tensor | Forest
) -> Float[Tensor, "t d"]:
    """Of a single row."""
    wide = visible if isinstance(visible, Forest) else visible[None]
    return lm.hidden(ids[None], position[None], wide)[0]


def _head(
    lm: LanguageModel,
    hidden: Float[Tensor, "n d"],
    target: Int[Tensor, " n"],
    distribution: Distribution,
    want_entropy: bool,  # noqa: FBT001  # positional for checkpoint()
) -> tuple[Tensor, Tensor, int]:
    """Log-probability and entropy of one chunk."""
    logits = lm.logits(hidden)
    if distribution.is_full and not want_entropy:
        scaled = _scaled(logits, distribution)
        chosen = scaled.gather(-1, target[:, None]).squeeze(-1)
        return chosen - scaled.logsumexp(-1), hidden.new_zeros(0), 0
    logprobs = token_logprobs(logits, distribution)
    chosen = logprobs.gather(-1, target[:, None]).squeeze(-1)
    lost = chosen.detach() == -torch.inf
    num_lost = int(lost.sum())
    if num_lost:
        united = (logprobs.detach() != -torch.inf).scatter(-1, target[:, None], value=True)
        scaled = _scaled(logits, distribution).masked_fill(~united, -torch.inf)
        chosen = scaled.log_softmax(-1).gather(-1, target[:, None]).squeeze(-1)
    entropy = hidden.new_zeros(0)
    if want_entropy:
        finite = torch.where(logprobs == -torch.inf, 0.0, logprobs)
        entropy = -(logprobs.exp() * finite).sum(-1)
    return chosen, entropy, num_lost


def _scaled(logits: Tensor, distribution: Distribution) -> Tensor:
    """Logits over the temperature, at least fp32: what ``token_logprobs`` normalises."""
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    return logits if distribution.temperature == 1 else logits / distribution.temperature
