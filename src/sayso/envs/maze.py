"""A maze in words, move by move: LMRL-Gym's, or a layout of one's own."""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

from sayso.envs.base import SPLITS, TextEnv
from sayso.errors import EnvContractError, OptionValueError
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
HELD_OUT_SHARE = UNSEEN_SHARE = 0.2


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
        starts: ``"split"``: ``unseen`` are the starts farthest from the goal (whole distances, at
            most a fifth of all): longer ways than any trained on; of the others a hash of their
            position holds out a fifth. ``"all"``: train on all, as LMRL-Gym does.
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
        self.layout, self.goal = tuple(layout), _cell(goal)
        self.observation, self.max_moves, self.starts = observation, max_moves, starts
        self._check()
        self.reward_low, self.reward_high = UNREADABLE_REWARD * max_moves, GOAL_REWARD
        self._at: Cell | None = None
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
        return self._tasks.get(split, ())

    @cached_property
    def _tasks(self) -> dict[str, tuple[Task, ...]]:
        return {
            split: tuple(
                Task(
                    id=f"start-{row}-{column}",
                    env="sayso/Maze-v0",
                    split=split,
                    payload={
                        "start": [row, column], "goal": list(self.goal),
                        "layout": list(self.layout), "observation": self.observation,
                    },
                )
                for row, column in self.start_cells
                if self._split_of((row, column)) == split
            )
            for split in SPLITS
        }  # fmt: skip

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Stand at the task's start."""
        super().reset(seed=seed)
        row, column = self.choose(seed, options).payload["start"]
        self._at, self._num_moves = (row, column), 0
        return self._describe(self._at), {"choices": list(MOVES)}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Try a move."""
        if self._at is None:
            raise EnvContractError(
                where="sayso/Maze-v0, step", problem="came before reset.", fix="Call reset first."
            )
        move = MOVES.get(" ".join(action.strip().lower().split()))
        self._num_moves += 1
        reward = STEP_REWARD
        if move is None:
            reward = UNREADABLE_REWARD
        else:
            near = (self._at[0] + move[0], self._at[1] + move[1])
            if self._is_free(near):
                self._at = near
        terminated = self._at == self.goal
        if terminated:
            reward = GOAL_REWARD
        truncated = not terminated and self._num_moves >= self.max_moves
        text = "Success." if terminated else self._describe(self._at)
        return text, reward, terminated, truncated, {"choices": list(MOVES)}

    def _describe(self, at: Cell) -> str:
        walls = [
            SIDES[name]
            for name, (down, right) in MOVES.items()
            if not self._is_free((at[0] + down, at[1] + right))
        ]
        told = f"Walls: {', '.join(walls) or 'none'}."
        if self.observation == "partial":
            return told
        return f"Goal: {self.goal[0]}, {self.goal[1]}. You: {at[0]}, {at[1]}. {told}"

    def _is_free(self, cell: Cell) -> bool:
        row, column = cell
        inside = 0 <= row < len(self.layout) and 0 <= column < len(self.layout[row])
        return inside and self.layout[row][column] == "0"

    def _split_of(self, cell: Cell) -> str:
        """By distance, then by a hash of the position, so that every maze is divided alike."""
        if self.starts == "all":
            return "train"
        if self.distances[cell] > self.longest_trained:
            return "unseen"
        is_held_out = derive(0, "maze start", *cell) % 10 >= 10 * (1 - HELD_OUT_SHARE)
        return "held_out" if is_held_out else "train"

    @cached_property
    def longest_trained(self) -> int:
        """Distance beyond which starts are unseen: a fifth of the starts at most lie there."""
        lengths = sorted(self.distances[cell] for cell in self.start_cells)
        return lengths[len(lengths) - 1 - int(UNSEEN_SHARE * len(lengths))]

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


def _cell(given: Sequence[int]) -> Cell:
    """A row and a column."""
    try:
        row, column = given
        return operator.index(row), operator.index(column)
    except (TypeError, ValueError) as error:
        raise OptionValueError(
            where="sayso/Maze-v0, goal", problem=f"got {given!r}.", fix="Use a row and a column."
        ) from error
