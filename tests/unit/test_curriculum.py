"""The curriculum: its distribution by hand, its draws, its memory, and what it is good for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import sayso
from sayso.envs.maze import MazeEnv
from sayso.envs.random_walks import RandomWalksEnv
from sayso.envs.recommend import RecommendEnv
from sayso.envs.text_nav import TextNavEnv
from sayso.envs.writing import WritingEnv
from sayso.errors import OptionValueError
from sayso.seeds import generator
from sayso.training.curriculum import FADE, FLOOR, MediumOrder, medium_order
from sayso.training.order import TaskOrder
from sayso.types import EndReason, Episode, Failure, Task, Turn

SIZES = {"1": 60, "2": 30, "3": 10}
TASKS = [
    Task(id=f"{level}-{n}", env="x", split="train", payload={"level": int(level), "n": n})
    for level, size in SIZES.items()
    for n in range(size)
]


def order(counts: dict[str, list[float]] | None = None, block_size: int = 8) -> MediumOrder:
    levels = [task.id[0] for task in TASKS]
    return MediumOrder(TASKS, levels, block_size, seed=3, counts=counts if counts is not None
                       else {}, low=0.0, high=1.0)  # fmt: skip


def episode(task: Task, reward: float | None, *, fails: bool = False) -> Episode:
    return Episode(
        task=task, sample_index=0, policy_version=0,
        turns=(Turn(observation_ids=(1,), action_ids=(2,), action_logprobs=(0.0,), reward=reward),),
        end=EndReason.FAILED if fails else EndReason.TERMINATED,
        failure=Failure(kind="env_raised", message="x") if fails else None,
    )  # fmt: skip


def test_shares_are_those_of_the_formula() -> None:
    shares = order({"1": [8.0, 0.0], "2": [3.0, 3.0]}).shares()
    worth = {"1": 0.9 * 0.1, "2": 0.25, "3": 0.25}
    total = sum(worth.values())
    for level, size in SIZES.items():
        assert shares[level] == pytest.approx(0.9 * worth[level] / total + 0.1 * size / 100)
    assert sum(shares.values()) == pytest.approx(1.0)


def test_before_anything_is_known_all_levels_are_worth_the_same() -> None:
    shares = order().shares()
    assert shares["1"] == pytest.approx((1 - FLOOR) / 3 + FLOOR * 0.6)
    assert shares["3"] == pytest.approx((1 - FLOOR) / 3 + FLOOR * 0.1)


def test_blocks_are_drawn_by_the_shares() -> None:
    made = order({"1": [8.0, 0.0], "2": [3.0, 3.0]}, block_size=1)
    drawn = Counter(made.block(index)[0].id[0] for index in range(4000))
    for level, share in made.shares().items():
        assert drawn[level] / 4000 == pytest.approx(share, abs=0.03)


def test_within_a_level_all_tasks_are_alike() -> None:
    made = order({"1": [0.0, 1e6], "2": [0.0, 1e6]}, block_size=1)
    drawn = Counter(made.block(index)[0].id for index in range(3000))
    found = [count for task, count in drawn.items() if task.startswith("3-")]
    assert len(found) == 10
    assert max(found) < 1.5 * min(found)


def test_a_block_holds_no_task_twice_and_none_that_is_left_out() -> None:
    made = order(block_size=60)
    for index in range(20):
        ids = [task.id for task in made.block(index)]
        assert len(set(ids)) == len(ids) == 60
        more = [task.id for task in made.block(index + 100, but=set(ids))]
        assert not set(ids) & set(more)
        assert len(more) == 40, "all that are left"


def test_a_block_depends_on_seed_number_and_counts_alone() -> None:
    one, two = order({"2": [1.0, 0.5]}), order(json.loads(json.dumps({"2": [1.0, 0.5]})))
    assert [one.block(i) for i in range(9)] == [two.block(i) for i in reversed(range(9))][::-1]
    assert one.block(0) != one.block(1)


def test_counts_fade_and_take_the_return_within_its_range() -> None:
    counts: dict[str, list[float]] = {"1": [2.0, 1.0], "3": [0.0, 4.0]}
    made = MediumOrder(TASKS, [t.id[0] for t in TASKS], 8, seed=0, counts=counts, low=-1.0,
                       high=1.0)  # fmt: skip
    metrics = made.note([episode(TASKS[0], 0.5), episode(TASKS[1], -1.0), episode(TASKS[60], 9.0)])
    assert counts["1"] == pytest.approx([2 * FADE + 0.75, FADE + 0.25 + 1])
    assert counts["2"] == [1.0, 0.0]
    assert counts["3"] == pytest.approx([0.0, 4 * FADE])
    assert metrics["curriculum/level_1_frac"] == pytest.approx(2 / 3)
    assert metrics["curriculum/level_3_frac"] == 0.0
    assert metrics["curriculum/level_2_success"] == pytest.approx(2 / 3)


def test_failed_and_ungraded_episodes_say_nothing_of_success() -> None:
    counts: dict[str, list[float]] = {}
    order(counts).note([episode(TASKS[0], 1.0, fails=True), episode(TASKS[0], None)])
    assert counts == {}


class Levels(sayso.TextEnv):
    """Tasks with a level each, as a user writes them."""

    reward_low, reward_high = 0.0, 1.0

    def tasks(self, split: str) -> list[Task]:
        return TASKS if split == "train" else []

    def reset(self, **_: Any) -> Any:
        raise NotImplementedError

    def step(self, _: str) -> Any:
        raise NotImplementedError


def test_a_level_in_the_payload_is_enough() -> None:
    made = medium_order(Levels(), TASKS, 8, seed=0, counts={})
    assert {level: len(places) for level, places in made.places.items()} == SIZES


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"reward_low": None}, "the range of the return"),
        ({"level": lambda self, task: None}, "found none"),
        ({"level": lambda self, task: 1}, r"found \[1\]"),
        ({"level": lambda self, task: None if task.payload["n"] else 2}, r"found \[2\]"),
    ],
)
def test_where_there_is_nothing_to_go_by_it_is_refused(change: dict[str, Any], says: str) -> None:
    env = type("Odd", (Levels,), change)()
    with pytest.raises(OptionValueError, match=says):
        medium_order(env, TASKS, 8, seed=0, counts={})


@pytest.mark.parametrize(
    ("env", "levels"),
    [
        (WritingEnv, {2, 3}), (MazeEnv, {1, 2, 3}), (RandomWalksEnv, None), (TextNavEnv, {1, 2, 3}),
        (RecommendEnv, {1, 2, 3}),
    ],
)  # fmt: skip
def test_environments_with_levels(env: Callable[[], Any], levels: set[int] | None) -> None:
    opened = env()
    found = {opened.level(task) for task in opened.tasks("train")[:150]}
    assert len(found) > 1
    assert levels is None or found == levels


def taught(blocks: Callable[[int], list[Task]], note: Callable[[list[Episode]], Any]) -> int:
    """Steps until all levels succeed; a toy: each needs the one before, one skill a level.

    A task of level l succeeds with the product of the skills up to l, and moves the skill by what a
    policy gradient would: the variance of success, p (1 - p).
    """
    logits = np.array([1.0, -2.0, -4.0])
    for step in range(3000):
        skills = 1 / (1 + np.exp(-logits))
        success = np.cumprod(skills)
        if success[-1] > 0.9:
            return step
        episodes = []
        for place, task in enumerate(blocks(step)):
            level = task.payload["level"]
            p = float(success[level - 1])
            rng = generator(5, "toy", step, place)
            episodes.append(episode(task, float(rng.random() < p)))
            logits[:level] += 0.15 * p * (1 - skills[:level])
        note(episodes)
    return 3000


def test_on_a_toy_whose_levels_build_on_each_other_it_needs_fewer_steps() -> None:
    medium = order()
    plain = TaskOrder(TASKS, 8, seed=3)
    with_it = taught(medium.block, medium.note)
    without = taught(plain.block, lambda episodes: None)
    assert with_it < 0.8 * without < 0.8 * 3000
