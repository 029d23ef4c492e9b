"""What a decision among candidates is worth. numpy only; one row per decision.

Padding is ``-inf``. Dimensions: n = decisions, k = candidates of the longest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]


def double_max(chooser: Table, judge: Table) -> Table:
    r"""What one estimate says of the candidate that another holds for the best.

    .. math:: V = \bar Q(s, \arg\max_u Q(s, u))

    The maximum of a noisy estimate is too large: by 1.54 σ for ten candidates of equal worth. With
    independent estimates this one is not.

    Args:
        chooser: Q, float64 [n, k].
        judge: Q̄, float64 [n, k].

    Returns:
        Float64 [n].

    Raises:
        ValueError: If shapes differ or a decision has no candidate.

    Source:
        van Hasselt et al. 2016, arXiv:1509.06461, eq. 4, with candidates for actions.

    Tests:
        tests/math/test_candidate_values.py
    """
    _check(chooser, judge)
    best = chooser.argmax(-1)
    return np.take_along_axis(judge, best[:, None], -1)[:, 0]


def soft_max(values: Table, logprior: Table, *, alpha: float) -> Table:
    r"""The value of the best policy that pays for its distance from the prior.

    .. math:: V = \tfrac1α \log \sum_u p(u) e^{α Q(s, u)}

    With candidates drawn from a language model, and p the share of draws that each was, this is the
    log-*mean*-exp over the draws, whose exponential is unbiased for :math:`E_{LM} e^{αQ}`; with all
    actions enumerated and p their probabilities it is exact.

    Args:
        values: Q, float64 [n, k].
        logprior: log p, float64 [n, k]; sums to 1 over each row.
        alpha: α, inverse temperature, per reward unit.

    Returns:
        Float64 [n].

    Raises:
        ValueError: If shapes differ, a decision has no candidate, or ``alpha`` is not positive.

    Source:
        Levine 2018, arXiv:1805.00909, sec. 2; sampled candidates: Yan et al. 2025,
        arXiv:2410.07927, who act so, but back up the hard maximum.

    Tests:
        tests/math/test_candidate_values.py
    """
    _check(values, logprior)
    if not alpha > 0:
        raise ValueError(f"alpha must be positive, got {alpha}")
    found: Table = _logsumexp(np.where(logprior == -np.inf, -np.inf, logprior + alpha * values))
    return found / alpha


def policy_value(values: Table, logprob: Table, *, temperature: float) -> Table:
    r"""The value of a policy over candidates, its entropy paid for; an exact expectation.

    .. math:: V = \sum_u π(u|s) (Q(s, u) - τ \log π(u|s))

    Args:
        values: Q, float64 [n, k].
        logprob: log π, float64 [n, k].
        temperature: τ, reward units per nat. At least 0.

    Returns:
        Float64 [n].

    Raises:
        ValueError: If shapes differ or a decision has no candidate.

    Source:
        Christodoulou 2019, arXiv:1910.07207, eq. 10.

    Tests:
        tests/math/test_candidate_values.py
    """
    _check(values, logprob)
    live = logprob > -np.inf
    worth = np.where(live, values, 0.0) - temperature * np.where(live, logprob, 0.0)
    found: Table = (np.exp(logprob) * worth).sum(-1)
    return found


def boltzmann(values: Table, logprior: Table, *, alpha: float) -> Table:
    r"""Log-probabilities of :math:`π(u|s) ∝ p(u) e^{α Q(s, u)}`, float64 [n, k].

    Args:
        values: Q, float64 [n, k].
        logprior: log p, float64 [n, k].
        alpha: α; infinite: the prior over the best candidates.
    """
    _check(values, logprior)
    live = logprior > -np.inf
    if alpha == np.inf:
        best = np.where(live, values, -np.inf).max(-1, keepdims=True)
        logits = np.where(live & (values == best), logprior, -np.inf)
    else:
        logits = np.where(live, logprior + alpha * np.where(live, values, 0.0), -np.inf)
    found: Table = logits - _logsumexp(logits)[:, None]
    return found


def optimistic(values: Table, *, bonus: float) -> Table:
    r"""Upper confidence bounds of an ensemble, float64 [n, k] of [h, n, k].

    .. math:: \frac1H \sum_k Q_k(s, u) + λ \, \mathrm{std}_k\, Q_k(s, u)

    Args:
        values: Q of each of the h members; padding is ``-inf`` in all of them.
        bonus: λ; the standard deviation is that of the members themselves (divided by h).

    Raises:
        ValueError: If there are no three dimensions or a decision has no candidate.

    Source:
        Chen et al. 2017, arXiv:1706.01502, algorithm 2.

    Tests:
        tests/math/test_ensemble.py
    """
    if values.ndim != 3:
        raise ValueError(f"expected [h, n, k], got {values.shape}")
    _check(values[0], values[0])
    live = values > -np.inf
    finite = np.where(live, values, 0.0)
    found: Table = np.where(live[0], finite.mean(0) + bonus * finite.std(0), -np.inf)
    return found


def mixed(logprob: Table, logprior: Table, *, epsilon: float) -> Table:
    """Log-probabilities of following ``logprob``, but with probability ε the prior."""
    with np.errstate(divide="ignore"):
        found: Table = np.log((1 - epsilon) * np.exp(logprob) + epsilon * np.exp(logprior))
    return found


def _logsumexp(logits: Table) -> Table:
    top = logits.max(-1)
    found: Table = top + np.log(np.exp(logits - top[:, None]).sum(-1))
    return found


def _check(one: Table, other: Table) -> None:
    if one.shape != other.shape or one.ndim != 2:
        raise ValueError(f"shapes differ: {one.shape} and {other.shape}")
    if not one.size or not (one.max(-1) > -np.inf).all():
        raise ValueError("a decision has no candidate")
