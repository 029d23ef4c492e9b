"""A replay buffer that remembers what was played, for modes that play another action than asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.buffers import ReplayBuffer


class ExecutedReplayBuffer(ReplayBuffer):  # type: ignore[misc]  # the package is an extra
    """Stores ``info["executed_action"]`` in place of the action, where there is one.

    In mode ``wolpertinger`` the critic then learns the value of the proposal that was said, and not
    of the point that it was nearest to. Pass it as ``replay_buffer_class=ExecutedReplayBuffer``;
    the agent stays stock.
    """

    def add(
        self,
        obs: Any,
        next_obs: Any,
        action: Any,
        reward: Any,
        done: Any,
        infos: Sequence[dict[str, Any]],
    ) -> None:
        """Add one transition of each environment."""
        played = np.array(action, copy=True)
        for place, info in enumerate(infos):
            if "executed_action" in info:
                played[place] = info["executed_action"]
        super().add(obs, next_obs, played, reward, done, list(infos))
