"""Houses for ``sayso/TextWorld-v0``, made once and kept in sayso's cache."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sayso.cache import cache_folder
from sayso.envs.extras import extra_module
from sayso.errors import OptionValueError

NAME = "game"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Size of a house.

    Attributes:
        rooms, objects: How many.
        quest: Commands that a quest takes.
        quests: Quests at the same time.
    """

    rooms: int
    objects: int
    quest: int
    quests: int

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 1:
                raise OptionValueError(
                    where=f"sayso/TextWorld-v0, {name}",
                    problem=f"got {value}.",
                    fix="Use 1 or more.",
                )

    def to_json(self) -> dict[str, int]:
        """For a task's payload."""
        return asdict(self)


def game_file(size: Size, seed: int) -> Path:
    """Path of a compiled game, which is made unless it is kept from before.

    Args:
        size: Of the house.
        seed: Decides map, objects, quest and wording.
    """
    world = extra_module("textworld", extra="textworld", where="sayso/TextWorld-v0")
    name = "-".join(f"{k[0]}{v}" for k, v in size.to_json().items())
    folder: Path = cache_folder() / "textworld" / world.__version__ / f"{name}-{seed}"
    path: Path = folder / f"{NAME}.z8"
    if not path.is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=".making-", dir=folder.parent))
        try:
            _make(world, size, seed, made / f"{NAME}.z8")
            try:
                made.replace(folder)  # all of it at once
            except OSError:
                if not path.is_file():  # else another process was faster
                    raise
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return path


def _make(world: Any, size: Size, seed: int, path: Path) -> None:
    options = world.GameOptions()
    options.path = str(path)
    options.seeds = seed
    options.nb_rooms, options.nb_objects = size.rooms, size.objects
    options.quest_length, options.nb_parallel_quests = size.quest, size.quests
    world.make(options)
