"""Options of an agent of Stable-Baselines3 in a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """The text environment under control; written under ``[env]``.

    Attributes:
        id: Registered id, or ``"module:Id"`` to import a module that registers it.
        kwargs: Passed to its constructor.
    """

    id: str
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerOptions:
    """Which agent learns; written under ``[learner]``.

    Attributes:
        type: Its class, in small letters.
        num_envs: Episodes side by side; their answers are generated together.
        settings: Arguments of the class, over those of ``sb3_defaults``; JSON values.
    """

    type: Literal["sac", "td3", "ddpg", "dqn", "ppo", "a2c", "tqc", "qrdqn", "maskable_ppo"] = "sac"
    num_envs: int = 8
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {self.num_envs}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentTrainOptions:
    """How long an agent learns, and what is kept; written under ``[train]``.

    Attributes:
        total_steps: Environment steps, an answer each.
        log_every: Steps between two lines of metrics.
        checkpoint_every: Steps between checkpoints.
        keep_checkpoints: How many are kept; at least 2.
        eval_split: Tasks on which the agent is measured at the end, beside the model by itself.
        eval_episodes: Episodes of each; 0: no measurement.
    """

    total_steps: int = 1_000
    log_every: int = 64
    checkpoint_every: int = 256
    keep_checkpoints: int = 2
    eval_split: str = "held_out"
    eval_episodes: int = 64

    def __post_init__(self) -> None:
        for name in ("total_steps", "log_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.keep_checkpoints < 2:
            raise ValueError(f"keep_checkpoints must be at least 2, got {self.keep_checkpoints}")
        if self.eval_episodes < 0:
            raise ValueError(f"eval_episodes must be 0 (off) or more, got {self.eval_episodes}")
