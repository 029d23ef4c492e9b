"""A maze in words, move by move: LMRL-Gym's, or a layout of one's own."""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Sequence
from functools import cached_property
from itertools import product
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from sayso.envs.base import SPLITS, TextEnv
from sayso.envs.scripted import Scripted
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
SUB_MAZES: tuple[frozenset[Cell], ...] = (
    frozenset({(5, column) for column in range(3, 10)} | {(row, 6) for row in range(6, 9)}),
    frozenset({(1, column) for column in range(1, 6)} | {(row, 3) for row in range(2, 6)}),
    frozenset({(1, column) for column in range(7, 12)} | {(row, 9) for row in range(2, 6)}),
)
"""The three Ts of LMRL-Gym's maze: the lower one with the goal, the left one, the right one.

The upper Ts end at (5, 3) and (5, 9), which belong to the lower one too.
"""
RANDOM_SHARE = 0.85
"""Of the moves of LMRL-Gym's logged games, arXiv:2311.18232, app. C.1."""


def _random(env: MazeEnv, draws: np.random.Generator) -> str:
    del env
    return _one_of(list(MOVES), draws)


def _shortest(env: MazeEnv, draws: np.random.Generator) -> str:
    del draws
    return min(MOVES, key=lambda move: env.distances[env.after(move)])


def _mixture(env: MazeEnv, draws: np.random.Generator) -> str:
    r"""LMRL-Gym's logged games: 85 % random moves, 15 % a solver's, confined to a sub-maze.

    A game stays in the sub-maze that it starts in, the lower one for the two cells that belong to
    two. Random moves are uniform among those that do not leave it; moves into walls do not. The
    solver's move is the first of a shortest way to the goal, or a random one where that leaves the
    sub-maze. So games that start in an upper T never reach the goal, those of the lower T may, and
    no game shows the way from an upper T to the goal: it has to be stitched together from two,
    which share (5, 3) or (5, 9).

    Its data set are 1 200 games. Known of it: the numbers 1 200, 85 and 15; that the solver is
    "suboptimal"; that there are three symmetrical sub-mazes, which a trajectory does not leave;
    that the goal is only reached from the goal's own. Not known, hence decided here: where the
    sub-mazes end, that they share a cell each, how a trajectory is kept inside, what the solver
    does, and how long trajectories are (here to the end of the episode; the paper gives a mean
    return of -19.7 in its first version and of -83 later).

    Source:
        Abdulhai et al. 2023, LMRL-Gym, arXiv:2311.18232, app. A.1 and C.1.
    """
    part = next(part for part in SUB_MAZES if env.start in part)
    inside = [move for move in MOVES if env.after(move) in part]
    if draws.random() >= RANDOM_SHARE and (move := _shortest(env, draws)) in inside:
        return move
    return _one_of(inside, draws)


def _one_of(moves: Sequence[str], draws: np.random.Generator) -> str:
    return moves[int(draws.integers(len(moves)))]


PLAYERS = MappingProxyType(
    {
        "random": Scripted(act=_random, about="any of the four moves"),
        "shortest": Scripted(act=_shortest, about="a shortest way: the optimum", is_oracle=True),
        "mixture": Scripted(
            act=_mixture, about="85 % random, confined to a third: LMRL-Gym's logged games",
            is_oracle=True,
        ),
    }
)  # fmt: skip


class MazeEnv(TextEnv):
    """Find the goal of a maze, told in words; the actions are ``move up|down|left|right``.

    Every move costs 1, the move that reaches the goal 0, an action that is none of the four costs 4
    and moves nothing, a move into a wall costs 1 and moves nothing. After ``max_moves`` actions the
    episode is truncated.

    Scripted players: ``random``, ``shortest`` and, in LMRL-Gym's maze, ``mixture``, who plays its
    logged games (``_mixture`` says how).

    Attributes:
        cells: Free cells connected with ``goal``, in reading order.
        start_cells: The same without ``goal``.

    Args:
        observation: ``"full"`` says where the goal, the player and the walls are; ``"partial"``
            only which walls are next to the player.
        layout: Rows of ``0`` (free) and ``1`` (wall), walled in on all sides.
        goal: Row and column of the goal, from 0.
        max_moves: Actions of one episode.
        starts: ``"split"``: ``unseen`` are the starts farthest from the goal (whole distances, at
            most a fifth of all): longer ways than any trained on; of the others a hash of their
            position holds out a fifth. ``"all"``: train on all, as LMRL-Gym does.
        goals: ``"one"``: ``goal``. ``"split"``: any cell connected with it may be the goal, a task
            is a goal and a start, and tasks are cut by goals instead of starts: ``unseen`` are the
            goals in the last fifth of the cells, in reading order, a region where no game of
            training ends; of the others a hash of their position holds out a fifth.
    """

    def __init__(
        self,
        *,
        observation: Literal["full", "partial"] = "full",
        layout: Sequence[str] = LAYOUT,
        goal: Sequence[int] = GOAL,
        max_moves: int = 100,
        starts: Literal["split", "all"] = "split",
        goals: Literal["one", "split"] = "one",
    ) -> None:
        self.layout, self.goal = tuple(layout), _cell(goal)
        self.observation, self.max_moves, self.starts = observation, max_moves, starts
        self.goals = goals
        self._found: dict[Cell, dict[Cell, int]] = {}
        self._check()
        self.reward_low, self.reward_high = UNREADABLE_REWARD * max_moves, GOAL_REWARD
        is_lmrl = (self.layout, self.goal) == (LAYOUT, GOAL)
        has_logs = is_lmrl and goals == "one"
        self.scripted = {k: v for k, v in PLAYERS.items() if k != "mixture" or has_logs}
        self.cells = tuple(sorted(self.distances))
        self.start_cells = tuple(cell for cell in self.cells if cell != self.goal)
        self._start: Cell | None = None
        self._at: Cell | None = None
        self._num_moves = 0

    @property
    def start(self) -> Cell:
        """Where the episode began."""
        return self._in_progress(self._start)

    @property
    def at(self) -> Cell:
        """Where the player stands."""
        return self._in_progress(self._at)

    def after(self, move: str) -> Cell:
        """Where a move leads from here; into a wall, nowhere else."""
        (row, column), (down, right) = self.at, MOVES[move]
        near = (row + down, column + right)
        return near if self._is_free(near) else self.at

    @property
    def distances(self) -> dict[Cell, int]:
        """Fewest moves from each reachable cell to the goal of the task that is posed."""
        return self.distances_to(self.goal)

    def distances_to(self, goal: Cell) -> dict[Cell, int]:
        """Fewest moves from each reachable cell to a goal, by breadth-first search."""
        if goal not in self._found:
            self._found[goal] = self._search(goal)
        return self._found[goal]

    def _search(self, goal: Cell) -> dict[Cell, int]:
        found, queue = {goal: 0}, deque([goal])
        while queue:
            cell = queue.popleft()
            for move in MOVES.values():
                near = (cell[0] + move[0], cell[1] + move[1])
                if self._is_free(near) and near not in found:
                    found[near] = found[cell] + 1
                    queue.append(near)
        return found

    def optimal_return(self, start: Cell) -> float:
        """Best return from a start to the goal that is posed: every move but the last costs 1."""
        return STEP_REWARD * (self.distances[start] - 1) + GOAL_REWARD

    def tasks(self, split: str) -> Sequence[Task]:
        """One task per start of the split, or per goal of it and start."""
        return self._tasks.get(split, ())

    def level(self, task: Task) -> int:
        """One for every four moves of a shortest way, begun ones too."""
        start, goal = _cell(task.payload["start"]), _cell(task.payload["goal"])
        return -(-self.distances_to(goal)[start] // 4)

    @cached_property
    def _tasks(self) -> dict[str, tuple[Task, ...]]:
        found: dict[str, list[Task]] = {split: [] for split in SPLITS}
        if self.goals == "one":
            for start in self.start_cells:
                task = self._task(self._split_of(start), start, self.goal, f"start-{_name(start)}")
                found[task.split].append(task)
        else:
            for goal, start in product(self.cells, self.cells):
                if start != goal:
                    task_id = f"goal-{_name(goal)}-start-{_name(start)}"
                    task = self._task(self._split_of_goal(goal), start, goal, task_id)
                    found[task.split].append(task)
        return {split: tuple(tasks) for split, tasks in found.items()}

    def _task(self, split: str, start: Cell, goal: Cell, task_id: str) -> Task:
        payload = {
            "start": list(start), "goal": list(goal), "layout": list(self.layout),
            "observation": self.observation,
        }  # fmt: skip
        return Task(id=task_id, env="sayso/Maze-v0", split=split, payload=payload)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Stand at the task's start."""
        super().reset(seed=seed)
        posed = self.choose(seed, options).payload
        self.goal = _cell(posed["goal"])
        self._start = self._at = _cell(posed["start"])
        self._num_moves = 0
        return self._describe(self._at), {"choices": list(MOVES)}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Try a move."""
        here, move = self.at, " ".join(action.strip().lower().split())
        self._num_moves += 1
        reward = STEP_REWARD if move in MOVES else UNREADABLE_REWARD
        self._at = self.after(move) if move in MOVES else here
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

    def _in_progress(self, cell: Cell | None) -> Cell:
        if cell is None:
            raise EnvContractError(
                where="sayso/Maze-v0, step", problem="came before reset.", fix="Call reset first."
            )
        return cell

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

    def _split_of_goal(self, cell: Cell) -> str:
        """By place, then by a hash of the position, so that every maze is divided alike."""
        if cell in self.cells[len(self.cells) - int(UNSEEN_SHARE * len(self.cells)) :]:
            return "unseen"
        is_held_out = derive(0, "maze goal", *cell) % 10 >= 10 * (1 - HELD_OUT_SHARE)
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
        if self.goals not in ("one", "split") or (self.goals == "split" and self.starts == "all"):
            raise OptionValueError(
                where="sayso/Maze-v0, goals",
                problem=f"got {self.goals!r} with starts={self.starts!r}.",
                fix="Use 'one', or 'split', which cuts tasks by goals: then leave starts out.",
            )
        if self.max_moves < 1:
            raise OptionValueError(
                where="sayso/Maze-v0, max_moves",
                problem=f"got {self.max_moves}.",
                fix="Allow at least one move.",
            )


def _name(cell: Cell) -> str:
    return f"{cell[0]}-{cell[1]}"


def _cell(given: Sequence[int]) -> Cell:
    """A row and a column."""
    try:
        row, column = given
        return operator.index(row), operator.index(column)
    except (TypeError, ValueError) as error:
        raise OptionValueError(
            where="sayso/Maze-v0, goal", problem=f"got {given!r}.", fix="Use a row and a column."
        ) from error
