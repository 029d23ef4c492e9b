"""Exact values of TinyLang: the published table, in four backups."""

from __future__ import annotations

import pytest
from value_cases import exact, problem

from sayso.credit.backups import Action, expectile, value_iteration
from sayso.envs.tinylang_math import probability, reference, sequences, soft_optimum

Q_STAR = {1.0: ([0.9, 1.0, 0.1], 1.0), 0.9: ([0.729, 0.81, 0.1], 0.81)}
Q_REF = {1.0: ([0.237, 0.182, 0.1], 0.2068), 0.9: ([0.19737, 0.14742, 0.1], 0.172648)}
EXPECTILE = {0.7: 0.300382, 0.9: 0.509885, 0.99: 0.903081}


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_t1_the_best_that_can_follow(gamma: float) -> None:
    found, (action, state) = exact("max", gamma=gamma), Q_STAR[gamma]
    assert found.action[""] == pytest.approx(action, abs=1e-10)
    assert found.state[""] == pytest.approx(state, abs=1e-10)


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_t2_sarsa_is_the_expectile_at_a_half(gamma: float) -> None:
    found, (action, state) = exact("sarsa", gamma=gamma), Q_REF[gamma]
    assert found.action[""] == pytest.approx(action, abs=1e-10)
    assert found.state[""] == pytest.approx(state, abs=1e-10)
    half = exact("expectile", gamma=gamma, tau=0.5)
    for prefix, row in found.action.items():
        assert half.action[prefix] == pytest.approx(row, abs=1e-12)


def test_t2_sarsa_is_the_mean_of_returns() -> None:
    table, rewards = reference(), sequences()
    found = exact("sarsa")
    for number, letter in enumerate("abE"):
        those = {y: probability(table, y) for y in rewards if y.startswith(letter)}
        mean = sum(p * rewards[y] for y, p in those.items()) / sum(those.values())
        assert found.action[""][number] == pytest.approx(mean, abs=1e-12)


def test_t3_expectiles_rise_from_the_mean_to_the_best() -> None:
    best = exact("max")
    lower = exact("sarsa").state
    for tau, root in EXPECTILE.items():
        found = exact("expectile", tau=tau)
        assert found.state[""] == pytest.approx(root, abs=1e-6)
        for prefix, value in found.state.items():
            assert lower[prefix] <= value <= best.state[prefix]
        lower = found.state
    assert exact("expectile", tau=0.7).action[""][:2] == pytest.approx(
        [0.319166, 0.279519], abs=1e-6
    )
    assert exact("expectile", tau=0.99).action[""][:2] == pytest.approx(
        [0.834037, 0.90718], abs=1e-6
    )


@pytest.mark.parametrize("backup", ["sarsa", "expectile", "max", "soft"])
def test_t4_what_the_data_never_hold_changes_no_value(backup: str) -> None:
    table = problem()
    more = {
        prefix: [*actions, Action(probability=0.0, reward=100.0, to=None)]
        for prefix, actions in table.items()
    }
    options = {"backup": backup, "tau": 0.99, "beta": 0.1}
    assert value_iteration(more, **options).state == value_iteration(table, **options).state  # type: ignore[arg-type]


@pytest.mark.parametrize("beta", [0.5, 0.1])
def test_t5_the_soft_value_is_the_closed_form(beta: float) -> None:
    found = exact("soft", beta=beta)
    assert found.state[""] == pytest.approx(soft_optimum(reference(), beta).objective, abs=1e-10)
    if beta == 0.5:
        assert found.action[""] == pytest.approx([0.285472, 0.235147, 0.1], abs=1e-6)


def test_an_expectile_balances_what_lies_on_its_two_sides() -> None:
    values, weights = [-1.0, 1.0, 0.2, 5.0], [0.25, 0.25, 0.5, 0.0]
    for tau in (0.1, 0.5, 0.9, 0.999):
        found = expectile(values, weights, tau)
        above = sum(w * (x - found) for x, w in zip(values, weights, strict=True) if x > found)
        below = sum(w * (found - x) for x, w in zip(values, weights, strict=True) if x < found)
        assert tau * above == pytest.approx((1 - tau) * below, abs=1e-12)
    assert expectile(values, weights, 0.5) == pytest.approx(0.1)


def test_t22_the_expectile_of_returns_takes_luck_for_skill() -> None:
    """A coin of ±1 and 0.2 for sure: the best arm is worth 0.2, and its values say 0.18."""
    assert expectile([-1.0, 1.0, 0.2], [0.25, 0.25, 0.5], 0.9) == pytest.approx(0.70, abs=0.005)
    assert expectile([0.0, 0.2], [0.5, 0.5], 0.9) == pytest.approx(0.18, abs=1e-12)


def test_a_cycle_without_discount_is_refused() -> None:
    loop = {"here": [Action(probability=1.0, reward=1.0, to="here")]}
    with pytest.raises(ValueError, match="cycle"):
        value_iteration(loop, backup="sarsa", max_sweeps=50)
    decayed = {"here": [Action(probability=1.0, reward=1.0, to="here", discount=0.9)]}
    assert value_iteration(decayed, backup="max").state["here"] == pytest.approx(10.0)


@pytest.mark.parametrize("tau", [0.0, 1.0, -0.1])
def test_an_expectile_needs_a_level_between_0_and_1(tau: float) -> None:
    with pytest.raises(ValueError, match="tau"):
        expectile([1.0], [1.0], tau)
