"""A maze in words, move by move: LMRL-Gym's, or a layout of one's own."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

from sayso.envs.base import TextEnv
from sayso.errors import OptionValueError
from sayso.seeds import derive
from sayso.types import Task

Cell = tuple[int, int]
LAYOUT = (
    "1111111111111",
    "1000001000001",
    "1110111110111",
    "1110111110111",
    "1110111110111",
    "1110000000111",
    "1111110111111",
    "1111110111111",
    "1111110111111",
    "1111111111111",
)
"""1 is a wall. Abdulhai et al. 2023, LMRL-Gym, arXiv:2311.18232, app. (double-T maze)."""
GOAL: Cell = (8, 6)
MOVES: dict[str, Cell] = {
    "move up": (-1, 0), "move down": (1, 0), "move left": (0, -1), "move right": (0, 1),
}  # fmt: skip
SIDES = {"move up": "above", "move down": "below", "move left": "left", "move right": "right"}
STEP_REWARD, GOAL_REWARD, UNREADABLE_REWARD = -1.0, 0.0, -4.0


class MazeEnv(TextEnv):
    """Find the goal of a maze, told in words; the actions are ``move up|down|left|right``.

    Every move costs 1, the move that reaches the goal 0, an action that is none of the four costs 4
    and moves nothing, a move into a wall costs 1 and moves nothing. After ``max_moves`` actions the
    episode is truncated.

    Args:
        observation: ``"full"`` says where the goal, the player and the walls are; ``"partial"``
            only which walls are next to the player.
        layout: Rows of ``0`` (free) and ``1`` (wall), walled in on all sides.
        goal: Row and column of the goal, from 0.
        max_moves: Actions of one episode.
        starts: ``"split"`` divides the free cells into the three splits by a hash of their
            position; ``"all"`` trains on all of them, as LMRL-Gym does, and holds out none.
    """

    def __init__(
        self,
        *,
        observation: Literal["full", "partial"] = "full",
        layout: Sequence[str] = LAYOUT,
        goal: Sequence[int] = GOAL,
        max_moves: int = 100,
        starts: Literal["split", "all"] = "split",
    ) -> None:
        self.layout, self.goal = tuple(layout), (int(goal[0]), int(goal[1]))
        self.observation, self.max_moves, self.starts = observation, max_moves, starts
        self._check()
        self._cell: Cell = self.goal
        self._num_moves = 0

    @cached_property
    def distances(self) -> dict[Cell, int]:
        """Fewest moves from each reachable cell to the goal, by breadth-first search."""
        found, queue = {self.goal: 0}, deque([self.goal])
        while queue:
            cell = queue.popleft()
            for move in MOVES.values():
                near = (cell[0] + move[0], cell[1] + move[1])
                if self._is_free(near) and near not in found:
                    found[near] = found[cell] + 1
                    queue.append(near)
        return found

    def optimal_return(self, start: Cell) -> float:
        """Best return from a start: every move but the last costs 1."""
        return STEP_REWARD * (self.distances[start] - 1) + GOAL_REWARD

    @cached_property
    def start_cells(self) -> tuple[Cell, ...]:
        """Free cells from which the goal can be reached, in reading order, the goal left out."""
        return tuple(sorted(cell for cell in self.distances if cell != self.goal))

    def tasks(self, split: str) -> Sequence[Task]:
        """One task per start of the split."""
        return [
            Task(
                id=f"start-{row}-{column}",
                env="sayso/Maze-v0",
                split=split,
                payload={
                    "start": [row, column], "goal": list(self.goal), "layout": list(self.layout),
                    "observation": self.observation,
                },
            )
            for row, column in self.start_cells
            if self._split_of((row, column)) == split
        ]  # fmt: skip

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Stand at the task's start."""
        super().reset(seed=seed)
        row, column = self.choose(seed, options).payload["start"]
        self._cell, self._num_moves = (row, column), 0
        return self._describe(), {"choices": list(MOVES)}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Try a move."""
        move = MOVES.get(" ".join(action.strip().lower().split()))
        self._num_moves += 1
        reward = STEP_REWARD
        if move is None:
            reward = UNREADABLE_REWARD
        else:
            near = (self._cell[0] + move[0], self._cell[1] + move[1])
            if self._is_free(near):
                self._cell = near
        terminated = self._cell == self.goal
        if terminated:
            reward = GOAL_REWARD
        truncated = not terminated and self._num_moves >= self.max_moves
        text = "Success." if terminated else self._describe()
        return text, reward, terminated, truncated, {"choices": list(MOVES)}

    def _describe(self) -> str:
        walls = [
            SIDES[name]
            for name, (down, right) in MOVES.items()
            if not self._is_free((self._cell[0] + down, self._cell[1] + right))
        ]
        told = f"Walls: {', '.join(walls) or 'none'}."
        if self.observation == "partial":
            return told
        return (
            f"Goal: {self.goal[0]}, {self.goal[1]}. You: {self._cell[0]}, {self._cell[1]}. {told}"
        )

    def _is_free(self, cell: Cell) -> bool:
        row, column = cell
        inside = 0 <= row < len(self.layout) and 0 <= column < len(self.layout[row])
        return inside and self.layout[row][column] == "0"

    def _split_of(self, cell: Cell) -> str:
        """By a hash of the position, so that every maze is divided alike: 60, 20, 20 per cent."""
        if self.starts == "all":
            return "train"
        place = derive(0, "maze start", *cell) % 10
        return "train" if place < 6 else "held_out" if place < 8 else "unseen"

    def _check(self) -> None:
        problem = ""
        if not self.layout or any(set(row) - {"0", "1"} for row in self.layout):
            problem = "has characters other than 0 and 1."
        elif not self._is_free(self.goal):
            problem = f"has no free cell at the goal {self.goal}."
        elif len(self.distances) == 1:
            problem = "has no cell from which the goal can be reached."
        if problem:
            raise OptionValueError(
                where="sayso/Maze-v0, layout", problem=problem, fix="Use rows such as '11011'."
            )
        if self.observation not in ("full", "partial") or self.starts not in ("split", "all"):
            raise OptionValueError(
                where="sayso/Maze-v0",
                problem=f"got observation={self.observation!r}, starts={self.starts!r}.",
                fix="Use observation 'full' or 'partial' and starts 'split' or 'all'.",
            )
        if self.max_moves < 1:
            raise OptionValueError(
                where="sayso/Maze-v0, max_moves",
                problem=f"got {self.max_moves}.",
                fix="Allow at least one move.",
            )
