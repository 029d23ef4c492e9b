"""Agents of numbers measured as policies over text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from control_cases import Chain, letters_controller, letters_lm

import sayso
from sayso.control.agent import SB3Agent, best_constant
from sayso.control.controller import Controller, controller
from sayso.control.env import LMControlEnv
from sayso.errors import OptionValueError


class Fixed:
    """An agent that always does the same, and keeps what it saw."""

    def __init__(self, moved: Controller, action: Any) -> None:
        self.action_space, self.action = moved.action_space, np.asarray(action)
        self.seen: list[np.ndarray] = []

    def predict(self, observation: np.ndarray, deterministic: bool = False) -> tuple[Any, None]:
        self.seen.append(observation)
        return np.stack([self.action] * len(observation)), None


def test_evaluate_takes_an_agent_and_pairs_with_any_other() -> None:
    from sayso.evaluation.evaluate import paired

    moved = letters_controller("steer", strength=2.0, num_dims=2)
    good = sayso.evaluate(
        SB3Agent(Fixed(moved, [1.0, 0.0]), moved), split="held_out", num_episodes=48
    )
    plain = sayso.evaluate(SB3Agent.uncontrolled(moved), split="held_out", num_episodes=48)
    assert good.returns.keys() == plain.returns.keys()
    assert paired(plain, good).low > 0


@pytest.mark.parametrize("mode", ["steer", "decode"])
def test_the_neutral_action_is_the_model_by_itself(mode: str) -> None:
    moved = letters_controller(mode)
    neutral = moved.neutral()
    found = SB3Agent.constant(moved, neutral).evaluate(num_episodes=12)
    plain = SB3Agent.uncontrolled(moved).evaluate(num_episodes=12)
    assert [s.action for s in found.samples] == [s.action for s in plain.samples]
    assert found.returns == plain.returns


def test_what_the_agent_sees_is_what_it_saw_while_it_learned() -> None:
    """Several turns: the evaluation's observations are the environment's."""
    moved = controller(letters_lm(), Chain(), "acts", num_acts=3, max_new_tokens=4)
    fixed = Fixed(moved, 0)
    SB3Agent(fixed, moved).evaluate(split="train", num_episodes=1)
    env = LMControlEnv(moved)
    seen, _ = env.reset(seed=0, options={"task": "train-0"})
    for turn in range(3):
        np.testing.assert_allclose(fixed.seen[turn][0], seen, atol=1e-5)
        seen, *_ = env.step(0)


def test_the_oracle_is_the_best_single_direction() -> None:
    moved = letters_controller("steer", strength=2.0, num_dims=2)
    action, report = best_constant(moved, num_episodes=24)
    assert sorted(np.abs(action).tolist()) == [0.0, 1.0]
    for other in ([1, 0], [-1, 0], [0, 1], [0, -1]):
        found = SB3Agent.constant(moved, np.array(other, np.float32))
        assert found.evaluate(split="train", num_episodes=24).mean.mean <= report.mean.mean
    with pytest.raises(OptionValueError, match="has no directions"):
        best_constant(letters_controller("candidates", num_candidates=2))


def test_an_agent_of_another_environment_is_refused() -> None:
    moved = letters_controller("steer", num_dims=2)
    with pytest.raises(OptionValueError, match="the agent's actions are"):
        SB3Agent(Fixed(letters_controller("steer", num_dims=3), [0, 0, 0]), moved)
    with pytest.raises(OptionValueError, match="no control environment"):
        SB3Agent(Fixed(moved, [0, 0]), Chain())


def test_predict_answers_a_text_as_evaluation_would() -> None:
    moved = letters_controller("steer", num_dims=2)
    agent = SB3Agent(Fixed(moved, [1.0, 0.0]), moved)
    assert agent.predict("ac", seed=1) == agent.predict("ac", seed=1)
    assert len({agent.predict("ac", seed=seed) for seed in range(6)}) > 1
    chosen = controller(letters_lm(), Chain(), "acts", num_acts=3, max_new_tokens=4)
    assert SB3Agent(Fixed(chosen, 1), chosen).predict("a", choices=("a", "po")) == "po"
