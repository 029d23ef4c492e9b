"""Reward to go and n-step targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sayso.credit.returns import n_step, reward_to_go

ONE_TURN_EACH = [True] * 4


def test_reward_to_go_literal() -> None:
    to_go = reward_to_go([1.0, 2.0, 3.0, 4.0], turn_ends=ONE_TURN_EACH, gamma_turn=0.5)
    assert to_go.tolist() == [1 + 1 + 0.75 + 0.5, 2 + 1.5 + 1, 3 + 2, 4]


def test_reward_to_go_at_gamma_zero_is_the_reward_itself() -> None:
    """A quotient of cumulative sums by powers of γ would divide by zero here."""
    rewards = [1.0, -2.0, 3.0, 4.0]
    to_go = reward_to_go(
        rewards, turn_ends=[False, False, True, True], gamma_token=0.0, gamma_turn=0.0,
        final_value=9.0,
    )  # fmt: skip
    assert to_go.tolist() == rewards


def test_reward_to_go_includes_the_discounted_final_value() -> None:
    assert reward_to_go(
        [1.0, 1.0], turn_ends=[True, True], gamma_turn=0.5, final_value=8.0
    ).tolist() == [3.5, 5.0]


def test_t13_n_step_near_the_end_discounts_by_the_steps_really_taken() -> None:
    """n = 3 with two steps left: r + γ r' + γ² · final, not γ³."""
    targets = n_step(
        [1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 30.0, 40.0], n=3, final_value=80.0,
        turn_ends=ONE_TURN_EACH, gamma_turn=0.5,
    )  # fmt: skip
    assert targets.tolist() == [
        1 + 0.5 * 2 + 0.25 * 3 + 0.125 * 40,
        2 + 0.5 * 3 + 0.25 * 4 + 0.125 * 80,
        3 + 0.5 * 4 + 0.25 * 80,
        4 + 0.5 * 80,
    ]


@given(seed=st.integers(0, 2**31), num=st.integers(1, 7), extra=st.integers(0, 3))
def test_t13_one_step_is_td_and_many_steps_are_monte_carlo(seed: int, num: int, extra: int) -> None:
    draw = np.random.default_rng(seed)
    rewards, values = draw.normal(size=(2, num))
    turn_ends = draw.random(num) < 0.5
    turn_ends[-1] = True
    options: dict[str, Any] = {
        "turn_ends": turn_ends, "gamma_token": 0.9, "gamma_turn": 0.6, "final_value": 0.4,
    }  # fmt: skip
    discount = np.where(turn_ends, 0.6, 0.9)
    td = rewards + discount * np.append(values[1:], 0.4)
    assert n_step(rewards, values, n=1, **options).tolist() == pytest.approx(td.tolist())
    assert n_step(rewards, values, n=num + extra, **options).tolist() == pytest.approx(
        reward_to_go(rewards, **options).tolist()
    )


def test_n_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        n_step([1.0], [1.0], n=0, final_value=0.0, turn_ends=[True])
