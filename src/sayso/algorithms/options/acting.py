"""How values steer decoding."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sayso.algorithms.checks import check_weights


@dataclass(frozen=True, slots=True, kw_only=True)
class ActingOptions:
    """How values steer decoding; written in a run file under ``[algorithm.acting]``.

    Attributes:
        beta: Weight of advantages against the model's own log-probabilities, in nats per unit of
            reward; 0 is the model by itself. More is not always better: choose it by return, with
            ``sayso eval RUN --beta 0,1,4,16``.
        adv_clip_max: No advantage counts for more than this, in reward units; 0 only ever pushes
            tokens down. Unset: none is clipped. An advantage is min Q − V; ``token_dqn``'s is what
            a token is worth above the mean of those there are to choose from.
        topk_before: Only the model's own k likeliest tokens are looked at; 0: all.
            ``sampling.top_k`` filters afterwards.
    """

    beta: float = 16.0
    adv_clip_max: float | None = None
    topk_before: int = 0

    def at(self, beta: float | None) -> ActingOptions:
        """The same with another β, if one is given."""
        return self if beta is None else replace(self, beta=beta)

    def __post_init__(self) -> None:
        check_weights(beta=self.beta, topk_before=self.topk_before)
        if self.adv_clip_max is not None and not abs(self.adv_clip_max) < float("inf"):
            raise ValueError(f"adv_clip_max must be finite, got {self.adv_clip_max}")
