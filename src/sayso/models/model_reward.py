"""A trained reward model as a reward: of a prompt, or in place of any environment's own.

It belongs to ``sayso.rewards`` and stands here because it runs a model.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

from sayso.envs.spaces import observation_of
from sayso.errors import OptionValueError
from sayso.models.reward_network import RewardNetwork, load_network
from sayso.rewards.scorer import Scorer
from sayso.rewards.text import words

LIMIT = 5.0


@dataclass(frozen=True, kw_only=True)
class ModelReward(Scorer):
    """What a trained reward model says of a text; -5 to 5, -5 for one without words.

    ``(r - mean) / std`` within ±5, with the mean and spread that its training texts had: 0 is as
    good as those on average. Frozen, so equal texts earn equal rewards; to learn from it in units
    of its own running spread, set ``train.part_weights``. What it has not been shown it guesses: a
    policy will find where it guesses high. See docs/preferences.md on watching for that.

    Attributes:
        model: Its run, or a directory it was saved to.
    """

    low = -LIMIT
    high = LIMIT

    model: str | RewardNetwork = field(kw_only=False)

    def __post_init__(self) -> None:
        if isinstance(self.model, RewardNetwork) and self.model.trainable():
            raise OptionValueError(
                where="reward ModelReward", problem="the network that was passed trains.",
                fix="Call freeze() on it.",
            )  # fmt: skip

    def __call__(self, prompt: Any, completion: str, **columns: Any) -> float:
        """Scaled reward."""
        if not words(completion):
            return -LIMIT
        network = _named(self.model) if isinstance(self.model, str) else self.model
        asked = observation_of(prompt, where="reward ModelReward, prompt")
        (raw,) = network.score([(asked, completion)])
        return max(-LIMIT, min(LIMIT, (raw - network.mean) / network.std))


@functools.lru_cache(maxsize=2)
def _named(directory: str) -> RewardNetwork:
    """Loaded once in each process, when the first text is scored."""
    return load_network(directory)
