"""What holds for every loss: splits, masks, NaN, huge ratios, metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sayso.losses.entropy import entropy_bonus
from sayso.losses.kl import kl_loss
from sayso.losses.loss import Loss, where_action
from sayso.losses.policy_gradient import (
    cispo,
    clipped_surrogate,
    reinforce,
    sequence_clipped_surrogate,
)
from sayso.losses.soft_q import soft_bellman, soft_trajectory
from sayso.losses.value import value_loss
from sayso.metrics import merge


@dataclass(frozen=True, kw_only=True)
class Row:
    """Every input that some loss takes, for n tokens; several sequences one after the other."""

    logprob: Tensor
    sampled: Tensor
    ref: Tensor
    advantage: Tensor
    weight: Tensor
    value: Tensor
    before: Tensor
    target: Tensor
    entropy: Tensor
    is_action: Tensor
    sequence: Tensor

    def cut(self, start: int, stop: int) -> Row:
        return Row(**{f.name: getattr(self, f.name)[start:stop] for f in fields(self)})

    def at(self, index: Tensor) -> Row:
        return Row(**{f.name: getattr(self, f.name)[index] for f in fields(self)})


def per_sequence(r: Row, values: Tensor) -> Tensor:
    """One number per sequence, from its action tokens."""
    _, place = r.sequence.unique(return_inverse=True)
    live = where_action(values.detach(), r.is_action)
    return live.new_zeros(int(place.max()) + 1).index_add(0, place, live)


LossOf = Callable[[Row, float], Loss]
LOSSES: dict[str, LossOf] = {
    "reinforce": lambda r, n: reinforce(
        r.logprob, r.advantage, r.is_action, num_in_step=n, weight=r.weight
    ),
    "clipped_surrogate": lambda r, n: clipped_surrogate(
        r.logprob, r.sampled, r.advantage, r.is_action,
        clip_low=0.2, clip_high=0.3, dual_clip=2.0, num_actions_in_step=n, weight=r.weight,
    ),
    "sequence_clipped_surrogate": lambda r, n: sequence_clipped_surrogate(
        r.logprob, r.sampled, r.advantage, r.is_action, sequence=r.sequence,
        clip_low=0.2, clip_high=0.3, num_episodes_in_step=n, weight=r.weight,
    ),
    "cispo": lambda r, n: cispo(
        r.logprob, r.sampled, r.advantage, r.is_action,
        clip_low=0.5, clip_high=0.3, num_actions_in_step=n, weight=r.weight,
    ),
    "value": lambda r, n: value_loss(
        r.value, r.target, r.is_action, num_actions_in_step=n, value_sampled=r.before, clip=0.2
    ),
    "value_unclipped": lambda r, n: value_loss(
        r.value, r.target, r.is_action, num_actions_in_step=n, weight=r.weight
    ),
    "kl_k2": lambda r, n: kl_loss(
        r.logprob, r.ref, r.is_action, estimator="k2", num_actions_in_step=n, weight=r.weight
    ),
    "kl_k3": lambda r, n: kl_loss(
        r.logprob, r.ref, r.is_action, estimator="k3", num_actions_in_step=n, weight=r.weight
    ),
    "entropy": lambda r, n: entropy_bonus(r.entropy, r.is_action, num_actions_in_step=n),
    "soft_bellman": lambda r, n: soft_bellman(
        r.logprob, r.ref, r.value.detach(), r.target, r.is_action, beta=0.3, num_in_step=n,
        weight=r.weight,
    ),
    "soft_bellman_value": lambda r, n: soft_bellman(
        r.logprob.detach(), r.ref, r.value, r.target, r.is_action, beta=0.3, num_in_step=n,
        weight=r.weight,
    ),
    "soft_trajectory": lambda r, n: soft_trajectory(
        r.logprob, r.ref, per_sequence(r, r.value), per_sequence(r, r.target), r.is_action,
        sequence=r.sequence.unique(return_inverse=True)[1], beta=0.3, num_in_step=n,
        weight=per_sequence(r, r.weight),
    ),
}  # fmt: skip
PPO_INPUTS = ("logprob", "sampled", "advantage", "weight")
INPUTS: dict[str, tuple[str, ...]] = {
    "reinforce": ("logprob", "advantage", "weight"),
    "clipped_surrogate": PPO_INPUTS,
    "sequence_clipped_surrogate": PPO_INPUTS,
    "cispo": PPO_INPUTS,
    "value": ("value", "target", "before"),
    "value_unclipped": ("value", "target", "weight"),
    "kl_k2": ("logprob", "ref", "weight"),
    "kl_k3": ("logprob", "ref", "weight"),
    "entropy": ("entropy",),
    "soft_bellman": ("logprob", "ref", "value", "target", "weight"),
    "soft_bellman_value": ("value", "ref", "logprob", "target", "weight"),
    "soft_trajectory": ("logprob", "ref", "value", "target", "weight"),
}
"""What each loss reads. The first is what it trains; the others carry no gradient."""
every_loss = pytest.mark.parametrize("name", LOSSES)


def make_row(seed: int, lengths: list[int], dtype: torch.dtype = torch.float64) -> Row:
    generator = torch.Generator().manual_seed(seed)
    num = sum(lengths)

    def normal() -> Tensor:
        return torch.randn(num, dtype=dtype, generator=generator)

    is_action = torch.rand(num, generator=generator) < 0.7
    is_action[0] = True
    return Row(
        logprob=normal(), sampled=normal(), ref=normal(), advantage=normal(),
        weight=normal().abs(), value=normal(), before=normal(), target=normal(),
        entropy=normal().abs(), is_action=is_action,
        sequence=torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)),
    )  # fmt: skip


def with_gradient(row: Row) -> Row:
    names = [f.name for f in fields(row) if getattr(row, f.name).is_floating_point()]
    return replace(row, **{n: getattr(row, n).clone().requires_grad_() for n in names})


def gradient(value: Tensor, row: Row, name: str) -> Tensor:
    return torch.autograd.grad(value, getattr(row, INPUTS[name][0]))[0]


@every_loss
@settings(max_examples=15, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=2, max_size=6),
    seed=st.integers(0, 2**31),
    data=st.data(),
)
def test_row_02_any_split_of_the_step_gives_the_same_gradient_and_metrics(
    name: str, lengths: list[int], seed: int, data: st.DataObject
) -> None:
    """Sequences go to micro-batches of any sizes, in any order, or all in one."""
    row = with_gradient(make_row(seed, lengths))
    loss, count = LOSSES[name], 17.0
    order = data.draw(st.permutations(range(len(lengths))))
    parts: list[list[int]] = [[]]
    for sequence in order:
        if parts[-1] and data.draw(st.booleans()):
            parts.append([])
        parts[-1].append(sequence)

    whole = loss(row, count)
    losses = [
        loss(row.at(torch.cat([torch.where(row.sequence == s)[0] for s in part])), count)
        for part in parts
    ]
    total = torch.stack([part.value for part in losses]).sum()
    torch.testing.assert_close(total, whole.value, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        gradient(total, row, name), gradient(whole.value, row, name), rtol=0, atol=1e-12
    )
    merged = merge(part.metrics for part in losses)
    assert merged.keys() == whole.metrics.keys()
    for key, mean in whole.metrics.items():
        assert merged[key].count == mean.count, key
        assert merged[key].total == pytest.approx(mean.total, rel=1e-9, abs=1e-9), key


@every_loss
def test_row_02_twice_the_count_is_half_the_loss(name: str) -> None:
    row = make_row(0, [4, 3])
    one, two = LOSSES[name](row, 5.0).value, LOSSES[name](row, 10.0).value
    assert one.item() == pytest.approx(2 * two.item(), rel=1e-14)


@every_loss
@pytest.mark.parametrize("count", [0.0, -1.0, float("nan"), float("inf")])
def test_empty_step_is_an_error_and_not_a_silent_zero(name: str, count: float) -> None:
    with pytest.raises(ValueError, match="must be positive and finite, got"):
        LOSSES[name](make_row(0, [3]), count)


@every_loss
def test_row_19_gradient_at_observation_positions_is_exactly_zero(name: str) -> None:
    row = with_gradient(make_row(1, [9, 8]))
    slope = gradient(LOSSES[name](row, 3.0).value, row, name)
    assert (slope[~row.is_action] == 0).all()
    assert (slope[row.is_action] != 0).any()


def test_row_19_logits_of_observation_tokens_get_exactly_no_gradient() -> None:
    logits = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    is_action = torch.tensor([False, True, True, False, False, True])
    logprob = logits.log_softmax(-1)[range(6), [0, 1, 2, 3, 4, 0]]
    ones = torch.ones(6, dtype=torch.float64)
    clipped_surrogate(
        logprob, logprob.detach(), ones, is_action,
        clip_low=0.2, clip_high=0.2, num_actions_in_step=3.0,
    ).value.backward()  # fmt: skip
    assert logits.grad is not None
    assert (logits.grad[~is_action] == 0).all()
    assert (logits.grad[is_action] != 0).all()


@every_loss
def test_only_the_trained_input_carries_gradient(name: str) -> None:
    row = with_gradient(make_row(2, [5, 6]))
    trained, *fixed = INPUTS[name]
    value = LOSSES[name](row, 1.0).value
    inputs = [getattr(row, field) for field in (trained, *fixed)]
    first, *others = torch.autograd.grad(value, inputs, allow_unused=True)
    assert first is not None
    assert all(other is None for other in others)


@every_loss
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
def test_row_24_poison_at_masked_positions_changes_nothing(name: str, poison: float) -> None:
    clean = with_gradient(make_row(3, [6, 5]))
    bad = make_row(3, [6, 5])
    for field in INPUTS[name]:
        getattr(bad, field)[~bad.is_action] = poison
    bad = with_gradient(bad)
    expected, actual = LOSSES[name](clean, 2.0), LOSSES[name](bad, 2.0)
    assert actual.value.item() == expected.value.item()
    slope = gradient(actual.value, bad, name)
    assert torch.equal(slope, gradient(expected.value, clean, name))
    assert (slope[~bad.is_action] == 0).all()
    assert actual.metrics == expected.metrics


@every_loss
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
def test_row_24_poison_at_a_live_position_surfaces_in_the_loss(name: str, poison: float) -> None:
    for field in INPUTS[name]:
        row = make_row(4, [6, 5])
        row.advantage.abs_()
        getattr(row, field)[0] = poison
        assert not LOSSES[name](row, 2.0).value.isfinite(), field


RATIO_LOSSES = ("clipped_surrogate", "sequence_clipped_surrogate", "cispo", "kl_k2", "kl_k3")


@pytest.mark.parametrize("name", RATIO_LOSSES)
@pytest.mark.parametrize("gap", [89.0, -89.0, 1e4, -1e4])
@pytest.mark.parametrize("advantage", [1.0, -1.0])
@pytest.mark.parametrize("is_live", [True, False])
def test_fault_16_a_huge_log_ratio_leaves_loss_and_gradient_finite(
    name: str, gap: float, advantage: float, is_live: bool
) -> None:
    row = make_row(5, [4], dtype=torch.float32)
    row.logprob[1], row.sampled[1], row.ref[1] = -1e4 - 1, -1e4 - 1 - gap, -1e4 - 1 - gap
    row.advantage[1], row.is_action[1] = advantage, is_live
    row = with_gradient(row)
    loss = LOSSES[name](row, 1.0)
    slope = gradient(loss.value, row, name)
    assert loss.value.isfinite()
    assert slope.isfinite().all()
    assert (slope[~row.is_action] == 0).all()
    metrics = [mean.value for mean in loss.metrics.values()]
    assert torch.tensor(metrics).isfinite().all()


@every_loss
def test_shapes_that_would_broadcast_are_refused(name: str) -> None:
    for field in INPUTS[name]:
        row = make_row(6, [4])
        row = replace(row, **{field: getattr(row, field)[:1]})
        with pytest.raises(ValueError, match="shapes differ"):
            LOSSES[name](row, 1.0)


@every_loss
def test_row_45_metrics_of_unequal_micro_batches_are_means_over_all_samples(name: str) -> None:
    row = replace(make_row(7, [1, 5, 7]), is_action=torch.ones(13, dtype=torch.bool))
    whole = LOSSES[name](row, 13.0).metrics
    parts = [LOSSES[name](row.cut(0, 1), 13.0).metrics, LOSSES[name](row.cut(1, 13), 13.0).metrics]
    merged = merge(parts)
    for key, mean in whole.items():
        assert merged[key].value == pytest.approx(mean.value, rel=1e-12), key
    key = next(iter(whole))
    naive = sum(part[key].value for part in parts) / 2
    assert naive != pytest.approx(whole[key].value, rel=1e-3), "a mean of means differs here"
