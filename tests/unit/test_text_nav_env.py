"""TextNav: its rules, its shortest plans against a search without rules of thumb, its splits."""

from __future__ import annotations

import re
from collections import deque
from pathlib import Path
from typing import Any

import pytest

import sayso
from sayso.envs.scripted import play, play_many
from sayso.envs.tasks import bucket
from sayso.envs.text_nav import TextNavEnv
from sayso.envs.text_nav_tasks import BOUND, NUM_TASKS, ROOMS, content_of, longest_way
from sayso.envs.text_nav_world import House
from sayso.errors import EnvContractError, OptionValueError
from sayso.stats.intervals import bounded_interval

PAGE = (Path(__file__).parents[2] / "docs/environments.md").read_text(encoding="utf-8")
CONTENT = {
    "links": [["hall", "north", "kitchen", ""], ["kitchen", "east", "attic", "red door"]],
    "objects": {"lamp": "kitchen", "cup": "hall"},
    "start": "hall",
    "goal": ["lamp", "attic"],
}
PLAN = ["go north", "take lamp", "open red door", "go east", "drop lamp"]


class OneHouse(TextNavEnv):
    """Poses the house above."""

    def tasks(self, split: str) -> list[sayso.Task]:
        return [sayso.Task(id="one", env="x", split=split, payload=CONTENT)] * (split == "train")


def walked(actions: list[str], **kwargs: Any) -> list[tuple[Any, ...]]:
    env = OneHouse(**kwargs)
    env.reset(options={"task": "one"})
    return [env.step(action) for action in actions]


def test_the_errand_earns_one_where_it_ends_and_nothing_before() -> None:
    steps = walked(PLAN)
    assert [s[1] for s in steps] == [0.0, 0.0, 0.0, 0.0, 1.0]
    assert [s[2] for s in steps] == [False, False, False, False, True]
    assert steps[-1][0] == "Success."
    assert House(CONTENT).shortest == len(PLAN)


def test_what_is_seen_with_full_and_with_partial_observation() -> None:
    full, partial = OneHouse(), OneHouse(observation="partial")
    assert full.reset(options={"task": "one"})[0] == (
        "You are in the hall. Exits: north to the kitchen. Here: cup. Bring the lamp to the attic. "
        "It lies in the kitchen."
    )
    assert partial.reset(options={"task": "one"})[0] == (
        "Bring the lamp to the attic. You are in the hall. Exits: north. Here: cup."
    )
    assert partial.step("go north")[0] == (
        "You are in the kitchen. Exits: south, east (red door, closed). Here: lamp."
    )
    assert [full.step(action)[0] for action in PLAN[:3]][-1] == (
        "You are in the kitchen. Exits: south to the hall, east to the attic (red door, open). "
        "You hold the lamp. Bring the lamp to the attic."
    )


@pytest.mark.parametrize(
    ("before", "action", "reply"),
    [
        ([], "go south", "There is no way."),
        (["go north"], "go east", "The red door is closed."),
        (["take cup", "go north"], "take lamp", "Your hand is full."),
        ([], "take lamp", "That cannot be done."),
        ([], "drop lamp", "That cannot be done."),
        (["go north", "open red door"], "open red door", "That cannot be done."),
        ([], "go north and take lamp", "That cannot be done."),
        ([], "go north\ntake lamp", "That cannot be done."),
        ([], "go north.", "That cannot be done."),
        ([], "I go north", "That cannot be done."),
        ([], "Success.", "That cannot be done."),
        ([], "", "That cannot be done."),
        ([], "go north " * 20_000, "That cannot be done."),
        ([], "gö nörth \ud800 🙂 东\x00", "That cannot be done."),
    ],
)
def test_what_cannot_be_done_is_answered_changes_nothing_and_costs_a_turn(
    before: list[str], action: str, reply: str
) -> None:
    env = OneHouse(step_cost=0.01)
    _, info = env.reset(options={"task": "one"})
    for done in before:
        info = env.step(done)[4]
    state = env.position[1]
    text, reward, terminated, truncated, after = env.step(action)
    assert text.startswith(f"{reply} You are in")
    assert (reward, terminated, truncated) == (-0.01, False, False)
    assert env.position[1] == state
    assert after == info
    assert env.step("🙂")[3] is False
    left = [env.step("🙂")[3] for _ in range(13 - len(before))]
    assert left == [False] * (12 - len(before)) + [True]


def test_case_and_spaces_do_not_matter() -> None:
    assert walked(["  GO   North\n"])[0][0].startswith("You are in the kitchen.")


def test_every_choice_changes_something_and_nothing_else_does() -> None:
    verbs = ("go", "open", "take", "drop")
    for index in range(20):
        house = House(content_of("unseen", index))
        names = {"north", "south", "east", "west", *(thing for thing, _ in house.start.lying)}
        names |= {way.door for ways in house.exits.values() for way in ways.values()} - {""}
        env = TextNavEnv()
        _, info = env.reset(options={"task": f"unseen-{index:05d}", "split": "unseen"})
        for step in house.plan(house.start)[:-1]:
            before = env.position[1]
            for command in sorted(f"{verb} {name}" for verb in verbs for name in names):
                env._state, env._num_turns = before, 0
                env.step(command)
                assert (env.position[1] != before) is (command in info["choices"]), command
            env._state = before
            info = env.step(step)[4]


def searched(house: House) -> int:
    """Fewest commands, by a search that leaves nothing out."""
    queue, found = deque([(house.start, 0)]), {house.start}
    while queue:
        state, length = queue.popleft()
        if house.is_done(state):
            return length
        for command in house.admissible(state):
            there = house.after(state, command)
            if there not in found:
                found.add(there)
                queue.append((there, length + 1))
    raise AssertionError


@pytest.mark.parametrize("split", ["train", "unseen"])
def test_shortest_plans_are_those_of_a_search_that_leaves_nothing_out(split: str) -> None:
    contents = [content_of(split, index) for index in range(200)]
    small = [c for c in contents if longest_way(c) <= 9][:8]
    assert len(small) == 8
    for content in small:
        assert House(content).shortest == searched(House(content))


def test_the_oracle_recovers_from_whatever_was_done_before() -> None:
    house = House(CONTENT)
    state = house.start
    for command in ["take cup", "go north"]:
        state = house.after(state, command)
    assert len(house.plan(state)) == 1 + len(PLAN[1:])
    state = house.start
    for command in ["go north", "take lamp", "go south", "drop lamp", "take cup", "go north"]:
        state = house.after(state, command)
    assert len(house.plan(state)) == 7


@pytest.mark.parametrize("split", list(NUM_TASKS))
def test_two_hundred_houses_are_whole_and_their_errands_fit(split: str) -> None:
    for index in range(200):
        content = content_of(split, index)
        house = House(content)
        assert 3 <= house.shortest <= longest_way(content) <= BOUND[1]
        assert len(house.exits) == (14 if split == "unseen" else 10)
        assert set(house.exits) <= set(ROOMS)
        assert all(ways for ways in house.exits.values())
        thing, room = content["goal"]
        assert content["objects"][thing] != room


def test_splits_are_cut_by_content_and_unseen_houses_have_another_shape() -> None:
    assert all(bucket(content_of("train", i)) != 0 for i in range(300))
    assert all(bucket(content_of("held_out", i)) == 0 for i in range(300))
    env = TextNavEnv()
    hashes = {s: {t.content_hash for t in env.tasks(s)[:300]} for s in NUM_TASKS}
    assert [len(found) for found in hashes.values()] == [300, 300, 300]
    assert len(set.union(*hashes.values())) == 900
    assert env.tasks("test")[:] == []


def test_ids_are_found_and_strange_ones_are_not() -> None:
    tasks = TextNavEnv().tasks("held_out")
    assert tasks.index_of("held_out-00999") == 999
    for wrong in ("held_out-01000", "held_out-7", "train-00007", "held_out-²", "00007"):
        assert tasks.index_of(wrong) is None


def test_a_game_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    env = TextNavEnv()
    task, act = env.tasks("train")[0], env.scripted["random"].act
    one, two, other = (play(env, task, act, seed=seed) for seed in (1, 1, 2))
    assert one == two
    assert one.moves != other.moves


@pytest.mark.parametrize(
    "wrong",
    [
        {"observation": "some"}, {"max_turns": 11}, {"step_cost": -0.1},
        {"step_cost": float("nan")},
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionValueError, match="sayso/TextNav-v0"):
        TextNavEnv(**wrong)


def test_a_step_before_the_first_reset_is_refused() -> None:
    with pytest.raises(EnvContractError, match="came before reset"):
        TextNavEnv().step("go north")


@pytest.mark.medium
@pytest.mark.parametrize("observation", ["full", "partial"])
def test_it_keeps_the_contract_with_two_hundred_seeds(observation: str) -> None:
    report = sayso.check_text_env(
        "sayso/TextNav-v0", num_seeds=200, observation=observation, step_cost=0.01
    )
    assert max(report.exploits.values()) < -0.1


def test_the_shortest_player_always_arrives_in_as_many_turns_as_it_must() -> None:
    env = TextNavEnv()
    for game in play_many(env, env.scripted["shortest"].act, split="unseen", num_games=50, seed=0):
        assert game.return_ == 1.0
        assert game.terminated
        assert len(game.moves) == House(game.task.payload).shortest


@pytest.mark.medium
@pytest.mark.parametrize("player", ["shortest", "mixture", "random"])
def test_the_pages_bounds_are_those_of_its_line(player: str) -> None:
    env = TextNavEnv()
    row = rf"^\| `TextNav` \| `{player}` \| (.*?) \| (.*?) \| (.*?) \|$"
    (told,) = re.findall(row, PAGE, re.MULTILINE)
    for split, interval in zip(NUM_TASKS, told, strict=True):
        games = play_many(env, env.scripted[player].act, split=split, num_games=1000, seed=0)
        assert interval == str(bounded_interval([game.return_ for game in games], 0.0, 1.0))
