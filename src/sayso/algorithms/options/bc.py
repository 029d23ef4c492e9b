"""Options of ``BC``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class BCOptions:
    """Options of ``BC``; written in a run file under ``[algorithm]``.

    Attributes:
        per: What the loss is a mean over: ``"token"``, every action token alike, or
            ``"episode"``, every episode alike, long or short.
    """

    type: Literal["bc"] = "bc"
    per: Literal["token", "episode"] = "token"
