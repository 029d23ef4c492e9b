"""Where sayso keeps what is made once per machine."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Converted models and compiled kernels: ``$SAYSO_CACHE``, else ``~/.cache/sayso``."""
    return Path(os.environ.get("SAYSO_CACHE") or Path.home() / ".cache" / "sayso")
