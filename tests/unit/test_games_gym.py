"""Any Gymnasium game in words: its rules, its names, its tasks, and what nonsense earns."""

from __future__ import annotations

import re
from typing import Any

import gymnasium
import numpy as np
import pytest

import sayso
from sayso.envs.cut import is_held_out
from sayso.envs.games_gym import GymTextEnv
from sayso.envs.games_plan import best_actions
from sayso.envs.games_toy import TOYS, toy_of
from sayso.envs.scripted import bounds, play
from sayso.errors import EnvContractError, OptionValueError, UnknownNameError
from sayso.rollout.check import check_text_env

LAKE = ("SFFF", "FHFH", "FFFH", "HFFG")
NONSENSE = (
    "", "left right up down", "left " * 2_000, "lefft", "Success.", "goal", "go left\nright",
    "🙂 东",
)  # fmt: skip


def lake(**kwargs: Any) -> GymTextEnv:
    env = GymTextEnv(kwargs={"desc": list(LAKE), **kwargs})
    env.reset(seed=1)
    return env


class Line(gymnasium.Env[np.ndarray, np.int64]):
    """Walk right three times; actions are numbered from 1."""

    observation_space = gymnasium.spaces.Box(0, 9, (2,))
    action_space = gymnasium.spaces.Discrete(2, start=1)

    def __init__(self, *, cost: float = 0.0) -> None:
        self.cost = cost

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, Any]:
        super().reset(seed=seed)
        self.place = int(self.np_random.integers(2))
        return np.array([self.place, 0.25]), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, Any]:
        self.place += 1 if action == 2 else -1
        seen = np.array([self.place, 0.25])
        return seen, float(self.place == 3) - self.cost, self.place == 3, self.place == -9, {}


@pytest.fixture(scope="module", autouse=True)
def registered() -> Any:
    gymnasium.register("tests/Line-v0", entry_point=Line)
    gymnasium.register("tests/CostlyLine-v0", entry_point=Line, kwargs={"cost": 5.0})
    yield
    del gymnasium.registry["tests/Line-v0"], gymnasium.registry["tests/CostlyLine-v0"]


def test_frozen_lake_in_words() -> None:
    env = lake()
    shown, info = env.reset(seed=1)
    assert shown == (
        "Cross the ice to the goal. A hole ends the game. Map: SFFF/FHFH/FFFH/HFFG. You are at "
        "row 0, column 0. The goal is at row 3, column 3. Left: edge. Down: ice. Right: ice. "
        "Up: edge. Say one of: left, down, right, up."
    )
    assert info["choices"] == ["left", "down", "right", "up"]
    told, reward, terminated, truncated, _ = env.step("  Right. ")
    assert told.startswith("Map: SFFF/FHFH/FFFH/HFFG. You are at row 0, column 1.")
    assert "Down: hole." in told
    assert (reward, terminated, truncated) == (0.0, False, False)
    assert env.step("down")[1:4] == (0.0, True, False)


def test_the_way_to_the_goal_earns_one() -> None:
    env = lake()
    steps = [env.step(name) for name in ("down", "down", "right", "down", "right", "right")]
    assert [step[1] for step in steps] == [0, 0, 0, 0, 0, 1]
    assert steps[-1][2:4] == (True, False)


@pytest.mark.parametrize("text", NONSENSE)
def test_what_names_no_action_is_not_played_and_costs(text: str) -> None:
    env = lake()
    before = env.inner.s
    told, reward, terminated, truncated, info = env.step(text)
    assert told.startswith("There is no such action. Map")
    assert (reward, terminated, truncated) == (-0.05, False, False)
    assert info["reward_parts"] == {"game": 0.0, "unreadable": -0.05}
    assert env.inner.s == before
    for _ in range(28):
        assert not env.step(text)[3]
    assert env.step(text)[2:4] == (False, True)
    with pytest.raises(EnvContractError, match="no game is on"):
        env.step("left")


def test_taxi_lists_only_what_its_mask_allows() -> None:
    env = GymTextEnv(game="Taxi-v4" if "Taxi-v4" in gymnasium.registry else "Taxi-v3")
    for task in env.tasks("train")[:6]:
        _, info = env.reset(options={"task": task.id})
        mask = env.inner.action_mask(env.inner.s)
        assert info["choices"] == [n for n, ok in zip(env.actions, mask, strict=True) if ok]
        illegal = next(name for name in env.actions if name not in info["choices"])
        told, reward, *_ = env.step(illegal)
        assert reward in (-10.0, -1.0)  # played as the game plays it
        assert "no such action" not in told


@pytest.mark.parametrize(
    ("seen", "action"),
    [
        ((16, 10, 0), "hit"), ((17, 11, 0), "stick"), ((13, 2, 0), "stick"), ((12, 3, 0), "hit"),
        ((12, 4, 0), "stick"), ((18, 9, 1), "hit"), ((18, 8, 1), "stick"), ((19, 1, 1), "stick"),
        ((18, 1, 1), "hit"), ((12, 7, 0), "hit"),
    ],
)  # fmt: skip
def test_blackjacks_basic_strategy(seen: tuple[int, int, int], action: str) -> None:
    toy = toy_of("Blackjack-v1")
    assert toy is not None
    assert toy.basic is not None
    assert toy.basic(seen) == action


def test_a_game_that_is_over_asks_for_nothing_and_shows_both_hands() -> None:
    env = GymTextEnv(game="Blackjack-v1")
    shown, _ = env.reset(seed=0)
    assert shown.endswith("Say one of: stick, hit.")
    told, _, terminated, _, _ = env.step("stick")
    assert terminated
    assert "Say one of" not in told
    cards, total = re.search(r"The dealer has (.*), which make (\d+)\.$", told).groups()
    held = [1 if card == "ace" else int(card) for card in cards.split(", ")]
    assert len(held) >= 2
    assert int(total) in (sum(held), sum(held) + 10)
    assert int(total) >= 17, "the dealer draws to 17"


def test_the_planner_solves_a_game_by_hand() -> None:
    class Two:
        """From 0: action 0 earns 1 and ends; 1 leads to 1 where 0 earns 5 with chance 1/2."""

        P = {  # noqa: RUF012
            0: {0: [(1.0, 0, 1.0, True)], 1: [(1.0, 1, 0.0, False)]},
            1: {0: [(0.5, 0, 5.0, True), (0.5, 0, 0.0, True)], 1: [(1.0, 1, -1.0, False)]},
        }

    assert best_actions(Two()).tolist() == [1, 0]


def test_a_game_of_ones_own_with_numbers_names_and_another_first_action() -> None:
    env = GymTextEnv(game="tests/Line-v0", actions=("go left", "go right"), rules="Reach three.")
    shown, _ = env.reset(seed=0)
    assert shown.startswith("Reach three. You see: ")
    assert shown.endswith(", 0.25. Say one of: go left, go right.")
    while not (step := env.step("go right"))[2]:
        assert step[1] == 0.0
    assert step[1] == 1.0
    assert env.reward_low is None


def test_nameless_actions_are_numbered() -> None:
    env = GymTextEnv(game="tests/Line-v0")
    assert env.reset(seed=0)[1]["choices"] == ["action 0", "action 1"]


def test_saying_nothing_may_not_be_better_than_a_step() -> None:
    env = GymTextEnv(game="tests/CostlyLine-v0", actions=("left", "right"))
    env.reset(seed=0)
    with pytest.raises(EnvContractError, match="Set unreadable to -5 or less"):
        env.step("left")
    env = GymTextEnv(game="tests/CostlyLine-v0", actions=("left", "right"), unreadable=-5.0)
    env.reset(seed=0)
    assert env.step("left")[1] == -5.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"game": "NoSuchGame-v0"}, {"game": "Pendulum-v1"}, {"actions": ("a", "b")},
        {"actions": ("left", "left", "right", "up")}, {"max_turns": 0}, {"kwargs": {"x": 1}},
        {"describe": "no_such_module:f"}, {"describe": "nothing"},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    kind = UnknownNameError if "describe" in wrong else OptionValueError
    with pytest.raises(kind, match="sayso/Gym-v0"):
        GymTextEnv(**wrong)


def test_splits_are_cut_by_the_map_and_unseen_maps_are_larger() -> None:
    env, seen = GymTextEnv(), {}
    for split in ("train", "held_out", "unseen"):
        tasks = env.tasks(split)[:100]
        seen[split] = {env.beginning(split, task.payload["seed"]) for task in tasks}
        assert len(seen[split]) > 85
    assert seen["train"].isdisjoint(seen["held_out"])
    assert all(map(is_held_out, seen["held_out"]))
    env.reset(options={"task": "unseen-00003", "split": "unseen"})
    assert env.inner.desc.shape == (7, 7)
    assert env.tasks("test") == ()


def test_a_game_that_always_begins_alike_has_one_task() -> None:
    env = GymTextEnv(game="CliffWalking-v1")
    assert [len(env.tasks(s)) for s in ("train", "held_out", "unseen")] == [1, 0, 0]
    with pytest.raises(sayso.envs.base.UnknownNameError, match="always begins alike"):
        env.reset(options={"split": "held_out"})


def test_chance_follows_the_seed_of_reset_and_the_beginning_the_task() -> None:
    env = GymTextEnv(kwargs={"is_slippery": True})
    ways = {}
    for seed in range(6):
        shown, _ = env.reset(seed=seed, options={"task": "train-00001"})
        ways.setdefault(shown, []).append([env.step("down")[0] for _ in range(2)])
    assert len(ways) == 1
    (found,) = ways.values()
    assert any(way != found[0] for way in found)


@pytest.mark.parametrize("game", ["FrozenLake-v1", "CliffWalking-v1"])
def test_the_planner_beats_random_by_far(game: str) -> None:
    found = bounds(GymTextEnv(game=game), split="train", num_games=40)
    assert found["optimal"].mean == {"FrozenLake-v1": 1.0, "CliffWalking-v1": -13.0}[game]
    assert found["random"].high < found["optimal"].mean - 0.5


def test_a_game_is_played_alike_with_the_same_seed() -> None:
    env = GymTextEnv(game="Blackjack-v1")
    task, act = env.tasks("train")[3], env.scripted["random"].act
    assert play(env, task, act, seed=4) == play(env, task, act, seed=4)


def test_every_toy_of_ours_names_each_action_once() -> None:
    for name, toy in TOYS.items():
        (game,) = [g for g in gymnasium.registry if g.startswith(f"{name}-v")][-1:]
        assert GymTextEnv(game=game).actions == toy.actions


@pytest.mark.slow
@pytest.mark.parametrize("game", ["FrozenLake-v1", "Taxi", "CliffWalking-v1", "Blackjack-v1"])
def test_the_toys_keep_the_contract_with_two_hundred_seeds(game: str) -> None:
    if game == "Taxi":
        game = "Taxi-v4" if "Taxi-v4" in gymnasium.registry else "Taxi-v3"
    report = check_text_env("sayso/Gym-v0", game=game, num_seeds=200)
    env = GymTextEnv(game=game)
    assert max(report.exploits.values()) <= env.unreadable  # all but nothing of what they say
