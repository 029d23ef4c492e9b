"""Offline ArCHer: the critic's fixed point in closed form, the actor's expected gradient."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from archer_cases import GAME, IDS, REWARDS, all_sentences, solve, two_turns, weighted
from learner_cases import (
    flat,
    gradient_of,
    mixed_batch,
    perturb,
    plain_logprobs,
    shifted,
    tiny_lm,
    weights,
)
from torch import Tensor

from sayso.algorithms.offline_archer import OfflineArCHer
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.offline_archer import OfflineArCHerOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.errors import OptionValueError
from sayso.models.lm import LanguageModel
from sayso.sampling.make import make_engine
from sayso.sampling.options import SamplingOptions
from sayso.types import EndReason


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def offline(lm: LanguageModel | None = None, *, kl: KLOptions | None = None,
            optim: OptimOptions | None = None, **options: Any) -> OfflineArCHer:  # fmt: skip
    lm, sampling = lm or tiny_lm(), SamplingOptions(max_new_tokens=3)
    record = OfflineArCHerOptions(**{"warmup_updates": 0, "critic_updates": 1, **options})
    return OfflineArCHer(lm, make_engine(lm, sampling), record, sampling=sampling,
                         optim=optim or OptimOptions(lr=1e-2), kl=kl or KLOptions(),
                         seed=0)  # fmt: skip


@pytest.mark.medium
@pytest.mark.parametrize("trunk", ["copy"])
def test_the_critic_ends_at_the_expectiles_of_the_game(trunk: str) -> None:
    """First answer 3/4 a, second 1/2 each, discount 1/2, τ = 0.9.

    Behind a: expectile of {0, 1} = 0.9; behind b: of {0.6, 0.2} = 0.56. So Q is 0.1 + 0.45 and
    0.3 + 0.28, and V of the start solves 0.1 * 3/4 (V - 0.55) = 0.9 * 1/4 (0.58 - V).
    """
    lm = tiny_lm(width=16, loud=10.0)
    made = offline(lm, gamma_turn=0.5, critic_lr=3e-3, trunk=trunk, target_rate=0.2,
                   optim=OptimOptions(lr=1e-2, max_grad_norm=10.0))  # fmt: skip
    game = [two_turns(lm, *y) for y in GAME]
    batch = weighted(game, [3 / 8, 3 / 8, 1 / 8, 1 / 8], 8)
    for _ in range(1200):
        assert made.critic.learn(batch, made._critic_loss, rate=0.2).skipped is None
    q_first, v_second = {"a": 0.55, "b": 0.58}, {"a": 0.9, "b": 0.56}
    for y, opinion in zip(GAME, made.critic.opinions(game), strict=True):
        last = game[GAME.index(y)].turns[1].reward
        assert opinion.q == pytest.approx([q_first[y[0]], last], abs=0.02)
        assert opinion.v == pytest.approx([0.5725, v_second[y[0]]], abs=0.02)


def test_a_real_end_is_followed_by_nothing_and_a_cut_off_by_the_value_of_the_last_context() -> None:
    made = offline(gamma_turn=0.5)
    with torch.no_grad():
        made.critic.heads.v[0].project.bias.fill_(4.0)  # type: ignore[union-attr, operator]
        for head in made.critic.heads.v_target:
            head.project.bias.fill_(-99.0)  # type: ignore[union-attr, operator]
    ended = two_turns(made.lm, "a", "b")
    cut = replace(ended, end=EndReason.TRUNCATED, final_ids=(0,), sample_index=1)
    ((_, online, target),) = made.critic._parts([ended, cut], ())
    first, second, _ = made._critic_loss(online, target, 1.0)
    # Q says 0 everywhere: half the sum of squared targets.
    wanted = [0.1 + 2, 1.0, 0.1 + 2, 1.0 + 2]
    for loss in (first, second):
        assert loss.value.item() == pytest.approx(sum(x * x for x in wanted) / 2)


class _ActorOnly:
    def __init__(self, made: OfflineArCHer) -> None:
        self.made, self.core, self.lm = made, made.core, made.lm

    def update(self, episodes: Any, *, seed: int) -> Any:
        self.made.learn_actor(list(episodes), seed=seed)
        return type("Update", (), {"warnings": ()})


@pytest.mark.parametrize(("scale", "most"), [(0.0, 20.0), (2.0, 20.0), (8.0, 3.0)])
def test_the_actor_follows_the_weighted_likelihood_of_the_data(scale: float, most: float) -> None:
    """Its gradient is that of the sum over sentences of p_data min(exp(λ A), c) log π."""
    lm = tiny_lm()
    data = {y: float(plain_logprobs(lm, ids).sum().exp().item()) for y, ids in IDS.items()}
    episodes = all_sentences(lm)
    made = offline(lm, advantage_weight=scale, max_weight=most)
    perturb(lm, scale=0.1)
    ((_, online, _),) = made.critic._parts(list(episodes.values()), ())
    for head in made.critic.heads.q:
        solve(head, online.said, list(REWARDS.values()))  # type: ignore[arg-type]
    value = 0.25
    with torch.no_grad():
        made.critic.heads.v[0].project.weight.zero_()  # type: ignore[union-attr, operator]
        made.critic.heads.v[0].project.bias.fill_(value)  # type: ignore[union-attr, operator]
    found = torch.zeros(())
    for y, chance in data.items():
        ours = gradient_of(_ActorOnly(made), [episodes[y]])
        found = found - chance * flat(
            {n: g for n, g in ours.items() if not n.startswith("q_heads.")}
        )
    named = {n: p for n, p in lm.network.named_parameters() if p.requires_grad}
    weight = {y: min(np.exp(scale * (REWARDS[y] - value)), most) for y in REWARDS}
    assert (max(np.exp(scale * (r - value)) for r in REWARDS.values()) > most) == (scale == 8)
    objective: Tensor = torch.zeros(())
    for y, ids in IDS.items():
        objective = objective + data[y] * weight[y] * plain_logprobs(lm, ids).sum()
    exact = flat(dict(zip(named, torch.autograd.grad(objective, list(named.values())),
                          strict=True)))  # fmt: skip
    assert float((found - exact).norm() / exact.norm()) < 1e-8


def test_recorded_probabilities_are_not_used() -> None:
    found = []
    for by in (0.0, 3.0):
        made = offline()
        made.update(shifted(mixed_batch(made.lm), by), seed=0)
        found.append(flat(weights(made)))
    assert torch.equal(*found)


def test_a_reference_is_refused() -> None:
    with pytest.raises(OptionValueError, match=r"kl\.coef.*advantage_weight"):
        offline(kl=KLOptions(coef=0.1))
