"""Does what a policy earns from a reward model still go with what it would truly earn?

Where an environment knows the true reward (``env.reward`` in place of its own), both are parts of
the reward, ``model`` and ``true``. A policy that is trained on the first ends where the model errs
in its favour: the first goes on rising while the second falls.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sayso.envs.rewarded import MODEL, TRUE
from sayso.errors import LogError
from sayso.runs.jsonl import read
from sayso.runs.run import Run
from sayso.stats.intervals import Interval, unpaired_difference
from sayso.stats.rank import MIN_PAIRS, rank_correlation
from sayso.types import Episode

RANK = "reward/model_true_rank"
LEAST_STEPS = 5
"""Steps of a window: the mean of fewer says little of its spread."""
NUM_WINDOWS = 10
_NAMES = (f"reward/part/{MODEL}", f"reward/part/{TRUE}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Overoptimised:
    """The reward model's score rose while the true reward fell.

    Attributes:
        peak_step: Last step of the window in which the true reward was highest.
        last_step: Last step of all.
        model: Change of the model's score since then, between the means of two windows.
        true: Change of the true reward.
    """

    peak_step: int
    last_step: int
    model: Interval
    true: Interval

    def __str__(self) -> str:
        return (
            f"Over-optimisation of the reward model: since about step {self.peak_step} its score "
            f"has risen by {self.model}, and the true reward has fallen, by {self.true}, until "
            f"step {self.last_step}. Use a policy of about step {self.peak_step}, raise kl.coef, "
            "or label texts of this policy and train the reward model again."
        )


def agreement(episodes: Sequence[Episode]) -> dict[str, float]:
    """Spearman's rank correlation of model and truth among the episodes of a step.

    Empty where there are not both; NaN where either has one value only.
    """
    sums = [
        [sum(turn.reward_parts.get(name) or 0.0 for turn in e.turns) for name in (MODEL, TRUE)]
        for e in episodes
        if all(any(t.reward_parts.get(n) is not None for t in e.turns) for n in (MODEL, TRUE))
    ]
    if len(sums) < MIN_PAIRS:
        return {}
    said, true = zip(*sums, strict=True)
    return {RANK: rank_correlation(said, true)}


def overoptimised(lines: Sequence[Mapping[str, float]]) -> Overoptimised | None:
    """Whether the proxy has risen since the truth was at its best, and the truth has fallen.

    The steps are cut into ten windows, of five steps at least. The window with the best mean of
    the truth is compared with the last one; both changes must be certain, by Welch's interval at
    95 % divided by the number of windows, out of which the best one was picked.

    Args:
        lines: Rows of ``metrics.jsonl`` in order.

    Returns:
        What was found; ``None`` if nothing is certain, or one of the two is not known.

    Source:
        Gao et al. 2022, arXiv:2210.10760, fig. 1: proxy and gold score part with optimisation.

    Tests:
        tests/unit/test_overoptimisation.py
    """
    rows = [line for line in lines if all(name in line for name in _NAMES)]
    size = max(LEAST_STEPS, math.ceil(len(rows) / NUM_WINDOWS))
    # From the end, so that the last window is whole.
    windows = [rows[stop - size : stop] for stop in range(len(rows), size - 1, -size)][::-1]
    if len(windows) < 2:
        return None

    def of(window: Sequence[Mapping[str, float]], name: str) -> list[float]:
        return [row[name] for row in window]

    *earlier, last = windows
    peak = max(earlier, key=lambda window: sum(of(window, _NAMES[1])))
    confidence = 1 - 0.05 / len(windows)
    model, true = (
        unpaired_difference(of(peak, name), of(last, name), confidence) for name in _NAMES
    )
    if not (model.low > 0 and true.high < 0):
        return None
    return Overoptimised(
        peak_step=int(peak[-1]["step"]), last_step=int(last[-1]["step"]), model=model, true=true
    )


def told(run: Run) -> str:
    """What a run's metrics say of it, in a sentence; empty: nothing."""
    try:
        found = overoptimised(list(read(run.metrics)))
    except LogError:  # whoever reads the log next is told
        return ""
    return "" if found is None else str(found)
