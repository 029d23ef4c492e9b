"""What Vision-v0 and Sound-v0 share: a task is shown with its media and takes one answer."""

from __future__ import annotations

import difflib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sayso.envs.base import Observation
from sayso.envs.media import Kind, Media
from sayso.envs.media_players import PLAYERS
from sayso.envs.media_rows import OwnRows
from sayso.envs.media_score import score
from sayso.envs.one_turn import Graded, OneTurnEnv
from sayso.envs.scripted import Scripted
from sayso.envs.spaces import Chat, Message
from sayso.errors import OptionValueError
from sayso.types import Task


class MediaEnv(OneTurnEnv):
    """One picture or sound, one question, one answer.

    Media are made from the task's payload whenever it is posed: the same task, the same bytes.

    Attributes:
        kind: What it shows.
        families: Kinds of questions, in turn.
        rows: Tasks of a user's own; ``None``: those of sayso.
    """

    kind: Kind
    observation_space = Chat(media=True)
    reward_low, reward_high = 0.0, 1.0
    part_low, part_high = 0.0, 1.0
    scripted: Mapping[str, Scripted] = MappingProxyType(PLAYERS)
    families: tuple[str, ...] = ()
    rows: OwnRows | None = None

    @abstractmethod
    def made(self, payload: Mapping[str, Any]) -> Media:
        """The picture or sound of a task of sayso's."""

    @abstractmethod
    def made_tasks(self, split: str) -> Sequence[Task]:
        """Tasks of sayso's, for the families."""

    def tasks(self, split: str) -> Sequence[Task]:
        """Those of sayso, or the user's."""
        return self.made_tasks(split) if self.rows is None else self.rows.tasks.get(split, ())

    def show(self, payload: Mapping[str, Any]) -> Observation:
        """The question with its picture or sound."""
        media = self.made(payload) if self.rows is None else self.rows.media(payload)
        return (Message("user", payload["prompt"], (media,)),)

    def grade(self, action: str, payload: Mapping[str, Any]) -> Graded:
        """See ``media_score``."""
        return score(action, payload)

    def choose_families(
        self, given: str | Sequence[str], groups: Mapping[str, Sequence[str]]
    ) -> tuple[str, ...]:
        """Families by their names, or a group of them by its own.

        Raises:
            OptionValueError: If there is none of such a name.
        """
        names = [given] if isinstance(given, str) else list(given)
        known = [*groups, *groups["all"]]
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(str(name), known, n=1)
                guess = f"Did you mean {near[0]!r}? " if near else ""
                raise OptionValueError(
                    where=f"{self.env_id}, families",
                    problem=f"got {name!r}.",
                    fix=f"{guess}There are: {', '.join(known)}.",
                )
        if not names:
            raise OptionValueError(
                where=f"{self.env_id}, families", problem="got none.", fix="Name one."
            )
        return tuple(dict.fromkeys(f for name in names for f in groups.get(name, (name,))))

    def read_rows(self, data: str | Path | None) -> None:
        """Take a user's rows instead of sayso's tasks."""
        self.rows = None if data is None else OwnRows(data, self.kind, self.env_id)
