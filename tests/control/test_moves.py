"""Directions, soft prompts and their closed forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from control_cases import letters_lm

from sayso.control import moves
from sayso.control.features import principal
from sayso.control.generate import Answer
from sayso.control.options import ControlOptions
from sayso.control.probes import Probe
from sayso.errors import OptionValueError
from sayso.sampling.decisions import Asked
from sayso.types import FinishReason

ASKED = Asked(context=(16, 1), observation=(16, 1), choices=(), seed=0, max_new_tokens=4)
ANSWER = Answer(ids=(2, 3), logprobs=(-1.0, -1.0), finish=FinishReason.LENGTH)


def planted(
    monkeypatch: pytest.MonkeyPatch, *, of_reward: bool = True
) -> tuple[np.ndarray, list[Probe]]:
    """Answers whose states lie along one axis as far as they earned, and far apart by prompt."""
    rng = np.random.default_rng(0)
    axis = rng.standard_normal(32)
    axis /= np.linalg.norm(axis)
    tasks = np.repeat(np.arange(16), 4)
    rewards = rng.standard_normal(64) + 5.0 * tasks
    own = rewards - 5.0 * tasks
    prompts = 30.0 * rng.standard_normal((16, 32))[tasks]
    states = np.outer(own, axis) + prompts + 0.05 * rng.standard_normal((64, 32))
    monkeypatch.setattr(moves, "layer_states", lambda *_, **__: states.astype(np.float32))
    probes = [
        Probe(asked=ASKED, answer=ANSWER, task=int(t), reward=float(r) if of_reward else 1.0)
        for t, r in zip(tasks, rewards, strict=True)
    ]
    return axis, probes


def test_the_first_direction_is_that_of_better_answers_to_the_same_prompt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    axis, probes = planted(monkeypatch)
    found = moves.find_directions(letters_lm(), ControlOptions(num_dims=3), probes)
    units = found / np.linalg.norm(found, axis=-1, keepdims=True)
    # 0.99 although prompts differ thirty times as much as answers, and rewards differ by prompt.
    assert float(units[0] @ axis) > 0.99
    np.testing.assert_allclose(units @ units.T, np.eye(3), atol=1e-5)


def test_equal_rewards_are_told_and_leave_principal_components(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    axis, probes = planted(monkeypatch, of_reward=False)
    found = moves.find_directions(letters_lm(), ControlOptions(num_dims=1), probes)
    assert abs(float(found[0] @ axis)) / np.linalg.norm(found[0]) > 0.99
    assert "no direction follows the reward" in caplog.text


def test_directions_are_as_long_as_states_on_average(monkeypatch: pytest.MonkeyPatch) -> None:
    _, probes = planted(monkeypatch)
    states = moves.layer_states(letters_lm(), 1, probes, of_answers=True)
    found = moves.find_directions(letters_lm(), ControlOptions(num_dims=2), probes)
    np.testing.assert_allclose(
        np.linalg.norm(found, axis=-1), np.linalg.norm(states, axis=-1).mean(), rtol=1e-5
    )


def test_layer_states_are_what_the_layer_puts_out() -> None:
    lm = letters_lm()
    probe = Probe(asked=ASKED, answer=ANSWER, task=0, reward=0.0)
    with torch.no_grad():
        output = lm.causal_lm(
            input_ids=torch.tensor([[16, 1, 2, 3]]), output_hidden_states=True
        ).hidden_states[1][0]  # fmt: skip
    ours = moves.layer_states(lm, 0, [probe], of_answers=True)[0]
    np.testing.assert_allclose(ours, output[2:].mean(0).numpy(), atol=1e-6)
    last = moves.layer_states(lm, 0, [probe], of_answers=False)[0]
    np.testing.assert_allclose(last, output[1].numpy(), atol=1e-6)


def test_a_steering_push_is_the_weighted_sum_times_the_strength() -> None:
    lm, options = letters_lm(), ControlOptions(strength=2.0)
    directions = np.zeros((2, lm.width), np.float32)
    directions[0, 0], directions[1, 5] = 1.0, 3.0
    push = moves.Steer(lm, options, directions).control(np.array([[0.5, -1.0]], np.float32)).push
    assert push is not None
    expected = torch.zeros(1, lm.width)
    expected[0, 0], expected[0, 5] = 1.0, -6.0
    torch.testing.assert_close(push, expected)


def test_soft_tokens_fill_a_ball_around_the_mean_embedding() -> None:
    lm, options = letters_lm(), ControlOptions(mode="prefix", num_dims=2, num_prefix=2, radius=0.5)
    space = moves.token_space(lm, 2)
    mean, axes = space["token_mean"], space["token_axes"]
    table = lm.causal_lm.get_input_embeddings().weight.detach().numpy()
    spread = np.sqrt(((table - table.mean(0)) ** 2).sum(-1).mean())
    np.testing.assert_allclose(axes @ axes.T, spread**2 * np.eye(2), atol=1e-5)
    soft = moves.Prefix(lm, options, mean, axes).control(
        np.array([[0.3, 0.4, 3.0, 4.0], [0.0, 0.0, 0.6, 0.8]], np.float32)
    ).prefix  # fmt: skip
    assert soft is not None
    away = np.linalg.norm(soft.numpy() - mean, axis=-1) / (0.5 * spread)
    # Inside the unit ball as far as the numbers say; outside on its surface; 0 at the mean.
    np.testing.assert_allclose(away, [[0.5, 1.0], [0.0, 1.0]], atol=1e-5)


def test_principal_components_are_whitened_and_too_few_probes_are_refused() -> None:
    rng = np.random.default_rng(0)
    points = (rng.standard_normal((200, 5)) * [9, 3, 1, 1, 1] + 4).astype(np.float32)
    found = principal(points, 2, what="test")
    coordinates = found(points)
    np.testing.assert_allclose(coordinates.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(coordinates.T), np.eye(2), atol=1e-3)
    assert abs(found.axes[0][0]) > 0.95
    with pytest.raises(OptionValueError, match="vary in 1 dimensions only, 2 are asked for"):
        principal(points[:2], 2, what="test")


def test_a_layer_that_is_not_there_is_refused() -> None:
    lm = letters_lm()
    assert moves.layer_of(lm, ControlOptions()) == 1
    with pytest.raises(OptionValueError, match="Use 0 to 1"):
        moves.layer_of(lm, replace(ControlOptions(), layer=2))
