"""An agent is measured with what it saw while it learned, or refused by name."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from control_cases import letters_controller
from gymnasium.wrappers import FlattenObservation, TimeLimit, TransformReward

from sayso.control.agent import SB3Agent
from sayso.control.controller import Controller
from sayso.control.env import LMControlEnv, make_vec
from sayso.errors import OptionValueError

pytest.importorskip("stable_baselines3")

MOVED: dict[str, Any] = {"strength": 2.0, "num_dims": 2, "num_probes": 16, "max_new_tokens": 4}


class Halved(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Numbers half as large: a wrapper that nobody here can know."""

    def observation(self, observation: Any) -> Any:
        return observation / 2


class Turned(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Changes actions without being an ``ActionWrapper``."""

    def step(self, action: Any) -> Any:
        return super().step(-action)


def ppo(env: Any) -> Any:
    from stable_baselines3 import PPO

    return PPO("MlpPolicy", env, n_steps=8, batch_size=8, seed=0)


def seen_by(agent: SB3Agent, moved: Controller) -> np.ndarray:
    assert agent._choose is not None
    return agent._choose(moved.look([moved.seat().begin(1)]))


def test_normalised_observations_are_normalised_for_the_measurement_too() -> None:
    from stable_baselines3.common.vec_env import VecNormalize

    moved = letters_controller("steer", **MOVED)
    env = VecNormalize(make_vec(4, moved))
    model = ppo(env)
    model.learn(32)
    raw = moved.look([moved.seat().begin(1)])[0].observation
    right, _ = model.predict(env.normalize_obs(raw)[None], deterministic=True)
    assert not np.allclose(right, model.predict(raw[None], deterministic=True)[0])
    np.testing.assert_array_equal(seen_by(SB3Agent(model), moved), right)
    np.testing.assert_array_equal(seen_by(SB3Agent(model, env), moved), right)
    np.testing.assert_array_equal(seen_by(SB3Agent(model, moved), moved), right)


def test_a_loaded_agent_takes_the_statistics_from_the_environment_given() -> None:
    from stable_baselines3.common.vec_env import VecNormalize

    moved = letters_controller("steer", **MOVED)
    env = VecNormalize(make_vec(4, moved))
    model = ppo(env)
    model.learn(32)
    model.env = None
    raw = moved.look([moved.seat().begin(1)])[0].observation
    right, _ = model.predict(env.normalize_obs(raw)[None], deterministic=True)
    np.testing.assert_array_equal(seen_by(SB3Agent(model, env), moved), right)


@pytest.mark.parametrize("wrap", [FlattenObservation, Halved, Turned])
def test_wrappers_that_change_what_is_seen_or_done_are_refused_by_name(wrap: Any) -> None:
    moved = letters_controller("steer", **MOVED)
    env = wrap(LMControlEnv(moved))
    model = ppo(env)
    with pytest.raises(OptionValueError, match=f"learned behind {type(env).__name__}"):
        SB3Agent(model)
    with pytest.raises(OptionValueError, match=type(env).__name__):
        SB3Agent(model, env)
    assert SB3Agent(model, moved).controller is moved  # on the caller's word


def test_a_vector_wrapper_that_is_not_known_is_refused_by_name() -> None:
    from stable_baselines3.common.vec_env import VecFrameStack

    moved = letters_controller("steer", **MOVED)
    model = ppo(VecFrameStack(make_vec(2, moved), 2))
    with pytest.raises(OptionValueError, match="learned behind VecFrameStack"):
        SB3Agent(model)


def test_wrappers_that_leave_both_alone_pass() -> None:
    moved = letters_controller("steer", **MOVED)
    made = TransformReward(TimeLimit(LMControlEnv(moved), 3), lambda reward: reward)
    assert SB3Agent(ppo(made)).controller is moved
    assert SB3Agent(ppo(make_vec(2, moved))).controller is moved


def test_an_agent_with_a_memory_of_its_own_is_refused() -> None:
    contrib = pytest.importorskip("sb3_contrib")
    moved = letters_controller("steer", **MOVED)
    model = contrib.RecurrentPPO("MlpLstmPolicy", make_vec(2, moved), n_steps=8, batch_size=16)
    with pytest.raises(OptionValueError, match="RecurrentPPO carries a state"):
        SB3Agent(model)


@pytest.mark.parametrize("name", ["PPO", "DQN"])
def test_draws_of_actions_follow_the_seeds_and_leave_the_generators_alone(name: str) -> None:
    import stable_baselines3
    import torch

    mode = "steer" if name == "PPO" else "candidates"
    options = MOVED if name == "PPO" else {"num_candidates": 4, "max_new_tokens": 4}
    moved = letters_controller(mode, **options)
    model = getattr(stable_baselines3, name)("MlpPolicy", make_vec(2, moved), seed=0)
    if name == "DQN":
        model.exploration_rate = 0.7
    agent = SB3Agent(model, deterministic=False)
    before = torch.get_rng_state().clone(), np.random.get_state()[2]  # noqa: NPY002  # SB3's own
    first, again = (agent.evaluate(num_episodes=8, seed=3) for _ in range(2))
    assert [s.action for s in first.samples] == [s.action for s in again.samples]
    assert first.returns == again.returns
    assert agent.evaluate(num_episodes=8, seed=4).returns != first.returns
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[2]  # noqa: NPY002
    scenes = moved.look([moved.seat().begin(seed) for seed in range(6)])
    assert agent._choose is not None
    together = agent._choose(scenes)
    alone = np.concatenate([agent._choose([one]) for one in scenes])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert len(np.unique(together, axis=0)) > 1
