"""Names of losses, as options give them."""

from __future__ import annotations

from typing import Literal

CriticLoss = Literal["mse", "huber"]
