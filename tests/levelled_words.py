"""TinyLang with levels: a word of one letter, of two, of three; for tests of the curriculum."""

from __future__ import annotations

from typing import Any

import sayso


class LevelledWords(sayso.TextEnv):
    """Say so many letters b, and no other; the reward is the share of the word that is right."""

    max_turns = 1
    reward_low, reward_high = 0.0, 1.0

    def tasks(self, split: str) -> list[sayso.Task]:
        rows = [{"level": level, "start": start} for level in (1, 2, 3) for start in "ab"]
        return [
            sayso.Task(id=f"{row['start']}{row['level']}", env="x", split=split, payload=row)
            for row in rows
            if split == "train"
        ]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.told = self.choose(seed, options).payload
        return self.told["start"] * self.told["level"], {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        wanted = "b" * self.told["level"]
        right = sum(a == b for a, b in zip(action, wanted, strict=False))
        return "", right / max(len(wanted), len(action), 1), True, False, {}
