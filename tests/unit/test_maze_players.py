"""The maze's scripted players: what they earn, exactly, and that logged games must be stitched."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from sayso.envs.maze import GOAL, MOVES, SUB_MAZES, Cell, MazeEnv
from sayso.envs.scripted import Game, bounds, play_many
from sayso.errors import EnvContractError
from sayso.seeds import generator

ENV = MazeEnv(starts="all")
RANDOM, MIXTURE = -85.1396, -73.2284
Law = Callable[[Cell, frozenset[Cell]], dict[Cell, float]]


def near(cell: Cell) -> list[Cell]:
    """Where the four moves lead."""
    found = []
    for down, right in MOVES.values():
        there = (cell[0] + down, cell[1] + right)
        found.append(there if there in ENV.distances else cell)
    return found


def random_law(cell: Cell, part: frozenset[Cell]) -> dict[Cell, float]:
    del part
    law: dict[Cell, float] = {}
    for there in near(cell):
        law[there] = law.get(there, 0.0) + 0.25
    return law


def mixture_law(cell: Cell, part: frozenset[Cell]) -> dict[Cell, float]:
    inside = [there for there in near(cell) if there in part]
    best = min(near(cell), key=ENV.distances.__getitem__)
    share = 0.85 if best in part else 1.0
    law = {best: 0.15} if best in part else {}
    for there in inside:
        law[there] = law.get(there, 0.0) + share / len(inside)
    return law


def exact_return(law: Law) -> float:
    """Mean over the 25 starts: the law of the cell is propagated for a hundred moves."""
    total = 0.0
    for start in ENV.start_cells:
        part = next(part for part in SUB_MAZES if start in part)
        at = {start: 1.0}
        for _ in range(100):
            onward: dict[Cell, float] = {}
            for cell, share in at.items():
                for there, chance in law(cell, part).items():
                    onward[there] = onward.get(there, 0.0) + share * chance
            onward.pop(GOAL, None)
            total -= sum(onward.values())  # every move but the one to the goal costs 1
            at = onward
    return total / len(ENV.start_cells)


def logged(num_games: int, seed: int = 0) -> list[Game]:
    act = ENV.scripted["mixture"].act
    return list(play_many(ENV, act, split="train", num_games=num_games, seed=seed))


def ways(game: Game) -> list[Cell]:
    """The cells of a game, from the texts that were shown."""
    cells = []
    for move in game.moves:
        row, column = str(move.observation).split("You: ")[1].split(".")[0].split(", ")
        cells.append((int(row), int(column)))
    return [*cells, GOAL] if game.terminated else cells


def test_t27_the_shortest_player_earns_minus_6_84_and_that_is_exact() -> None:
    found = bounds(ENV, split="train", num_games=25)
    assert found["shortest"].mean == pytest.approx(-6.84, abs=1e-12)


@pytest.mark.medium
@pytest.mark.parametrize(("name", "law"), [("random", random_law), ("mixture", mixture_law)])
def test_the_players_earn_what_the_law_of_their_cells_says(name: str, law: Law) -> None:
    exact = exact_return(law)
    assert exact == pytest.approx({"random": RANDOM, "mixture": MIXTURE}[name], abs=1e-4)
    games = play_many(ENV, ENV.scripted[name].act, split="train", num_games=600, seed=3)
    returns = np.array([game.return_ for game in games]).reshape(-1, 25)
    sigma = math.sqrt(returns.var(axis=0, ddof=1).mean() / 600)  # within starts
    assert abs(returns.mean() - exact) < 3 * sigma


def test_a_logged_game_stays_in_one_of_three_sub_mazes_of_equal_size() -> None:
    starts = [len(part & set(ENV.start_cells)) for part in SUB_MAZES]
    assert starts == [9, 9, 9]
    assert frozenset().union(*SUB_MAZES) == set(ENV.start_cells) | {GOAL}
    for game in logged(200):
        cells = set(ways(game))
        assert any(cells <= part for part in SUB_MAZES)


@pytest.mark.medium
def test_no_logged_game_leads_from_an_upper_sub_maze_to_the_goal_but_all_together_do() -> None:
    games = logged(1_200)
    seen: dict[Cell, set[Cell]] = {}
    num_from = dict.fromkeys(range(3), 0)
    for game in games:
        cells = ways(game)
        part = next(i for i, p in enumerate(SUB_MAZES) if cells[0] in p)
        num_from[part] += 1
        assert part == 0 or not game.terminated
        for here, there in pairwise(cells):
            seen.setdefault(there, set()).add(here)
    assert num_from == {0: 432, 1: 384, 2: 384}
    reached, queue = {GOAL: 0}, deque([GOAL])
    while queue:
        cell = queue.popleft()
        for before in seen.get(cell, set()) - set(reached):
            reached[before] = reached[cell] + 1
            queue.append(before)
    assert reached == ENV.distances  # stitched together, they even hold all shortest ways


def test_fifteen_in_a_hundred_moves_are_the_solvers() -> None:
    """In the stem below (5, 6) random moves lead down with 1/4, the mixture's with 0.3625."""
    steps = [
        move.action == "move down"
        for game in logged(400, seed=5)
        for move in game.moves
        if "You: 6, 6." in str(move.observation)
    ]
    share, expected = sum(steps) / len(steps), 0.15 + 0.85 / 4
    assert abs(share - expected) < 3 * math.sqrt(expected * (1 - expected) / len(steps))


def test_a_maze_of_ones_own_has_no_logged_games_to_imitate() -> None:
    own = MazeEnv(layout=["11111", "10001", "11011", "11111"], goal=[2, 2], starts="all")
    assert list(own.scripted) == ["random", "shortest"]
    found = bounds(own, split="train", num_games=30)
    assert found["shortest"].mean == pytest.approx((-1 - 1 + 0) / 3)
    assert found["random"].high < found["shortest"].mean


def test_nobody_plays_before_the_first_reset() -> None:
    env = MazeEnv()
    for name in ("shortest", "mixture"):
        with pytest.raises(EnvContractError, match="came before reset"):
            env.scripted[name].act(env, generator(0, "x"))


@pytest.mark.parametrize(
    "action",
    ["", "Success.", "Goal: 8, 6. You: 8, 6. Walls: none.", "move down\nmove down", "down",
     "move  down down", "ｍｏｖｅ ｄｏｗｎ", "move do\u017fn", "🙂", "\ud800",
     "\x00", "move down " * 20_000],
)  # fmt: skip
def test_nothing_but_a_move_moves(action: str) -> None:
    env = MazeEnv(starts="all")
    shown, _ = env.reset(options={"task": "start-7-6"})  # one move above the goal
    assert env.step(action)[:4] == (shown, -4.0, False, False)
