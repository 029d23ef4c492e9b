"""Which episodes are worth imitating."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def is_best(returns: Sequence[float], top: float) -> NDArray[np.bool_]:
    """True for the best fraction of some returns.

    The k-th best return is the bar, k = ⌈top · n⌉, and all that reach it are kept, so ties can
    make it more. Where even the worst reach it, only those above the worst are kept; where all are
    equal there is no worst, and all are kept.

    Args:
        returns: In reward units.
        top: Fraction in (0, 1].

    Raises:
        ValueError: If there is nothing to compare, or ``top`` is no fraction.

    Source:
        "%BC": Chen et al. 2021, arXiv:2106.01345, sec. 5.1; Abdulhai et al. 2023,
        arXiv:2311.18232. Differs in what happens to ties.

    Tests:
        tests/math/test_imitation.py
    """
    if not 0 < top <= 1:
        raise ValueError(f"top must be in (0, 1], got {top}")
    found = np.asarray(returns, np.float64)
    if not len(found):
        raise ValueError("there are no returns")
    num_kept = math.ceil(round(top * len(found), 9))
    bar, worst = np.sort(found)[-num_kept], found.min()
    is_moot = top < 1 and bar == worst and found.max() > worst
    return np.asarray(found > worst if is_moot else found >= bar)
