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
            (chats), ``"prompts"`` (columns prompt, completion, reward), or ``"auto"``: what the
            first record of a file looks like.
        batch_episodes: Stored episodes per update.
        limit: Read so many episodes, then stop; unset: all.
    """

    path: str | None = None
    format: Literal["auto", "episodes", "games", "messages", "prompts"] = "auto"
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
