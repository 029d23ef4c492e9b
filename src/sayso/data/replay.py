"""Episodes remembered: a ring that forgets the oldest, and three ways to draw from it.

No draw is carried along: each is keyed, so that a resumed run draws what an unbroken one draws.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sayso.data.options import ReplayOptions
from sayso.runs import interrupt
from sayso.runs.ledger import episode_from_json, episode_to_json
from sayso.seeds import generator
from sayso.types import Episode

NEWLINE = b"\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A draw with replacement.

    Attributes:
        episodes: What was drawn.
        weights: Importance weight of each; the largest in memory is 1.
        serials: Names of the episodes in memory, for ``Replay.note_errors``.
    """

    episodes: list[Episode]
    weights: NDArray[np.float64]
    serials: list[int]


class Replay:
    """A ring buffer of episodes.

    Attributes:
        options: See ``ReplayOptions``.
        num_seen: Episodes ever pushed; the serial number of the next one.
    """

    def __init__(self, options: ReplayOptions) -> None:
        self.options, self.num_seen = options, 0
        self._kept: dict[int, Episode] = {}
        self._lines: dict[int, bytes] = {}
        self._priority: dict[int, float] = {}
        self._written: dict[str, Tensor] = {}

    def __len__(self) -> int:
        """Episodes remembered."""
        return len(self._kept)

    @property
    def episodes(self) -> list[Episode]:
        """All of them, oldest first."""
        return list(self._kept.values())

    def push(self, episodes: Sequence[Episode]) -> None:
        """Remember; forget the oldest beyond the capacity. From here on a signal waits.

        A new episode gets the greatest priority there is, so that each is drawn at least once.
        """
        interrupt.hold()
        self._written = {}
        greatest = max(self._priority.values(), default=1.0)
        for episode in episodes:
            serial = self.num_seen
            self._kept[serial] = episode
            self._lines[serial] = json.dumps(episode_to_json(episode), allow_nan=False).encode()
            self._priority[serial] = greatest
            self.num_seen += 1
            if len(self._kept) > self.options.capacity:
                oldest = next(iter(self._kept))
                for table in (self._kept, self._lines, self._priority):
                    del table[oldest]

    def draw(self, count: int, *, seed: int, version: int = 0) -> Drawn:
        """Draw with replacement.

        Args:
            count: How many.
            seed: Decides the draw, alone.
            version: Optimiser steps taken, for ``max_age``.

        Raises:
            ValueError: If nothing that may be drawn is remembered.
        """
        serials = self._drawable(version)
        if not serials:
            raise ValueError(f"nothing to draw from: {len(self)} episodes, none young enough")
        chances = self._chances(serials)
        places = generator(seed, "replay").choice(len(serials), size=count, p=chances)
        weights = np.ones(count)
        if self.options.sampling == "prioritised":
            raw = (len(serials) * chances) ** -self.options.importance
            weights = raw[places] / raw.max()
        drawn = [serials[int(place)] for place in places]
        return Drawn(
            episodes=[self._kept[serial] for serial in drawn], weights=weights, serials=drawn
        )

    def note_errors(self, serials: Sequence[int], errors: Sequence[float]) -> None:
        """Set priorities by the size of the latest TD errors; forgotten episodes are passed over.

        Raises:
            ValueError: If an error is not finite.
        """
        if not np.isfinite(np.asarray(errors, np.float64)).all():
            raise ValueError(f"a TD error is not finite: {list(errors)[:5]}")
        self._written = {}
        for serial, error in zip(serials, errors, strict=True):
            if serial in self._priority:
                self._priority[serial] = abs(float(error)) + 1e-6

    def _drawable(self, version: int) -> list[int]:
        limit = self.options.max_age
        if limit is None:
            return list(self._kept)
        return [s for s, e in self._kept.items() if version - e.policy_version <= limit]

    def _chances(self, serials: Sequence[int]) -> NDArray[np.float64]:
        num, options = len(serials), self.options
        if options.sampling == "prioritised":
            raw = np.array([self._priority[serial] for serial in serials]) ** options.alpha
            return np.asarray(raw / raw.sum(), np.float64)
        chances = np.full(num, 1 / num)
        if options.sampling == "success":
            returns = np.array([self._kept[serial].return_ or 0.0 for serial in serials])
            best = returns >= np.quantile(returns, options.success_quantile)
            if 0 < best.sum() < num:
                chances = np.where(best, 0.5 / best.sum(), 0.5 / (num - best.sum()))
        return chances

    def state_tensors(self) -> dict[str, Tensor]:
        """Everything but the count, as tensors: lines of the ledger, serials, priorities.

        The loop asks more often than anything changes, so they are kept until something does.
        """
        if not self._written:
            text = NEWLINE.join(self._lines.values())
            priorities = list(self._priority.values())
            self._written = {
                "replay.episodes": torch.frombuffer(bytearray(text or NEWLINE), dtype=torch.uint8),
                "replay.serials": torch.tensor(list(self._kept), dtype=torch.int64),
                "replay.priorities": torch.tensor(priorities, dtype=torch.float64),
            }
        return self._written

    def load_tensors(self, tensors: dict[str, Tensor], *, num_seen: int) -> None:
        """Undo ``state_tensors``."""
        self._written = {}
        serials = [int(serial) for serial in tensors["replay.serials"].tolist()]
        lines = bytes(tensors["replay.episodes"].cpu().numpy().tobytes()).split(NEWLINE)
        lines = lines[: len(serials)]
        self._lines = dict(zip(serials, lines, strict=True))
        self._kept = {s: episode_from_json(json.loads(line)) for s, line in self._lines.items()}
        priorities = tensors["replay.priorities"].tolist()
        self._priority = dict(zip(serials, priorities, strict=True))
        self.num_seen = num_seen

    def state_values(self) -> dict[str, Any]:
        """The count."""
        return {"replay_num_seen": self.num_seen}
