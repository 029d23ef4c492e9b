"""Many environments in one generation: the same episodes, and Stable-Baselines3's own semantics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from control_cases import Chain, letters_controller, letters_lm

from sayso.control.controller import Controller, controller
from sayso.control.env import LMControlEnv, make_vec

pytest.importorskip("stable_baselines3")


def chain(end: str) -> Controller:
    return controller(letters_lm(), Chain(end=end), "acts", num_acts=3, max_new_tokens=4)


def moved_by(mode: str) -> Controller:
    if mode == "acts":
        return chain("truncated")
    return letters_controller(mode, max_new_tokens=6)


@pytest.mark.parametrize("mode", ["steer", "prefix", "decode", "candidates", "wolpertinger"])
def test_every_row_is_the_environment_by_itself(mode: str) -> None:
    moved = moved_by(mode)
    vec, singles = make_vec(3, moved), [LMControlEnv(moved) for _ in range(3)]
    vec.seed(20)
    moved.action_space.seed(1)
    seen = vec.reset()
    for place, env in enumerate(singles):
        np.testing.assert_allclose(seen[place], env.reset(seed=20 + place)[0], atol=1e-5)
    for _ in range(3):
        actions = np.stack([moved.action_space.sample() for _ in range(3)])
        seen, rewards, dones, infos = vec.step(actions)
        for place, env in enumerate(singles):
            _, reward, terminated, truncated, info = env.step(actions[place])
            assert info["text"] == infos[place]["text"]
            assert (rewards[place], dones[place]) == (np.float32(reward), terminated or truncated)
            np.testing.assert_allclose(seen[place], env.reset()[0], atol=1e-5)


def test_t12_a_cut_off_is_marked_and_shows_its_last_observation_and_an_end_is_not() -> None:
    for end in ("truncated", "terminated"):
        moved = chain(end)
        vec, single = make_vec(1, moved), LMControlEnv(moved)
        vec.seed(4)
        vec.reset()
        single.reset(seed=4)
        for turn in range(3):
            seen, _, dones, infos = vec.step(np.array([0]))
            last, *_ = single.step(0)
            assert dones[0] == (turn == 2)
            assert infos[0]["TimeLimit.truncated"] == (turn == 2 and end == "truncated")
            if turn < 2:
                assert "terminal_observation" not in infos[0]
                np.testing.assert_allclose(seen[0], last, atol=1e-5)
        np.testing.assert_allclose(infos[0]["terminal_observation"], last, atol=1e-5)
        np.testing.assert_allclose(seen[0], single.reset()[0], atol=1e-5)
        assert infos[0]["episode"]["l"] == 3


def test_seats_that_end_at_other_times_do_not_mix() -> None:
    """One seat is a turn ahead of its neighbour: what each sees is still its own."""
    moved = chain("truncated")
    vec, singles = make_vec(2, moved), [LMControlEnv(moved) for _ in range(2)]
    vec.seed(30)
    vec.reset()
    for place, env in enumerate(singles):
        env.reset(seed=30 + place)
    inner = vec.venv
    inner._seats[0].max_turns = 2  # this one ends earlier than its neighbour
    singles[0]._seat.max_turns = 2
    for _ in range(7):
        seen, _, dones, infos = vec.step(np.array([1, 1]))
        for place, env in enumerate(singles):
            last, _, terminated, truncated, info = env.step(1)
            assert info["text"] == infos[place]["text"]
            assert dones[place] == (terminated or truncated)
            expected = env.reset()[0] if dones[place] else last
            np.testing.assert_allclose(seen[place], expected, atol=1e-5)
            if dones[place]:
                np.testing.assert_allclose(infos[place]["terminal_observation"], last, atol=1e-5)


def test_masks_are_each_seats_own_and_only_where_actions_are_slots() -> None:
    masks = pytest.importorskip("sb3_contrib.common.maskable.utils")
    vec = make_vec(2, chain("truncated"))
    vec.reset()
    assert masks.is_masking_supported(vec)
    assert masks.get_action_masks(vec).tolist() == [[True, True, False]] * 2
    vec.step(np.array([0, 0]))
    assert masks.get_action_masks(vec).tolist() == [[True, True, True]] * 2
    assert not masks.is_masking_supported(make_vec(1, moved_by("decode")))


def test_environments_without_a_seed_play_different_episodes() -> None:
    vec = make_vec(6, moved_by("decode"))
    seen: Any = vec.reset()
    assert len({row.tobytes() for row in seen}) > 2


def test_what_was_played_is_what_the_buffer_remembers() -> None:
    from sayso.control.replay import ExecutedReplayBuffer

    moved = letters_controller("wolpertinger", num_dims=2, num_candidates=4)
    vec = make_vec(2, moved)
    seen = vec.reset()
    actions = np.full((2, 2), 0.9, np.float32)
    following, rewards, dones, infos = vec.step(actions)
    buffer = ExecutedReplayBuffer(10, vec.observation_space, vec.action_space, n_envs=2)
    buffer.add(seen, following, actions, rewards, dones, infos)
    for place in range(2):
        np.testing.assert_allclose(buffer.actions[0, place], infos[place]["executed_action"])
        assert not np.allclose(buffer.actions[0, place], 0.9)
