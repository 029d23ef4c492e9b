"""Mazes whose goals are held out: every task once, cut by goals; the optimum of each is known."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from sayso.envs.maze import MazeEnv
from sayso.envs.scripted import bounds
from sayso.errors import OptionValueError

ROOM: dict[str, Any] = {
    "layout": ["111111", "100001", "100001", "100001", "100001", "111111"], "goal": [1, 1],
    "max_moves": 12,
}  # fmt: skip
SPLITS = ("train", "held_out", "unseen")


def goals(env: MazeEnv, split: str) -> set[tuple[int, int]]:
    return {tuple(task.payload["goal"]) for task in env.tasks(split)}


@pytest.mark.parametrize("layout", [{}, ROOM])
def test_each_goal_with_each_start_is_a_task_of_one_split(layout: dict[str, Any]) -> None:
    env = MazeEnv(goals="split", **layout)
    pairs = [
        (tuple(task.payload["goal"]), tuple(task.payload["start"]))
        for split in SPLITS
        for task in env.tasks(split)
    ]
    assert sorted(pairs) == [(g, s) for g, s in product(env.cells, env.cells) if g != s]
    cut = [goals(env, split) for split in SPLITS]
    assert sum(map(len, cut)) == len(env.cells) == len(set.union(*cut))
    assert all(cut)
    num_unseen = len(env.cells) // 5
    assert cut[2] == set(env.cells[-num_unseen:])  # a corner in which no game of training ends
    assert max(cut[0] | cut[1]) < min(cut[2])


def test_the_shortest_way_leads_to_the_goal_that_is_posed() -> None:
    env = MazeEnv(goals="split", **ROOM)
    shown, _ = env.reset(options={"task": "goal-4-4-start-1-2"})
    assert shown == "Goal: 4, 4. You: 1, 2. Walls: above."
    assert env.optimal_return((1, 2)) == -4.0
    assert env.level(env.task_by_id("goal-4-4-start-1-2", "unseen")) == 2
    for split in SPLITS:
        tasks = env.tasks(split)
        ways = [(t.payload["goal"], t.payload["start"]) for t in tasks]
        apart = [
            abs(g[0] - s[0]) + abs(g[1] - s[1]) for g, s in ways
        ]  # in a room nothing is between
        found = bounds(env, split=split, num_games=len(tasks))
        assert found["shortest"].mean == pytest.approx(1 - sum(apart) / len(apart))
        assert found["random"].high < found["shortest"].low
    env.reset(options={"task": "goal-1-1-start-1-2"})
    assert env.step("move left")[1:4] == (0.0, True, False)


def test_without_the_option_nothing_changes_and_logged_games_need_the_one_goal() -> None:
    plain, split = MazeEnv(), MazeEnv(goals="split")
    assert [task.id for task in plain.tasks("train")][:2] == ["start-1-3", "start-1-4"]
    assert "mixture" in plain.scripted
    assert "mixture" not in split.scripted
    assert split.start_cells == plain.start_cells


@pytest.mark.parametrize("wrong", [{"goals": "many"}, {"goals": "split", "starts": "all"}])
def test_goals_that_cannot_be_cut_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionValueError, match="Maze-v0, goals"):
        MazeEnv(**wrong)
