"""Ensembles of values: who acts, what each member learns from and towards, what stays."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from candidate_cases import candidate_learner, randomise
from learner_cases import mixed_batch, same_bits, tiny_lm, weights

from sayso.algorithms.base import LearnerState
from sayso.algorithms.candidate_turns import Transition
from sayso.algorithms.ensemble import acting_member, bootstrap_weights
from sayso.algorithms.options.candidate_dqn import CandidateDQNOptions
from sayso.algorithms.options.ensemble import EnsembleOptions
from sayso.credit.candidates import optimistic
from sayso.models.candidate_heads import CandidateHead
from sayso.models.slates import Read, Slate
from sayso.sampling.base import Request
from sayso.sampling.options import CandidateOptions

INF = float("inf")


def learner(*, explore: str = "thompson", features: str = "lm", **ensemble: Any) -> Any:
    options = CandidateDQNOptions(
        explore=explore, features=features, candidates=CandidateOptions(num_proposals=3),
        draws=12, updates_per_step=2, critic_lr=1e-2, target_every=1, gamma_turn=0.5,
        ensemble=EnsembleOptions(**{"heads": 3, **ensemble}),
    )  # fmt: skip
    return candidate_learner(options)


def met(made: Any) -> list[Transition]:
    """One decision for each turn of some episodes."""
    pairs = [(e, turn) for e in mixed_batch(made.lm) for turn in range(len(e.turns))]
    found: list[Transition] = made.parts.decisions.transitions(pairs, [1.0] * len(pairs), n_step=1)
    return found


def test_an_upper_bound_is_the_mean_and_so_many_deviations() -> None:
    values = np.array([[[1.0, 0.0, -INF]], [[2.0, 0.0, -INF]], [[6.0, 3.0, -INF]]])
    found = optimistic(values, bonus=1.5)
    expected = [3 + 1.5 * math.sqrt(14 / 3), 1 + 1.5 * math.sqrt(2), -INF]
    assert found[0] == pytest.approx(expected, abs=1e-12)
    assert optimistic(values, bonus=0.0)[0].tolist() == [3.0, 1.0, -INF]
    with pytest.raises(ValueError, match=r"expected \[h, n, k\]"):
        optimistic(values[0], bonus=1.0)


def test_a_member_acts_for_a_whole_episode_and_all_do_equally_often() -> None:
    values = np.arange(4.0)[:, None, None] + np.zeros((4, 2000, 3))
    episodes = [seed // 2 for seed in range(2000)]
    acted = acting_member(values, episodes)[:, 0]
    assert (acted[::2] == acted[1::2]).all()
    assert (acting_member(values[:, :2], [7, 7]) == acting_member(values[:, :1], [7])).all()
    shares = np.bincount(acted[::2].astype(int), minlength=4) / 1000
    assert np.abs(shares - 0.25).max() < 3 * math.sqrt(0.25 * 0.75 / 1000)


def test_a_member_learns_from_its_share_of_the_decisions_and_always_from_the_same() -> None:
    options = EnsembleOptions(heads=400, bootstrap=0.25)
    decisions = met(learner())
    found = bootstrap_weights(decisions, options, seed=3)
    assert found.shape == (400, len(decisions))
    assert set(found.flatten()) == {0.0, 4.0}
    assert abs(found.mean() - 1) < 3 * math.sqrt(3 / found.size)  # the variance of 4 · Ber(1/4)
    assert np.abs(np.corrcoef(found.T) - np.eye(len(decisions))).max() < 0.25  # one draw for each
    again = bootstrap_weights(decisions[::-1], options, seed=3)
    assert (again[:, ::-1] == found).all()
    assert (bootstrap_weights(decisions, options, seed=4) != found).any()
    everything = bootstrap_weights(decisions, replace(options, bootstrap=1.0), seed=3)
    assert (everything == 1).all()


def test_stored_decisions_that_share_a_path_have_draws_of_their_own() -> None:
    one, *_, other = met(learner())
    stored = [replace(x, turn=0, episode=replace(one.episode, seed_path=())) for x in (one, other)]
    assert one.slate.state != other.slate.state
    found = bootstrap_weights(stored, EnsembleOptions(heads=100), seed=0)
    assert (found[:, 0] != found[:, 1]).any()
    again = [
        replace(one, episode=replace(one.episode, seed_path=("rollout", step))) for step in (1, 2)
    ]
    met_twice = bootstrap_weights(again, EnsembleOptions(heads=100), seed=0)
    assert (met_twice[:, 0] != met_twice[:, 1]).any()  # the same words in two episodes


def test_a_prior_says_as_much_as_it_was_asked_to() -> None:
    """Over seeds its standard deviation is the scale, whatever it reads."""
    lm = tiny_lm()
    gen = torch.Generator().manual_seed(0)
    phi = torch.randn(1, lm.width, generator=gen, dtype=lm.dtype)
    psi = torch.randn(1, 2 * lm.width, generator=gen, dtype=lm.dtype)
    read = Read(slates=(0,), phi=phi, psi=psi, owner=torch.zeros(1, dtype=torch.long))
    said = torch.stack(
        [CandidateHead(lm.width, seed=s, spread=2.5, dtype=lm.dtype)(read) for s in range(600)]
    ).detach()
    deviation = 2.5 * (1 + 3 * math.sqrt(1 / 600))  # a mixture: wider than a normal's 1 / 2n
    assert float(said.std()) == pytest.approx(2.5, abs=deviation - 2.5)
    assert abs(float(said.mean())) < 3 * 2.5 / math.sqrt(600)


@pytest.mark.parametrize("features", ["lm", "own"])
def test_members_begin_as_their_priors_which_no_step_moves(features: str) -> None:
    made = learner(features=features, prior_scale=2.0)
    slates = [one.slate for one in met(made)]

    def said() -> Any:
        return made.parts.table(
            made.parts.readers.online, slates,
            lambda read: torch.stack([read.padded(p(read.frozen or read))
                                      for p in made.critic.priors]),
        )  # fmt: skip

    before = said()
    assert (made.parts.scored(slates, made.critic.each) == before).all()
    assert all((before[0] != other).any() for other in before[1:])
    moved = weights(made)
    made.update(mixed_batch(made.lm), seed=0)
    assert not same_bits(moved, weights(made))
    assert (said() == before).all()
    learnt = made.parts.table(
        made.parts.readers.online, slates,
        lambda read: torch.stack([read.padded(head(read)) for head in made.critic.heads]),
    )  # fmt: skip
    live = before > -INF
    whole = made.parts.scored(slates, made.critic.each)
    assert whole[live] - learnt[live] == pytest.approx(before[live], abs=1e-12)
    assert learnt[live].any()


def test_each_member_has_its_own_double_target() -> None:
    made = learner()
    randomise(made.critic.heads, seed=1)
    randomise(made.target.heads, seed=2)
    following = made.parts.minibatch(met(made)).following
    readers = made.parts.readers
    online = made.parts.table(readers.online, following, made.critic.each)
    target = made.parts.table(readers.target, following, made.target.each)
    expected = [
        [judge[chooser.argmax()] for chooser, judge in zip(*tables, strict=True)]
        for tables in zip(online, target, strict=True)
    ]
    assert made._following(following) == pytest.approx(np.array(expected), abs=1e-12)
    assert np.ptp(expected, axis=0).min() > 0


def test_the_step_follows_each_members_share_and_target() -> None:
    """The gradient at a head's bias is its mean weighted error over the number of members."""
    made = learner(prior_scale=0.5, bootstrap=0.5)
    minibatch = made.parts.minibatch(met(made))
    target = minibatch.targets(made._following(minibatch.following))
    share = bootstrap_weights(minibatch.transitions, made.options.ensemble, seed=0)
    table = made.parts.scored([t.slate for t in minibatch.transitions], made.critic.each)
    taken = [t.taken for t in minibatch.transitions]
    errors = table[:, np.arange(minibatch.count), taken] - target
    expected = (share * errors.clip(-1, 1)).mean(1) / 3
    found: list[float] = []

    def watched(_: Any, loss: Any) -> Any:
        (read,) = made.parts.readers.online.read(minibatch.slates)
        total = torch.stack([term.value for term in loss(read)]).sum()
        biases = [head.project.bias for head in made.critic.heads]
        found.extend(float(g) for g in torch.autograd.grad(total, biases))
        raise StopIteration

    made.parts.step = watched
    with pytest.raises(StopIteration):
        made._step(minibatch)
    assert found == pytest.approx(expected.tolist(), abs=1e-12)
    assert len(set(found)) == 3


@pytest.mark.parametrize("explore", ["thompson", "ucb"])
def test_training_acts_by_members_and_what_counts_by_their_mean(explore: str) -> None:
    made = learner(explore=explore, prior_scale=3.0)
    slates = [Slate(state=(2,), candidates=((0,), (1,), (0, 1)), logprior=(-math.log(3),) * 3)]
    each = made.parts.scored(slates, made.critic.each)
    (best,) = made._greedy(slates, [0])
    assert best.argmax() == each.mean(0)[0].argmax()
    acted = {int(made._explore(slates, [seed])[0].argmax()) for seed in range(40)}
    if explore == "ucb":
        assert acted == {int((each.mean(0) + each.std(0))[0].argmax())}
    else:
        assert acted == {int(member[0].argmax()) for member in each}


def test_a_learner_with_the_state_of_another_goes_on_bit_for_bit() -> None:
    one, two = (learner(features="own") for _ in range(2))
    one.update(mixed_batch(one.lm), seed=0)
    state = one.state()
    two.load_state(
        LearnerState(
            tensors={n: t.clone() for n, t in state.tensors.items()}, values=dict(state.values)
        )
    )
    for made in (one, two):
        made.update(mixed_batch(made.lm)[:3], seed=1)
    assert same_bits(dict(one.state().tensors), dict(two.state().tensors))
    asked = Request(session="s", new_ids=(2,), seed=5, max_new_tokens=3, episode_seed=9)
    engines = [made.sampler().engine for made in (one, two)]
    for engine in engines:
        engine.submit(asked)
    assert engines[0].poll() == engines[1].poll()


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"heads": 1}, "heads must be at least 2"),
    ({"bootstrap": 0.0}, "bootstrap must be in"),
    ({"prior_scale": -1.0}, "prior_scale must be at least 0"),
    ({"bonus": -1.0}, "bonus must be at least 0"),
    ({"prior_scale": 0.0, "bootstrap": 1.0}, "leaves no difference"),
]


@pytest.mark.parametrize(("more", "problem"), REFUSED)
def test_ensembles_of_nothing_are_refused(more: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        EnsembleOptions(**more)


def test_what_has_no_effect_is_refused() -> None:
    few = EnsembleOptions(heads=3)
    for more, problem in (
        ({"ensemble": few}, "ensemble has no effect with explore = 'boltzmann'"),
        ({"explore": "epsilon", "ensemble": few}, "ensemble has no effect"),
        ({"explore": "thompson", "ensemble": EnsembleOptions(bonus=2.0)}, "bonus has no effect"),
        ({"explore": "ucb", "twins": "min"}, "twins has no effect"),
        ({"explore": "ucb", "epsilon_end": 0.5}, "have no effect with explore = 'ucb'"),
        ({"explore": "thompson", "alpha": 2.0}, "alpha has no effect"),
    ):
        with pytest.raises(ValueError, match=problem):
            CandidateDQNOptions(**more)  # type: ignore[arg-type]
    assert CandidateDQNOptions(explore="thompson", alpha=2.0, backup="soft").num_members == 10
    names = {f.name for f in fields(EnsembleOptions)}
    assert names == {
        "heads",
        "prior_scale",
        "bootstrap",
        "bonus",
    }  # each is felt: test above, row 36
