"""Options of a stored data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

IN_PYTHON = "(in Python)"
"""Path of a data set that was handed over as Python objects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataOptions:
    """A stored data set to learn from; written in a run file under ``[data]``.

    Attributes:
        path: A file, a directory of files, or a pattern such as ``"logs/*.jsonl"``; see
            docs/data.md. Unset: a step plays the environment.
        format: ``"episodes"`` (a run's ledger), ``"games"`` (text, turn by turn), ``"messages"``
            (chats), ``"preferences"`` (columns prompt, chosen, rejected: two episodes each),
            ``"prompts"`` (columns prompt, completion, reward), or ``"auto"``: what the first record
            of a file looks like.
        batch_episodes: Stored episodes per update.
        limit: Read so many episodes, then stop; unset: all.
    """

    path: str | None = None
    format: Literal["auto", "episodes", "games", "messages", "preferences", "prompts"] = "auto"
    batch_episodes: int = 64
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.path is not None and not self.path.strip():
            raise ValueError("path must not be empty; leave it out to play the environment")
        if self.batch_episodes < 1:
            raise ValueError(f"batch_episodes must be positive, got {self.batch_episodes}")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit must be positive, got {self.limit}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """What a learner remembers; written in a run file under ``[algorithm.replay]``.

    Attributes:
        capacity: Episodes kept; the oldest is forgotten first. 0 remembers nothing: each update
            learns from the episodes it was given, as it does from a stored data set.
        sampling: ``"uniform"``; ``"success"``: half of each draw from episodes whose return is at
            least the ``success_quantile`` of those remembered; or ``"prioritised"``: in proportion
            to ``|TD error| ** alpha``, corrected by importance weights. With ``"success"`` values
            that are means over the data (``mc_returns``, ``ilql`` below τ = 1, ``soft_q`` where the
            environment is random) are means over that better mixture: too hopeful.
        success_quantile: Of the returns remembered; see ``sampling``.
        alpha: How strongly errors count, from 0 (uniform) to 1.
        importance: Exponent of the importance weights, from 0 (none) to 1 (unbiased).
        max_age: Optimiser steps after which an episode is not drawn any more; ``None``: never.
    """

    capacity: int = 10_000
    sampling: Literal["uniform", "success", "prioritised"] = "uniform"
    success_quantile: float = 0.9
    alpha: float = 0.6
    importance: float = 0.4
    max_age: int | None = None

    def __post_init__(self) -> None:
        if self.capacity < 0:
            raise ValueError(f"capacity must be 0 or positive, got {self.capacity}")
        for name in ("success_quantile", "alpha", "importance"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        if self.max_age is not None and self.max_age < 1:
            raise ValueError(f"max_age must be positive, got {self.max_age}")


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmStartOptions:
    """Imitate a scripted player before training; written in a run file under ``[warm_start]``.

    Attributes:
        player: One of the environment's scripted players (``sayso demos ENV --player``); unset:
            training starts from the model as it is.
        games: Games it plays, on the tasks of ``train.split``.
        epochs: How often each game is imitated, by ``bc``.
        batch_episodes: Games per step of imitation.
        lr: Learning rate of the imitation; it falls to 0 in a line.
    """

    player: str | None = None
    games: int = 256
    epochs: int = 1
    batch_episodes: int = 16
    lr: float = 5e-4

    def __post_init__(self) -> None:
        for name in ("games", "epochs", "batch_episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not self.lr > 0:
            raise ValueError(f"lr must be positive, got {self.lr}")
