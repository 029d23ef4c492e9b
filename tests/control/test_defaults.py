"""Settings for agents to whom every step is dear."""

from __future__ import annotations

import logging

import pytest
from control_cases import Chain, letters_controller, letters_lm

from sayso.control.controller import controller, replay_bytes
from sayso.control.defaults import ALGORITHMS, BUFFER_BYTES, controller_of, sb3_defaults
from sayso.control.env import LMControlEnv, make_vec
from sayso.errors import OptionValueError

pytest.importorskip("stable_baselines3")


def test_one_turn_looks_at_nothing_ahead_and_several_do() -> None:
    bandit = letters_controller("decode")
    turns = controller(letters_lm(), Chain(), "acts", num_acts=3, max_new_tokens=4)
    assert sb3_defaults("sac", bandit)["gamma"] == 0.0
    assert sb3_defaults("ppo", bandit)["gamma"] == 0.0
    assert sb3_defaults("dqn", turns)["gamma"] == 0.99


def test_the_buffer_is_small_and_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    moved = letters_controller("decode")
    with caplog.at_level(logging.WARNING):
        found = sb3_defaults("sac", moved)
    assert found["buffer_size"] == 20_000
    assert "SAC: gamma=0, buffer_size=20000" in caplog.text
    assert "the default would take" in caplog.text
    wide = letters_controller("candidates", num_candidates=64)
    (width,) = wide.observation_space.shape
    assert replay_bytes(width, sb3_defaults("dqn", wide)["buffer_size"]) <= BUFFER_BYTES


def test_deterministic_actors_get_noise_and_soft_ones_a_fixed_entropy() -> None:
    moved = letters_controller("decode")
    assert sb3_defaults("td3", moved)["action_noise"] is not None
    assert "action_noise" not in sb3_defaults("sac", moved)
    assert sb3_defaults("sac", moved)["ent_coef"] == pytest.approx(0.02)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_takes_its_defaults_by_class_or_name(name: str) -> None:
    from sayso.control.defaults import algorithm_class

    pytest.importorskip(ALGORITHMS[name][0])
    mode = "candidates" if name in ("dqn", "qrdqn", "maskable_ppo") else "decode"
    env = make_vec(2, letters_controller(mode))
    made = algorithm_class(name)
    assert sb3_defaults(made, env).keys() == sb3_defaults(name, env).keys()
    made("MlpPolicy", env, **sb3_defaults(made, env))


def test_a_controller_is_found_under_wrappers() -> None:
    moved = letters_controller("decode")
    assert controller_of(LMControlEnv(moved)) is moved
    assert controller_of(make_vec(1, moved)) is moved
    with pytest.raises(OptionValueError, match="no control environment"):
        controller_of(Chain())
    with pytest.raises(OptionValueError, match="Use sac, td3"):
        sb3_defaults("sacc", moved)
