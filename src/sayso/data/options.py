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
