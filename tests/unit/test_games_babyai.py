"""BabyAI in words: its rules, its bot, its splits, and what nonsense earns."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

import sayso
from sayso.envs.cut import is_held_out
from sayso.envs.games_babyai import WORDS, BabyAIEnv, make
from sayso.envs.games_view import view_of
from sayso.envs.scripted import bounds, play, play_many
from sayso.errors import EnvContractError, OptionValueError
from sayso.seeds import generator

pytest.importorskip("minigrid")
pytestmark = pytest.mark.medium
LEVELS = (
    "BabyAI-GoToObj-v0", "BabyAI-GoToLocal-v0", "BabyAI-PickupLoc-v0", "BabyAI-OpenDoor-v0",
    "BabyAI-PutNextLocal-v0", "BabyAI-UnlockLocal-v0", "BabyAI-GoToSeqS5R2-v0",
    "BabyAI-PickupDist-v0", "BabyAI-ActionObjDoor-v0", "BabyAI-FindObjS5-v0",
)  # fmt: skip


def contents(env: BabyAIEnv, split: str, count: int) -> set[str]:
    found = set()
    for task in env.tasks(split)[:count]:
        inner: Any = make(str(task.payload["level"]), 32).unwrapped
        inner.reset(seed=int(task.payload["seed"]))
        found.add(f"{inner.mission}\n{inner.pprint_grid()}")
    return found


def test_every_object_that_is_told_is_where_it_is_told_and_no_other_is() -> None:
    """Against MiniGrid's own geometry, not its encoding."""
    env, draws = BabyAIEnv(levels=("BabyAI-GoToLocal-v0",)), generator(0)
    for task in env.tasks("train")[:30]:
        env.reset(options={"task": task.id})
        for _ in range(6):
            inner = env.inner
            told = {
                (c.ahead, c.right): (c.kind, c.colour)
                for c in view_of(inner.gen_obs()["image"]).cells.values()
                if c.kind in ("ball", "box", "key", "door")
            }
            true = {}
            for x in range(inner.width):
                for y in range(inner.height):
                    thing, away = inner.grid.get(x, y), np.array([x, y]) - inner.agent_pos
                    if thing is not None and thing.type in ("ball", "box", "key", "door"):
                        ahead, right = int(away @ inner.dir_vec), int(away @ inner.right_vec)
                        if 0 <= ahead < 7 and abs(right) <= 3 and inner.in_view(x, y):
                            true[ahead, right] = (thing.type, thing.color)
            assert told.items() <= true.items()
            if (1, 0) in true:
                assert (1, 0) in told
            if env.step(env.choices[int(draws.integers(len(env.choices)))])[2]:
                break


def test_what_is_not_listed_changes_nothing_and_what_is_does() -> None:
    env = BabyAIEnv(levels=("BabyAI-UnlockLocal-v0", "BabyAI-PutNextLocal-v0"), max_turns=500)
    draws = generator(1)

    def state(inner: Any) -> Any:
        held = inner.carrying and (inner.carrying.type, inner.carrying.color)
        return inner.pprint_grid(), tuple(inner.agent_pos), inner.agent_dir, held

    for task in env.tasks("train")[:6]:
        env.reset(options={"task": task.id})
        for _ in range(30):
            choices, before = env.choices, state(env.inner)
            unlisted = [word for word in WORDS[:6] if word not in choices]
            for word in unlisted:
                env.inner.step(WORDS.index(word))  # behind the words' back: the view stays
                assert state(env.inner) == before, word
            if env.step(choices[int(draws.integers(len(choices)))])[2]:
                break
            assert state(env.inner) != before


def test_the_reward_is_minigrids_and_comes_with_the_end() -> None:
    env = BabyAIEnv()
    game = play(env, env.tasks("train")[0], env.scripted["bot"].act, seed=0)
    assert [move.reward for move in game.moves[:-1]] == [0.0] * (len(game.moves) - 1)
    assert game.moves[-1].reward == pytest.approx(1 - 0.9 * len(game.moves) / 32)
    assert game.terminated


@pytest.mark.parametrize(
    "text", ["", "go forward and turn left", "done", "toggle", "Success.", "🙂"]
)
def test_other_words_do_nothing_and_pass_the_time(text: str) -> None:
    env = BabyAIEnv(max_turns=5)
    env.reset(seed=3)
    before = env.inner.pprint_grid()
    for _ in range(4):
        told, reward, terminated, truncated, _ = env.step(text)
        assert told.startswith("There is no such action. Mission: ")
        assert (reward, terminated, truncated) == (-0.05, False, False)
    assert env.inner.pprint_grid() == before
    assert env.step(text)[1:4] == (-0.05, False, True)
    with pytest.raises(EnvContractError, match="no game is on"):
        env.step("turn left")


def test_mission_and_names_in_an_action_are_worth_nothing() -> None:
    env = BabyAIEnv()
    for trick in (lambda o: o, lambda o: o.split(".")[0], lambda o: "done"):
        for task in env.tasks("train")[:10]:
            shown, _ = env.reset(options={"task": task.id})
            for _ in range(3):
                shown, reward, *_ = env.step(trick(shown))
                assert reward == -0.05


@pytest.mark.parametrize("level", LEVELS)
def test_the_bot_solves_each_kind_of_level(level: str) -> None:
    env = BabyAIEnv(levels=(level,), unseen=(), max_turns=200)
    games = play_many(env, env.scripted["bot"].act, split="train", num_games=6, seed=0)
    assert all(game.return_ > 0.3 for game in games)


def test_the_bot_beats_random_by_far_on_every_split() -> None:
    for split in ("train", "held_out", "unseen"):
        found = bounds(BabyAIEnv(), split=split, num_games=60)
        assert found["bot"].mean > 0.8
        assert found["random"].high < 0.5
        assert found["forward"].high < 0.2


def test_splits_are_cut_by_room_and_mission() -> None:
    env = BabyAIEnv()
    seen = {split: contents(env, split, 150) for split in ("train", "held_out", "unseen")}
    assert all(len(found) > 145 for found in seen.values())
    assert seen["train"].isdisjoint(seen["held_out"])
    assert seen["unseen"].isdisjoint(seen["train"] | seen["held_out"])
    assert all(map(is_held_out, seen["held_out"]))
    assert {t.payload["level"] for t in env.tasks("unseen")[:20]} == {"BabyAI-GoToLocalS8N4-v0"}


def test_minigrids_own_games_have_no_bot_but_the_word_done() -> None:
    env = BabyAIEnv(levels=("MiniGrid-GoToDoor-5x5-v0",), unseen=("MiniGrid-Fetch-5x5-N2-v0",))
    assert "bot" not in env.scripted
    _, info = env.reset(seed=1)
    assert "done" in info["choices"]
    assert env.step("done")[2]


@pytest.mark.parametrize(
    "wrong",
    [
        {"levels": ()}, {"levels": ("FrozenLake-v1",)}, {"levels": ("BabyAI-NoSuch-v0",)},
        {"levels": ("BabyAI-GoToObj-v0",), "unseen": ("BabyAI-GoToObj-v0",)}, {"max_turns": 0},
        {"unreadable": 0.1},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionValueError, match="sayso/BabyAI-v0"):
        BabyAIEnv(**wrong)


def test_the_picture_is_the_view() -> None:
    env = BabyAIEnv()
    env.reset(seed=0)
    assert env.picture(tile=8).shape == (56, 56, 3)
    assert env.picture(tile=8).dtype == np.uint8


def test_every_level_of_babyai_can_be_entered_and_read() -> None:
    levels = [name for name in gymnasium.registry if name.startswith("BabyAI-")]
    assert len(levels) >= 90
    failed = {}
    for level in levels:
        env = BabyAIEnv(levels=(level,), unseen=())
        try:
            shown, info = env.reset(seed=0, options={"task": "train-00000"})
            env.step(info["choices"][0])
        except Exception as error:  # noqa: BLE001
            failed[level] = repr(error)
            continue
        assert shown.startswith("Mission: ")
    assert failed == {}


def test_it_keeps_the_contract_with_two_hundred_seeds() -> None:
    report = sayso.check_text_env("sayso/BabyAI-v0", num_seeds=200, max_turns=8)
    assert max(report.exploits.values()) == pytest.approx(-0.4)


def test_the_picture_comes_with_the_words_of_the_same_view() -> None:
    plain, seeing = BabyAIEnv(), BabyAIEnv(picture=True)
    task = plain.tasks("train")[0]
    assert plain.observation_space != seeing.observation_space
    told, _ = plain.reset(options={"task": task.id})
    shown, info = seeing.reset(options={"task": task.id})
    for _ in range(4):
        (message,) = shown
        assert message.parts() == (message.media[0], f"\n{told}")
        assert message.media[0].data.shape == (56, 56, 3)
        assert np.array_equal(message.media[0].data, seeing.picture())
        action = info["choices"][0]
        told = plain.step(action)[0]
        shown, _, ended, _, info = seeing.step(action)
        assert seeing.observation_space.contains(shown)
        if ended:
            break
    sayso.check_text_env("sayso/BabyAI-v0", num_seeds=2, exploits=False, picture=True)
