"""``sayso/Sound-v0``: questions on tones, rhythms and spoken digits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sayso.envs.media import Media
from sayso.envs.media_env import MediaEnv
from sayso.envs.sound_make import sound
from sayso.envs.sound_tasks import ENV_ID, FAMILIES, tasks
from sayso.types import Task

GROUPS = {
    "all": tuple(FAMILIES),
    "tones": ("note", "melody", "count", "trend", "highest", "rhythm"),
    "speech": ("digit", "digits"),
}


class SoundEnv(MediaEnv):
    """Listen to a sound and say what was heard; reward in [0, 1].

    Tones from C to G are to be named, written down, counted or compared, beeps to be written down
    as long and short, spoken digits to be understood. All is synthesised, the voice too: see
    ``sound_voice``. The text alone does not tell: see the player ``blind``.

    Args:
        families: ``"all"``, ``"tones"``, ``"speech"``, or names of single families.
        data: Rows of a user's own instead: a JSON Lines file with ``audio`` (a .wav file beside
            it), ``question``, ``answer``, perhaps ``split``.
    """

    env_id = ENV_ID
    kind = "audio"

    def __init__(
        self, *, families: str | Sequence[str] = "all", data: str | Path | None = None
    ) -> None:
        self.families = self.choose_families(families, GROUPS)
        self.read_rows(data)

    def made_tasks(self, split: str) -> Sequence[Task]:
        """``unseen``: an instrument and a voice that are never trained on."""
        return tasks(split, self.families)

    def made(self, payload: Mapping[str, Any]) -> Media:
        """Play it."""
        return Media("audio", sound(payload))
