"""Preferences in closed form: both losses by hand, the optimum of DPO by enumeration."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from learner_cases import END, gradient_of, learner, perturb, plain_logprobs, tiny_lm, written
from torch import Tensor

from sayso.algorithms.options.optim import OptimOptions
from sayso.envs.tinylang_math import probability, reference, sequences, soft_optimum
from sayso.losses.preference import bradley_terry, direct_preference
from sayso.models.options import LoraOptions
from sayso.types import Episode


def test_bradley_terry_by_hand() -> None:
    chosen = torch.tensor([1.0, -0.5], dtype=torch.float64, requires_grad=True)
    rejected = torch.tensor([0.0, 0.5], dtype=torch.float64)
    margin = torch.tensor([0.25, 0.0], dtype=torch.float64)
    loss = bradley_terry(chosen, rejected, num_pairs_in_step=4, margin=margin, centre_coef=0.1)
    fit = math.log1p(math.exp(-0.75)) + math.log1p(math.exp(1.0))
    assert loss.value.item() == pytest.approx((fit + 0.1 * (1.0 + 0.0)) / 4)
    loss.value.backward()  # type: ignore[no-untyped-call]
    assert chosen.grad is not None
    expected = [-1 / (1 + math.exp(0.75)) + 0.2, -1 / (1 + math.exp(-1.0))]
    assert chosen.grad.tolist() == pytest.approx([g / 4 for g in expected])
    assert loss.metrics["reward_model/accuracy"].value == 0.5
    assert loss.metrics["reward_model/margin"].value == 0.0


def test_dpo_and_ipo_by_hand() -> None:
    chosen, rejected = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 1.0])
    plain = direct_preference(chosen, rejected, beta=0.5, num_pairs_in_step=2, label_smoothing=0.1)

    def fit(z: float) -> float:
        return 0.9 * math.log1p(math.exp(-z)) + 0.1 * math.log1p(math.exp(z))

    assert plain.value.item() == pytest.approx((fit(1.0) + fit(-0.5)) / 2)
    assert plain.metrics["dpo/margin"].value == pytest.approx(0.25)
    assert plain.metrics["dpo/reward_chosen"].value == pytest.approx(0.5)
    assert plain.metrics["dpo/accuracy"].value == 0.5
    ipo = direct_preference(chosen, rejected, beta=0.5, num_pairs_in_step=2, kind="ipo")
    assert ipo.value.item() == pytest.approx(((2 - 1) ** 2 + (-1 - 1) ** 2) / 2)


def test_counts_shapes_and_ranges_are_refused() -> None:
    one, two = torch.zeros(1), torch.zeros(2)
    with pytest.raises(ValueError, match="shapes differ"):
        bradley_terry(one, two, num_pairs_in_step=1)
    with pytest.raises(ValueError, match="num_pairs_in_step"):
        bradley_terry(one, one, num_pairs_in_step=0)
    with pytest.raises(ValueError, match="beta"):
        direct_preference(one, one, beta=0.0, num_pairs_in_step=1)
    with pytest.raises(ValueError, match="no effect on ipo"):
        direct_preference(one, one, beta=1.0, num_pairs_in_step=1, kind="ipo", label_smoothing=0.1)


@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_the_optimum_of_dpo_is_the_kl_regularised_one(beta: float) -> None:
    """All pairs of TinyLang's sentences, preferred as Bradley and Terry say: π ∝ π_ref e^{r/β}."""
    rewards = sequences()
    names = sorted(rewards)
    log_ref = torch.tensor([math.log(probability(reference(), y)) for y in names]).double()
    reward = torch.tensor([rewards[y] for y in names]).double()
    pairs = [(i, j) for i, j in product(range(len(names)), repeat=2) if i < j]
    first, second = (torch.tensor(side) for side in zip(*pairs, strict=True))
    wrong = torch.sigmoid(reward[second] - reward[first])  # P(second is preferred)
    logits = log_ref.clone().requires_grad_()
    optimiser = torch.optim.LBFGS([logits], max_iter=500, tolerance_grad=1e-12,
                                  tolerance_change=1e-16,
                                  line_search_fn="strong_wolfe")  # fmt: skip

    def closure() -> Tensor:
        optimiser.zero_grad()
        delta = logits.log_softmax(-1) - log_ref
        loss = direct_preference(
            delta[first], delta[second], beta=beta, num_pairs_in_step=len(pairs),
            label_smoothing=wrong,
        )  # fmt: skip
        loss.value.backward()  # type: ignore[no-untyped-call]
        return loss.value

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    best = soft_optimum(reference(), beta).policy
    expected = torch.tensor([probability(best, y) for y in names]).double()
    torch.testing.assert_close(logits.softmax(-1), expected, rtol=0, atol=1e-6)


def pairs_of(lm: Any) -> list[Episode]:
    """Three pairs of two tasks, chosen first: unequal lengths, a prompt met twice."""
    first, second = [END, 0], [END, 1, 0]
    said = [
        (first, [0, 1, END], "one"), (first, [END], "one"), (second, [0, END], "two"),
        (second, [1, 1, 0], "two"), (first, [1, END], "one"), (first, [0, 0, 1], "one"),
    ]  # fmt: skip
    made = [written(lm, [(seen, ids, None)], task=task) for seen, ids, task in said]
    return [
        replace(e, turns=(replace(e.turns[0], reward_parts={"chosen": float(i % 2 == 0)}),))
        for i, e in enumerate(made)
    ]


def said_in(lm: Any, episode: Episode) -> Tensor:
    """Log-probability of the whole answer, by the network's own forward."""
    start = len(episode.turns[0].observation_ids) - 1
    return plain_logprobs(lm, episode.ids())[start:].sum()


@pytest.mark.parametrize("kind", ["sigmoid", "ipo"])
@pytest.mark.parametrize("budget", [1, 12, 1000])
def test_the_learners_gradient_is_that_of_plain_autograd(kind: str, budget: int) -> None:
    """In float64, whatever the micro-batch; the reference is where the policy began."""
    lm = tiny_lm(loud=8.0)
    episodes = pairs_of(lm)
    smoothing = 0.1 if kind == "sigmoid" else 0.0
    made = learner(
        "dpo", lm, optim=OptimOptions(micro_batch_tokens=budget), beta=0.3, loss=kind,
        label_smoothing=smoothing,
    )  # fmt: skip
    with torch.no_grad():
        start = [said_in(lm, e) for e in episodes]
    perturb(lm, scale=0.05)
    found = gradient_of(made, episodes)
    for parameter in made.core.optimiser.parameters.values():
        parameter.grad = None
    delta = torch.stack([said_in(lm, e) - s for e, s in zip(episodes, start, strict=True)])
    direct_preference(
        delta[0::2], delta[1::2], beta=0.3, num_pairs_in_step=3, kind=kind,  # type: ignore[arg-type]
        label_smoothing=smoothing,
    ).value.backward()  # type: ignore[no-untyped-call]  # fmt: skip
    for key, parameter in made.core.optimiser.parameters.items():
        expected = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(found[key], expected, rtol=1e-6, atol=1e-9)


def test_metrics_of_a_first_step_and_with_adapters() -> None:
    """At the reference nothing is preferred; KL and margins are exactly 0, and move from there."""
    lm = tiny_lm(lora=LoraOptions(rank=2, alpha=4.0))
    made = learner("dpo", lm, optim=OptimOptions(lr=1e-3))
    first, second = (made.update(pairs_of(lm), seed=0).metrics for _ in range(2))
    for name in ("kl/exact", "dpo/margin", "dpo/reward_chosen"):
        assert first[name].value == pytest.approx(0.0, abs=1e-12)
    assert first["dpo/accuracy"].value == 0.5
    assert second["dpo/margin"].value > 0
    assert second["kl/exact"].value > 0
    assert second["dpo/accuracy"].count == 3


def test_episodes_that_are_no_pairs_are_refused() -> None:
    lm = tiny_lm()
    made = learner("dpo", lm)
    with pytest.raises(ValueError, match="pairs"):
        made.update(pairs_of(lm)[1:3], seed=0)


@pytest.mark.parametrize(
    ("name", "more", "values"),
    [
        ("beta", {}, [0.1, 1.0]),
        ("loss", {}, ["sigmoid", "ipo"]),
        ("label_smoothing", {}, [0.0, 0.2, 0.4]),
    ],
)
def test_row_36_every_option_is_felt(name: str, more: dict[str, Any], values: list[Any]) -> None:
    found = []
    for value in values:
        lm = tiny_lm()
        made = learner("dpo", lm, **more, **{name: value})
        perturb(lm, scale=0.02)
        found.append(torch.cat([g.flatten() for g in gradient_of(made, pairs_of(lm)).values()]))
    assert all(not torch.equal(a, b) for i, a in enumerate(found) for b in found[:i])
