"""``sayso/LMControl-v0`` keeps Gymnasium's contract in every mode; the model stays as it is."""

from __future__ import annotations

import logging
from typing import Any

import gymnasium
import numpy as np
import pytest
from control_cases import Chain, letters_controller, letters_lm, letters_task
from gymnasium.utils.env_checker import check_env as gymnasium_check

import sayso
from sayso.control.controller import controller
from sayso.control.env import LMControlEnv
from sayso.control.fitting import weights_digest
from sayso.control.generate import Answer
from sayso.control.options import MODES, ControlOptions
from sayso.errors import EnvContractError, OptionValueError, UnknownOptionError
from sayso.types import FinishReason

SMALL: dict[str, dict[str, Any]] = {
    "steer": {"num_dims": 3, "strength": 2.0, "num_probes": 16},
    "prefix": {"num_dims": 3},
    "decode": {},
    "candidates": {"num_candidates": 3},
    "acts": {"num_acts": 3},
    "wolpertinger": {"num_candidates": 4, "num_dims": 2, "num_probes": 16},
}


def made(mode: str, **more: Any) -> gymnasium.Env[Any, Any]:
    """As a user makes one; acts need a task that lists some."""
    task = Chain() if mode == "acts" else letters_task()
    env: gymnasium.Env[Any, Any] = gymnasium.make(
        "sayso/LMControl-v0", lm=letters_lm(), task=task, mode=mode, max_new_tokens=6,
        **SMALL[mode], **more,
    )  # fmt: skip
    return env


@pytest.mark.parametrize("mode", MODES)
def test_gymnasiums_checker_passes(mode: str) -> None:
    gymnasium_check(made(mode).unwrapped, skip_render_check=True)


@pytest.mark.parametrize("mode", MODES)
def test_stable_baselines_checker_passes(mode: str) -> None:
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    checker.check_env(made(mode), warn=True, skip_render_check=True)


@pytest.mark.parametrize("observation", ["hidden", "pca"])
@pytest.mark.parametrize("mode", MODES)
def test_observations_lie_in_their_space(mode: str, observation: str) -> None:
    more = {"num_components": 3, "num_states": 8} if observation == "pca" else {}
    env = made(mode, observation=observation, **more)
    for seed in range(4):
        seen, _ = env.reset(seed=seed)
        is_over = False
        while not is_over:
            assert env.observation_space.contains(seen)
            seen, _, terminated, truncated, _ = env.step(env.action_space.sample())
            is_over = terminated or truncated


@pytest.mark.parametrize("mode", MODES)
def test_t26_a_seed_decides_every_token(mode: str) -> None:
    def played(env: gymnasium.Env[Any, Any], seed: int) -> list[str]:
        env.action_space.seed(7)
        texts = []
        env.reset(seed=seed)
        for _ in range(6):
            *_, terminated, truncated, info = env.step(env.action_space.sample())
            texts.append(info["text"])
            if terminated or truncated:
                env.reset()
        return texts

    first, again = made(mode), made(mode)
    assert played(first, 11) == played(first, 11) == played(again, 11)
    assert played(first, 12) != played(first, 11)


def test_t26_the_models_weights_stay_bit_for_bit() -> None:
    for mode in MODES:
        env = made(mode)
        lm = env.unwrapped.controller.lm  # type: ignore[attr-defined]
        flags = [p.requires_grad for p in lm.network.parameters()]
        before = weights_digest(letters_lm())
        env.reset(seed=0)
        env.step(env.action_space.sample())
        assert weights_digest(lm) == before
        assert [p.requires_grad for p in lm.network.parameters()] == flags
        assert not any(module._forward_hooks for module in lm.network.modules())


def test_a_changed_bit_changes_the_digest() -> None:
    lm = letters_lm()
    before = weights_digest(lm)
    lm.causal_lm.lm_head.weight.data[0, 0] += 1e-7
    assert weights_digest(lm) != before


def test_the_reward_is_the_tasks_and_info_tells_what_was_said() -> None:
    env = made("steer")
    _, info = env.reset(seed=3)
    assert info["prompt"] in {a + b for a in "abcdefghijklmnop" for b in "acegikmo"}
    seen, reward, terminated, truncated, info = env.step(np.zeros(3, np.float32))
    text = info["text"]
    assert reward == pytest.approx(sum(c in "abcd" for c in text) / max(len(text), 1))
    assert (terminated, truncated) == (True, False)
    assert not seen.any()
    assert env.unwrapped.render().endswith(text)  # type: ignore[union-attr]
    with pytest.raises(EnvContractError, match="Call reset first"):
        env.step(np.zeros(3, np.float32))


@pytest.mark.medium
def test_pushing_along_the_best_direction_earns_more_than_against_it() -> None:
    moved = letters_controller("steer", strength=2.0, num_dims=2)
    env = LMControlEnv(moved)

    def mean(action: list[float]) -> float:
        env.reset(seed=0)
        total = 0.0
        for _ in range(16):
            total += env.step(np.array(action, np.float32))[1]
            env.reset()
        return total / 16

    assert mean([1, 0]) > mean([0, 0]) + 0.05 > mean([-1, 0]) + 0.1


@pytest.mark.medium
def test_several_draws_are_averaged() -> None:
    single = LMControlEnv(letters_controller("steer", num_dims=1))
    several = LMControlEnv(letters_controller("steer", num_dims=1, num_draws=4))
    action = np.zeros(1, np.float32)
    one, four = [], []
    for seed in range(16):
        for env, found in ((single, one), (several, four)):
            env.reset(seed=seed)
            found.append(env.step(action)[1])
    assert np.var(four) < 0.6 * np.var(one)
    with pytest.raises(OptionValueError, match="more than one turn"):
        LMControlEnv(letters_lm(), Chain(), "steer", num_draws=2, directions="states", num_dims=1)


def test_a_cut_off_episode_shows_what_follows_and_an_ended_one_nothing() -> None:
    for end in ("truncated", "terminated"):
        env = LMControlEnv(letters_lm(), Chain(end=end), "acts", num_acts=3, max_new_tokens=4)
        env.reset(seed=0)
        flags = [env.step(0)[2:4] for _ in range(2)]
        assert flags == [(False, False)] * 2
        seen, _, terminated, truncated, _ = env.step(0)
        assert (terminated, truncated) == (end == "terminated", end == "truncated")
        assert seen.any() == (end == "truncated")


def test_a_turn_limit_of_ours_cuts_off() -> None:
    env = LMControlEnv(
        letters_lm(), Chain(end="terminated"), "acts", num_acts=3, max_new_tokens=4, max_turns=2
    )
    env.reset(seed=0)
    assert env.step(0)[2:4] == (False, False)
    assert env.step(0)[2:4] == (False, True)


def test_an_ungraded_turn_adds_nothing_and_an_ungraded_episode_is_refused() -> None:
    env = LMControlEnv(letters_lm(), Chain(graded=False), "acts", num_acts=3, max_new_tokens=4)
    env.reset(seed=0)
    assert env.step(0)[1] == env.step(0)[1] == 0.0
    with pytest.raises(EnvContractError, match="gave no reward in the whole episode"):
        env.step(0)


def test_a_broken_reward_stops_the_agent_instead_of_counting_zero() -> None:
    def broken(prompt: str, completion: str) -> float:
        return float("nan")

    task = sayso.PromptEnv(prompts=["a", "b", "c"], reward=broken)
    env = LMControlEnv(letters_lm(), task, "decode", max_new_tokens=4)
    env.reset(seed=0)
    with pytest.raises(EnvContractError, match="reward_not_finite"):
        env.step(env.action_space.sample())


def test_an_action_that_is_not_finite_is_refused() -> None:
    env = LMControlEnv(letters_lm(), letters_task(), "decode", max_new_tokens=4)
    env.reset(seed=0)
    with pytest.raises(EnvContractError, match="diverged"):
        env.step(np.full(4, np.nan, np.float32))


def test_a_first_prompt_without_room_is_refused_as_the_rollout_refuses_it() -> None:
    prompts = ["ab" * 100 + letter for letter in "abcd"]
    task = sayso.PromptEnv(prompts=prompts, reward=lambda prompt, completion: 0.0)
    env = LMControlEnv(letters_lm(), task, "decode", max_new_tokens=4)
    with pytest.raises(EnvContractError, match=r"202 tokens .* no room in a context of 128"):
        env.reset(seed=0)


def test_a_first_prompt_that_just_fits_is_posed_whole() -> None:
    task = sayso.PromptEnv(prompts=["a" * 126], reward=lambda prompt, completion: 0.0)
    asked = controller(letters_lm(), task, "decode", max_new_tokens=4).seat().begin(0)
    assert (len(asked.context), asked.max_new_tokens) == (127, 1)


def test_a_wanted_task_is_posed() -> None:
    env = LMControlEnv(letters_lm(), Chain(), "acts", num_acts=3, max_new_tokens=4)
    _, info = env.reset(seed=0, options={"task": "held_out-2", "split": "held_out"})
    assert (info["task"], info["prompt"]) == ("held_out-2", "c")


def test_directions_of_ones_own_are_taken() -> None:
    lm = letters_lm()
    own = np.eye(lm.width, dtype=np.float32)[:5]
    moved = controller(lm, letters_task(), "steer", fitted={"directions": own}, max_new_tokens=4)
    assert moved.action_space.shape == (5,)
    with pytest.raises(OptionValueError, match="rows of 32 numbers"):
        controller(lm, letters_task(), "steer", fitted={"directions": own[:, :7]})


def test_options_that_do_not_exist_or_count_are_refused() -> None:
    with pytest.raises(UnknownOptionError, match="Did you mean `num_dims`"):
        letters_controller("steer", num_dim=2)
    with pytest.raises(ValueError, match="num_candidates has no effect in mode 'steer'"):
        ControlOptions(num_candidates=3)
    with pytest.raises(OptionValueError, match="num_components has no effect"):
        letters_controller("steer", num_components=3)
    with pytest.raises(OptionValueError, match="knobs must be some of"):
        letters_controller("decode", knobs=("temperture",))
    with pytest.raises(OptionValueError, match="got 'stear'"):
        letters_controller("stear")


def test_a_default_replay_buffer_of_gigabytes_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        letters_controller("decode")
        assert "replay buffer" not in caplog.text
        letters_controller("candidates", num_candidates=8)  # 9 * 32 numbers: 2.3 GB
    assert "up to 2.3 GB" in caplog.text
    assert "sb3_defaults" in caplog.text


def test_episodes_of_one_seed_differ_from_each_other() -> None:
    env = made("decode")
    env.reset(seed=0)
    prompts = {env.reset()[1]["prompt"] for _ in range(8)}
    assert len(prompts) > 3


def test_turns_and_draws_have_numbers_of_their_own() -> None:
    moved = letters_controller("decode", num_draws=3)
    seat = moved.seat()
    asked = seat.begin(1)
    assert len({one.seed for one in seat.draws(asked)}) == 3
    chain = controller(letters_lm(), Chain(), "acts", num_acts=3, max_new_tokens=4).seat()
    first = chain.begin(1)
    following = chain.play([Answer(ids=(1,), logprobs=(0.0,), finish=FinishReason.STOP)]).asked
    assert following is not None
    assert following.seed != first.seed
    assert following.context[: len(first.context) + 1] == (*first.context, 1)
