"""What a MiniGrid agent sees, in words: nothing but the view that the game encodes for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

KINDS = ("unseen", "empty", "wall", "floor", "door", "key", "ball", "box", "goal", "lava", "agent")
COLOURS = ("red", "green", "blue", "purple", "yellow", "grey")
OPEN, CLOSED, LOCKED = 0, 1, 2
STATES = ("open", "closed", "locked")
NOTHING = ("unseen", "empty", "floor", "wall", "agent")
LIFTED = ("key", "ball", "box")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell of the view.

    Attributes:
        kind, colour: What is there.
        state: Of a door.
        ahead: Steps forward, 0 on the agent's own row.
        right: Steps to the right; negative: to the left.
    """

    kind: str
    colour: str
    state: int
    ahead: int
    right: int

    @property
    def name(self) -> str:
        """``a red ball``, ``a closed blue door``, ``the goal``, ``lava``."""
        if self.kind in ("goal", "lava"):
            return "the goal" if self.kind == "goal" else "lava"
        state = f"{STATES[self.state]} " if self.kind == "door" else ""
        words = f"{state}{self.colour} {self.kind}"
        return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"

    @property
    def can_be_entered(self) -> bool:
        """Whether a step onto it changes the agent's place."""
        return self.kind in ("empty", "floor", "goal", "lava") or (
            self.kind == "door" and self.state == OPEN
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All cells of a view, and what is held.

    Attributes:
        cells: By place ``(ahead, right)``; cells that are hidden are ``unseen``.
        held: What is carried, if anything.
    """

    cells: dict[tuple[int, int], Cell]
    held: Cell | None

    @property
    def front(self) -> Cell:
        """The cell one step ahead."""
        return self.cells[1, 0]


def view_of(image: np.ndarray) -> View:
    """A view from its encoding.

    Args:
        image: Kind, colour and state by column and row, int [n, n, 3]; the agent stands in the
            middle of the last row and looks up; what it holds is encoded in its own cell.
    """
    width, height = image.shape[:2]
    cells = {}
    for column in range(width):
        for row in range(height):
            kind, colour, state = (int(n) for n in image[column, row])
            cell = Cell(
                kind=KINDS[kind],
                colour=COLOURS[colour],
                state=state,
                ahead=height - 1 - row,
                right=column - width // 2,
            )
            cells[cell.ahead, cell.right] = cell
    own = cells.pop((0, 0))
    return View(cells=cells, held=own if own.kind in LIFTED else None)


def in_words(view: View) -> str:
    """What is held, every object in view from the nearest on, and the walls in three directions."""
    held = f"You hold {view.held.name}." if view.held else "You hold nothing."
    seen = [cell for cell in view.cells.values() if cell.kind not in NOTHING]
    seen.sort(key=lambda cell: (cell.ahead + abs(cell.right), cell.ahead, cell.right))
    things = "; ".join(f"{cell.name} {place(cell)}" for cell in seen)
    walls = [f"{n} {way}" for way, n in _walls(view).items()]
    told = f"You see {things}." if things else "You see no objects."
    return f"{held} {told} Walls: {', '.join(walls) or 'none in view'}."


def place(cell: Cell) -> str:
    """``2 ahead``, ``1 left``, ``2 ahead and 1 right``."""
    parts = [f"{cell.ahead} ahead"] if cell.ahead else []
    if cell.right:
        parts.append(f"{abs(cell.right)} {'right' if cell.right > 0 else 'left'}")
    return " and ".join(parts)


def _walls(view: View) -> dict[str, int]:
    """Steps to the nearest wall straight ahead and to both sides, where one is seen."""
    lines = {"ahead": (1, 0), "left": (0, -1), "right": (0, 1)}
    found = {}
    for way, (ahead, right) in lines.items():
        steps = 1
        while (cell := view.cells.get((ahead * steps, right * steps))) is not None:
            if cell.kind == "wall":
                found[way] = steps
                break
            steps += 1
    return found
