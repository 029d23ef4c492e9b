"""A file that says what a directory is for, so that the same command goes on in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sayso.errors import RunError
from sayso.runs.durable import replace_file


def agree(path: Path, told: dict[str, Any], *, other: str, fix: str) -> None:
    """Write what a directory holds, or see that what is written there is the same.

    Args:
        path: The file; its directory is made if need be.
        told: Plain JSON values.
        other: What the directory holds if it says something else.
        fix: What to do then.

    Raises:
        RunError: If the directory says something else, or holds other things.
    """
    folder = path.parent
    if path.is_file():
        if json.loads(path.read_text()) != json.loads(json.dumps(told)):
            raise RunError(where=str(folder), problem=f"holds {other}.", fix=fix)
        return
    if folder.is_dir() and any(folder.iterdir()):
        raise RunError(
            where=str(folder), problem="holds other things; nothing was changed.",
            fix="Name a directory that is empty or does not exist.",
        )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(path, json.dumps(told, indent=1).encode())
