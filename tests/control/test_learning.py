"""Stock agents learn to control a frozen model, and its weights stay as they are.

Two bars for each: more than the model by itself (the interval excludes 0), and a share of what the
best single direction gains.
"""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
import pytest
from control_cases import letters_controller, share_of_target
from gymnasium import spaces

from sayso.control.agent import SB3Agent, best_constant
from sayso.control.controller import Controller
from sayso.control.defaults import ALGORITHMS, algorithm_class, sb3_defaults
from sayso.control.env import make_vec
from sayso.control.fitting import weights_digest
from sayso.control.generate import Answer
from sayso.evaluation.evaluate import paired
from sayso.evaluation.report import EvalReport

pytest.importorskip("stable_baselines3")

BOXES = ("sac", "td3", "ddpg", "tqc", "ppo", "a2c")
SLOTS = ("dqn", "qrdqn", "maskable_ppo")
NUM_STEPS = {"ppo": 2048, "a2c": 3072, "maskable_ppo": 6144, "dqn": 1024, "qrdqn": 1536}


def controller_for(name: str) -> Controller:
    if name in SLOTS:
        return letters_controller("candidates", num_candidates=4, max_new_tokens=6)
    return letters_controller("steer", strength=2.0, num_dims=2, max_new_tokens=6)


def trained(name: str, moved: Controller, *, seed: int) -> SB3Agent:
    env = make_vec(16, moved)
    model = algorithm_class(name)("MlpPolicy", env, seed=seed, **sb3_defaults(name, env))
    model.learn(NUM_STEPS.get(name, 512), log_interval=None)
    return SB3Agent(model)


def measured(agent: SB3Agent) -> EvalReport:
    return agent.evaluate(split="held_out", num_episodes=96, seed=5)


def best_of_slots(moved: Controller) -> SB3Agent:
    """What a perfect agent would choose: the proposal with the largest share of the target."""

    def worth(answer: Answer) -> float:
        return share_of_target("", moved.lm.chat.text(answer.ids))

    def choose(scenes: Any) -> np.ndarray:
        return np.array([int(np.argmax([*map(worth, s.slate.answers)])) for s in scenes])

    return SB3Agent._chosen_by(moved, choose)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_beats_the_model_by_itself(name: str, seed: int) -> None:
    pytest.importorskip(ALGORITHMS[name][0])
    moved = controller_for(name)
    before = weights_digest(moved.lm)
    plain = measured(SB3Agent.uncontrolled(moved))
    if name in SLOTS:
        oracle = measured(best_of_slots(moved))
    else:
        action, _ = best_constant(moved, num_episodes=48)
        oracle = measured(SB3Agent.constant(moved, action))
    found = measured(trained(name, moved, seed=seed))
    gain = paired(plain, found)
    share = gain.mean / (oracle.mean.mean - plain.mean.mean)
    print(f"{name} seed {seed}: {plain.mean.mean:.3f} -> {found.mean.mean:.3f} {gain}, "
          f"oracle {oracle.mean.mean:.3f}, share {share:.2f}")  # fmt: skip
    assert gain.low > 0
    assert share > 0.5
    assert weights_digest(moved.lm) == before  # T-26


@pytest.mark.medium
def test_sac_reaches_most_of_the_oracles_gain() -> None:
    moved = controller_for("sac")
    plain = measured(SB3Agent.uncontrolled(moved))
    action, _ = best_constant(moved, num_episodes=32)
    oracle = measured(SB3Agent.constant(moved, action))
    assert oracle.mean.mean > plain.mean.mean + 0.15  # there is something to be had
    found = measured(trained("sac", moved, seed=0))
    assert paired(plain, found).low > 0
    assert found.mean.mean - plain.mean.mean > 0.7 * (oracle.mean.mean - plain.mean.mean)


class Bandit(gymnasium.Env[np.ndarray, np.ndarray]):
    """One state, reward −(a − a*)²/2: the optimum of maximum-entropy RL is N(a*, α)."""

    observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    best = 0.3

    def reset(
        self, *, seed: int | None = None, options: Any = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        reward = -((float(action[0]) - self.best) ** 2) / 2
        return np.zeros(1, np.float32), reward, True, False, {}


@pytest.mark.medium
def test_t25_sac_settles_at_a_normal_whose_variance_is_its_temperature() -> None:
    from stable_baselines3 import SAC

    temperature = 0.01
    model = SAC(
        "MlpPolicy", Bandit(), gamma=0.0, ent_coef=temperature, learning_rate=1e-3, seed=0,
        learning_starts=100, batch_size=128, buffer_size=5_000,
        policy_kwargs={"net_arch": [32, 32]},
    )  # fmt: skip
    model.learn(2_000, log_interval=None)
    zero = np.zeros((2_000, 1), np.float32)
    drawn = model.predict(zero, deterministic=False)[0][:, 0]
    assert abs(drawn.mean() - Bandit.best) < 0.05
    assert abs(drawn.std() - math.sqrt(temperature)) < 0.05


@pytest.mark.medium
def test_t25_td3_settles_at_the_best_action() -> None:
    from stable_baselines3 import TD3
    from stable_baselines3.common.noise import NormalActionNoise

    model = TD3(
        "MlpPolicy", Bandit(), gamma=0.0, learning_rate=1e-3, seed=0, learning_starts=100,
        batch_size=128, buffer_size=5_000, policy_kwargs={"net_arch": [32, 32]},
        action_noise=NormalActionNoise(np.zeros(1), np.full(1, 0.3)),
    )  # fmt: skip
    model.learn(2_000, log_interval=None)
    found = model.predict(np.zeros((1, 1), np.float32), deterministic=True)[0][0, 0]
    assert abs(found - Bandit.best) < 0.05
