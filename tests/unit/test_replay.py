"""Replay: what is remembered, how it is drawn, that it comes back bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sayso.data.options import ReplayOptions
from sayso.data.replay import Replay
from sayso.types import EndReason, Episode, Task, Turn


def episode(number: int, *, reward: float = 0.0, version: int = 0) -> Episode:
    turn = Turn(observation_ids=(1,), action_ids=(number,), action_logprobs=(-0.5,), reward=reward)
    return Episode(
        task=Task(id=f"t{number}", env="hand", split="train"), sample_index=0,
        policy_version=version, turns=(turn,), end=EndReason.TERMINATED,
    )  # fmt: skip


def numbers(replay: Replay) -> list[int]:
    return [e.turns[0].action_ids[0] for e in replay.episodes]


def test_the_oldest_is_forgotten_first() -> None:
    replay = Replay(ReplayOptions(capacity=3))
    replay.push([episode(i) for i in range(5)])
    assert numbers(replay) == [2, 3, 4]
    assert replay.num_seen == 5


def test_uniform_draws_are_uniform_also_after_the_ring_has_turned() -> None:
    replay = Replay(ReplayOptions(capacity=4))
    replay.push([episode(i) for i in range(7)])
    drawn = replay.draw(40_000, seed=3)
    counts = np.bincount([e.turns[0].action_ids[0] for e in drawn.episodes], minlength=7)
    assert counts[:3].sum() == 0
    expected = 10_000
    chi2 = float(((counts[3:] - expected) ** 2 / expected).sum())
    assert chi2 < 16.3  # p = .001 at 3 degrees of freedom
    assert (drawn.weights == 1).all()


def test_half_of_a_stratified_draw_are_successes() -> None:
    replay = Replay(ReplayOptions(capacity=100, sampling="success", success_quantile=0.9))
    replay.push([episode(i, reward=float(i == 7)) for i in range(10)])
    drawn = replay.draw(20_000, seed=0)
    share = np.mean([e.return_ == 1 for e in drawn.episodes])
    assert share == pytest.approx(0.5, abs=3 * 0.5 / np.sqrt(20_000))


def test_t20_prioritised_weights_make_the_mean_unbiased() -> None:
    """Σ P_i w_i g_i is proportional to the plain mean at importance 1, exactly."""
    replay = Replay(ReplayOptions(capacity=8, sampling="prioritised", importance=1.0, alpha=0.7))
    replay.push([episode(i) for i in range(8)])
    replay.note_errors(list(range(8)), [0.1, 2.0, 0.5, 3.0, 1.0, 0.2, 0.9, 4.0])
    serials = list(range(8))
    chances = replay._chances(serials)
    drawn = replay.draw(200_000, seed=1)
    counts = np.bincount(drawn.serials, minlength=8)
    assert float(((counts - 200_000 * chances) ** 2 / (200_000 * chances)).sum()) < 24.3  # p = .001
    weight_of = dict(zip(drawn.serials, drawn.weights, strict=True))
    products = [chances[s] * weight_of[s] for s in serials]
    assert np.ptp(products) < 1e-12
    assert max(weight_of.values()) == pytest.approx(1)


def test_new_episodes_are_drawn_before_their_errors_are_known() -> None:
    replay = Replay(ReplayOptions(capacity=10, sampling="prioritised"))
    replay.push([episode(0)])
    replay.note_errors([0], [5.0])
    replay.push([episode(1)])
    assert replay._chances([0, 1]).tolist() == pytest.approx([0.5, 0.5])


def test_stale_episodes_are_not_drawn() -> None:
    replay = Replay(ReplayOptions(capacity=10, max_age=3))
    replay.push([episode(0, version=0), episode(1, version=5)])
    assert set(replay.draw(100, seed=0, version=6).serials) == {1}
    with pytest.raises(ValueError, match="none young enough"):
        replay.draw(1, seed=0, version=20)


@pytest.mark.parametrize("sampling", ["uniform", "success", "prioritised"])
def test_it_comes_back_bit_for_bit(sampling: str) -> None:
    options = ReplayOptions(capacity=5, sampling=sampling)  # type: ignore[arg-type]
    replay = Replay(options)
    replay.push([episode(i, reward=i / 3) for i in range(9)])
    replay.note_errors([6, 7], [1 / 3, 2 / 7])
    again = Replay(options)
    again.load_tensors(replay.state_tensors(), num_seen=replay.num_seen)
    assert again.episodes == replay.episodes
    assert again.draw(50, seed=9).serials == replay.draw(50, seed=9).serials
    for one in (replay, again):
        one.push([episode(20)])
    first, second = replay.state_tensors(), again.state_tensors()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_an_empty_memory_comes_back_too() -> None:
    again = Replay(ReplayOptions())
    again.load_tensors(Replay(ReplayOptions()).state_tensors(), num_seen=0)
    assert len(again) == 0


def test_an_error_that_is_not_finite_is_refused() -> None:
    replay = Replay(ReplayOptions())
    replay.push([episode(0)])
    with pytest.raises(ValueError, match="not finite"):
        replay.note_errors([0], [float("nan")])
