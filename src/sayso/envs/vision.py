"""``sayso/Vision-v0``: questions on drawn scenes and handwritten digits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sayso.envs.media import Media
from sayso.envs.media_env import MediaEnv
from sayso.envs.vision_digits import handwritten
from sayso.envs.vision_draw import picture
from sayso.envs.vision_tasks import DIGITS, ENV_ID, FAMILIES, SCENES, families_of, tasks
from sayso.errors import OptionValueError
from sayso.types import Task

GROUPS = {"all": FAMILIES, "scenes": tuple(SCENES), "digits": tuple(DIGITS)}


class VisionEnv(MediaEnv):
    """Look at a picture and answer a question, or list what is there; reward in [0, 1].

    A scene has up to seven coloured shapes, each in a cell of three by three. The question asks
    how many, which colour, which shape, what is beside what, where it is, what is largest; or for
    a list of all. With ``"digits"`` one or two handwritten digits are to be read, or added up.
    The text alone does not tell: see the player ``blind``.

    Args:
        families: ``"scenes"``, ``"digits"`` (the extra ``digits``), ``"all"``, or names of single
            families.
        size: Side of the picture in pixels.
        data: Rows of a user's own instead: a JSON Lines file with ``image`` (a file beside it),
            ``question``, ``answer``, perhaps ``split``; needs the extra ``vision``.
    """

    env_id = ENV_ID
    kind = "image"

    def __init__(
        self,
        *,
        families: str | Sequence[str] = "scenes",
        size: int = 64,
        data: str | Path | None = None,
    ) -> None:
        given: Any = size
        if isinstance(given, bool) or not isinstance(given, int) or not 24 <= size <= 512:
            raise OptionValueError(
                where=f"{ENV_ID}, size", problem=f"got {size!r}.", fix="Use 24 to 512 pixels."
            )
        self.size, self.families = size, self.choose_families(families, GROUPS)
        self.read_rows(data)
        if self.rows is None and set(self.families) & set(DIGITS):
            handwritten()  # if the extra is missing, it is told now

    def made_tasks(self, split: str) -> Sequence[Task]:
        """``unseen``: colours on shapes, and digits beside digits, that are never trained on."""
        return tasks(split, self.families)

    def why_empty(self, split: str) -> str:
        """A single digit cannot be an unseen pair."""
        is_why = self.rows is None and not families_of(split, self.families)
        return "The family 'digit' has no unseen tasks." if is_why else ""

    def made(self, payload: Mapping[str, Any]) -> Media:
        """Draw it."""
        digits = handwritten()[0] if "digits" in payload else None
        return Media("image", picture(payload, self.size, digits))
