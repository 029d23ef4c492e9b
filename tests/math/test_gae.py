"""GAE: three endings, observations, off-by-one, discounts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sayso.credit.gae import gae
from sayso.credit.returns import n_step, reward_to_go


def ends(*lengths: int) -> list[bool]:
    """Turn ends of an episode whose turns have these many action tokens."""
    return [index == length - 1 for length in lengths for index in range(length)]


def test_row_20_literal_two_turns() -> None:
    """Turns of two and one token, γ_token = 1/2, γ_turn = 1/4, λ = 1/2, by hand."""
    credit = gae(
        [0.0, 1.0, 2.0], [1.0, 2.0, 4.0], final_value=8.0, turn_ends=ends(2, 1),
        gamma_token=0.5, gamma_turn=0.25, lam=0.5,
    )  # fmt: skip
    third = 2 + 0.25 * 8 - 4
    second = (1 + 0.25 * 4 - 2) + 0.25 * 0.5 * third
    first = (0 + 0.5 * 2 - 1) + 0.5 * 0.5 * second
    assert credit.advantages.tolist() == [first, second, third]
    assert credit.returns.tolist() == [first + 1, second + 2, third + 4]
    credit = gae([0.0, 1.0, 3.0], [1.0, 2.5, 4.0], final_value=8.0, turn_ends=ends(2, 1),
                 gamma_token=0.5, gamma_turn=0.25, lam=0.5)  # fmt: skip
    assert credit.advantages.tolist() == pytest.approx([0.25 - 0.25 * 0.375, -0.375, 1.0])


@given(
    turns=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    inserted=st.lists(st.integers(0, 9), min_size=4, max_size=4),
    seed=st.integers(0, 2**31),
    lam=st.sampled_from([0.0, 0.3, 0.95, 1.0]),
)
def test_row_20_and_t15_inserting_observation_tokens_changes_no_advantage(
    turns: list[int], inserted: list[int], seed: int, lam: float
) -> None:
    """From a token stream to credit: values at observation positions are noise and never matter."""
    draw = np.random.default_rng(seed)
    num = sum(turns)
    rewards, values = draw.normal(size=(2, num))
    turn_ends = ends(*turns)
    options: dict[str, Any] = {"gamma_token": 0.99, "gamma_turn": 0.9, "final_value": 0.7}

    def stream(gaps: list[int]) -> tuple[np.ndarray, ...]:
        is_action, value, reward, end = [], [], [], []
        token = 0
        for gap, length in zip(gaps, turns, strict=False):
            for _ in range(gap):
                is_action.append(False)
                value.append(draw.normal() * 100)
                reward.append(math.nan)
                end.append(False)
            for _ in range(length):
                is_action.append(True)
                value.append(values[token])
                reward.append(rewards[token])
                end.append(turn_ends[token])
                token += 1
        mask = np.array(is_action)
        return np.array(reward)[mask], np.array(value)[mask], np.array(end)[mask]

    short, long = stream([1, 1, 1, 1]), stream([1 + extra for extra in inserted])
    expected = gae(short[0], short[1], turn_ends=short[2], lam=lam, **options)
    actual = gae(long[0], long[1], turn_ends=long[2], lam=lam, **options)
    assert actual.advantages.tolist() == expected.advantages.tolist()
    direct = gae(rewards, values, turn_ends=turn_ends, lam=lam, **options)
    assert direct.returns.tolist() == expected.returns.tolist()


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_row_21_truncated_and_terminated_differ_by_exactly_the_discounted_value(
    lam: float,
) -> None:
    """At distance k from the end by (γλ)^k · γ V(s_T); at the end by exactly γ V(s_T)."""
    rewards, values, value = [0.5, 0.25, 1.0], [1.0, 2.0, 3.0], 4.0
    options: dict[str, Any] = {"turn_ends": ends(1, 1, 1), "gamma_turn": 0.5, "lam": lam}
    terminated = gae(rewards, values, final_value=0.0, **options)
    truncated = gae(rewards, values, final_value=value, **options)
    difference = (truncated.advantages - terminated.advantages).tolist()
    assert difference == [(0.5 * lam) ** k * 0.5 * value for k in (2, 1, 0)]
    assert (truncated.returns - terminated.returns).tolist() == difference


def test_row_22_one_step_td_error_is_zero_at_every_step_of_a_known_chain() -> None:
    """Rewards 1, 2, 3 and γ = 1/2: V = 2.75, 3.5, 3."""
    rewards, values = [1.0, 2.0, 3.0], [2.75, 3.5, 3.0]
    options: dict[str, Any] = {"final_value": 0.0, "turn_ends": ends(1, 1, 1), "gamma_turn": 0.5}
    for lam in (0.0, 0.5, 1.0):
        credit = gae(rewards, values, lam=lam, **options)
        assert credit.advantages.tolist() == [0.0, 0.0, 0.0]
        assert credit.returns.tolist() == values
    assert n_step(rewards, values, n=1, **options).tolist() == values


def test_t12_truncation_bootstraps_and_termination_does_not() -> None:
    """Reward 1 for ever is worth 10 at γ = 0.9; five steps taken for the whole, 4.0951."""
    for num_tokens, options in [
        (5, {"turn_ends": ends(1, 1, 1, 1, 1), "gamma_turn": 0.9}),
        (5, {"turn_ends": ends(5), "gamma_token": 0.9, "gamma_turn": 0.9}),
    ]:
        arguments: dict[str, Any] = options
        rewards, values = [1.0] * num_tokens, [10.0] * num_tokens
        truncated = gae(rewards, values, final_value=10.0, lam=1.0, **arguments)
        terminated = gae(rewards, values, final_value=0.0, lam=1.0, **arguments)
        assert truncated.returns[0] == pytest.approx(10.0, abs=1e-12)
        assert terminated.returns[0] == pytest.approx(4.0951, abs=1e-12)
        assert reward_to_go(rewards, final_value=10.0, **arguments)[0] == pytest.approx(10.0)
        assert reward_to_go(rewards, **arguments)[0] == pytest.approx(4.0951, abs=1e-12)


def test_token_discount_acts_inside_turns_and_turn_discount_between_them() -> None:
    rewards = [0.0, 0.0, 0.0, 1.0]
    to_go = reward_to_go(rewards, turn_ends=ends(2, 2), gamma_token=0.5, gamma_turn=0.1)
    assert to_go.tolist() == pytest.approx([0.025, 0.05, 0.5, 1.0])
    only_turns = reward_to_go(rewards, turn_ends=ends(2, 2), gamma_turn=0.1)
    assert only_turns.tolist() == pytest.approx([0.1, 0.1, 1.0, 1.0])


@given(seed=st.integers(0, 2**31), num=st.integers(1, 8), gamma=st.floats(0, 1))
def test_lambda_one_returns_are_reward_to_go_whatever_the_critic_says(
    seed: int, num: int, gamma: float
) -> None:
    rewards, values = np.random.default_rng(seed).normal(size=(2, num))
    options: dict[str, Any] = {"turn_ends": ends(num), "gamma_token": gamma, "final_value": 0.3}
    credit = gae(rewards, values, lam=1.0, **options)
    assert credit.returns.tolist() == pytest.approx(reward_to_go(rewards, **options).tolist())
    assert credit.advantages.tolist() == pytest.approx((credit.returns - values).tolist())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": [1.0]}, "values has 1 entries, but there are 2 action tokens"),
        ({"rewards": [1.0]}, "rewards has 1 entries"),
        ({"rewards": [0.0, None]}, "rewards: entry 1 is None"),
        ({"values": [math.nan, 0.0]}, "values: entry 0 is nan"),
        ({"final_value": math.inf}, "final_value: entry 0 is inf"),
        ({"final_value": None}, "final_value: entry 0 is None"),
        ({"turn_ends": [True, False]}, "turn_ends must be a list that ends in True"),
        ({"turn_ends": []}, "turn_ends must be a list that ends in True"),
        ({"gamma_turn": 1.1}, r"gamma_turn must be in \[0, 1\], got 1\.1"),
        ({"gamma_token": -0.1}, r"gamma_token must be in \[0, 1\], got -0\.1"),
        ({"lam": 1.5}, r"lam must be in \[0, 1\], got 1\.5"),
    ],
)
def test_row_33_input_that_cannot_be_credited_is_refused(
    change: dict[str, Any], message: str
) -> None:
    arguments: dict[str, Any] = {
        "rewards": [0.0, 1.0], "values": [0.0, 0.0], "final_value": 0.0, "turn_ends": ends(2),
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        gae(**(arguments | change))
