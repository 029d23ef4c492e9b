"""``sayso/Writing-v0``: write a line, a poem or a news item that does what was asked, well.

Single turn; the reward is explained in ``writing_score`` and docs/writing.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sayso.envs.one_turn import Graded, OneTurnEnv
from sayso.envs.spaces import Utterance
from sayso.envs.writing_score import WEIGHTS, score
from sayso.envs.writing_tasks import ENV_ID, tasks
from sayso.errors import OptionValueError
from sayso.types import Task


class WritingEnv(OneTurnEnv):
    """Write under verifiable constraints; one turn, reward in [0, 1].

    Args:
        weights: Weights of kinds of constraints that replace the defaults in ``WEIGHTS``, for
            example ``{"length": 1.0}``. Unknown kinds and negative weights are refused.
        max_length: Longest answer the action space holds, in characters.
    """

    reward_low = 0.0
    reward_high = 1.0
    part_low = 0.0
    part_high = 1.0
    env_id = ENV_ID

    def __init__(
        self, weights: Mapping[str, float] | None = None, *, max_length: int = 100_000
    ) -> None:
        chosen = dict(weights or {})
        wrong = [k for k, w in chosen.items() if k not in WEIGHTS or not 0 <= w < float("inf")]
        if wrong:
            raise OptionValueError(
                where="WritingEnv.weights",
                problem=f"{', '.join(f'{kind}={chosen[kind]!r}' for kind in wrong)}.",
                fix=f"Use finite weights of at least 0 for: {', '.join(sorted(WEIGHTS))}.",
            )
        self.weights = {**WEIGHTS, **chosen}
        self.action_space = Utterance(max_length=max_length)
        self.observation_space = Utterance()

    def tasks(self, split: str) -> Sequence[Task]:
        """Tasks of ``train``, ``held_out`` or ``unseen``; empty for any other name."""
        return tasks(split)

    def level(self, task: Task) -> int:
        """Constraints beyond length and form: 2 or 3 as a rule."""
        return len(task.payload["constraints"]) - 2

    def grade(self, action: str, payload: Mapping[str, Any]) -> Graded:
        """See ``writing_score``."""
        return score(action, payload, self.weights)
