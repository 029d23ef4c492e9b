"""What algorithms that imitate promise: the same as all others, of episodes that anybody wrote."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from learner_cases import (
    END,
    IMITATORS,
    VARIANTS,
    flat,
    gradient_of,
    learner,
    mixed_batch,
    perturb,
    plain_logprobs,
    randomise_critic,
    same_bits,
    shifted,
    tiny_lm,
    weights,
    written,
)
from value_cases import NO_MEMORY, RECORDS

from sayso.algorithms.base import Learner, LearnerState
from sayso.algorithms.filtered_bc import FilteredBC
from sayso.algorithms.options.filtered_bc import FilteredBCOptions
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.algorithms.registry import ALGORITHMS
from sayso.data.encode import STORED, UNKNOWN
from sayso.data.options import ReplayOptions
from sayso.metrics import Mean
from sayso.sampling.make import make_engine
from sayso.sampling.options import SamplingOptions
from sayso.types import EndReason, Episode

OFFLINE = [name for name in IMITATORS if name != "filtered_bc_online"]
IMITATING = ("bc", "filtered_bc", "awr", "offline_archer", "ilql", "mc_returns")
every_imitator = pytest.mark.parametrize("name", list(IMITATORS))
offline = pytest.mark.parametrize("name", OFFLINE)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def stored(episodes: list[Episode]) -> list[Episode]:
    """As a data set holds them: who acted is not known, nor with what probability."""
    return [
        replace(e, policy_version=STORED, turns=tuple(
            replace(turn, action_logprobs=(UNKNOWN,) * len(turn.action_ids)) for turn in e.turns
        ))
        for e in episodes
    ]  # fmt: skip


def made_with(name: str, **more: Any) -> tuple[Any, list[Episode]]:
    lm = tiny_lm()
    episodes = stored(mixed_batch(lm))
    made = learner(name, lm, **more)
    perturb(lm, scale=0.03)
    if lm.value_head is not None:
        randomise_critic(lm)
    return made, episodes


@every_imitator
def test_every_imitator_is_a_learner(name: str) -> None:
    assert isinstance(learner(name), Learner)


@offline
def test_row_02_the_gradient_does_not_depend_on_the_micro_batch_or_the_order(name: str) -> None:
    made, episodes = made_with(name)
    expected = flat(gradient_of(made, episodes))
    assert expected.norm() > 0
    for budget in (1, 9, 14):
        made.core.optimiser.options = OptimOptions(micro_batch_tokens=budget)
        assert len(made.core.pack(episodes).rows) > 1
        assert (flat(gradient_of(made, episodes)) - expected).abs().max() <= 1e-12 * expected.max()
        order = np.random.default_rng(budget).permutation(len(episodes))
        shuffled = flat(gradient_of(made, [episodes[i] for i in order]))
        assert (shuffled - expected).abs().max() <= 1e-12 * expected.abs().max()


@every_imitator
def test_row_45_metrics_are_means_over_all_tokens_whatever_the_micro_batch(name: str) -> None:
    updates = []
    for budget in (1, 9, 1000):
        made, episodes = made_with(name, optim=OptimOptions(micro_batch_tokens=budget))
        updates.append(made.update(episodes, seed=0).metrics)
    for metrics in updates[1:]:
        assert metrics.keys() == updates[0].keys()
        for key, mean in metrics.items():
            assert mean.count == pytest.approx(updates[0][key].count)
            assert mean.value == pytest.approx(updates[0][key].value, rel=1e-9, abs=1e-12), key


@offline
def test_surprisal_is_the_policys_own_and_nothing_is_said_of_who_acted(name: str) -> None:
    made, episodes = made_with(name)
    own = []
    for e in episodes:
        logprobs = plain_logprobs(made.lm, e.ids()).tolist()
        place = -1
        for turn in e.turns:
            place += len(turn.observation_ids)
            own += [-p for p in logprobs[place : place + len(turn.action_ids)]]
            place += len(turn.action_ids)
    metrics = made.update(episodes, seed=0).metrics
    assert metrics["imitation/surprisal"].count == len(own)
    assert metrics["imitation/surprisal"].value == pytest.approx(np.mean(own), abs=1e-12)
    assert "policy/surprisal" not in metrics
    assert "parity/mean_gap" not in metrics


@every_imitator
def test_recorded_log_probabilities_change_no_bit(name: str) -> None:
    """Unknown, known, or wrong: no ratio is ever taken."""
    after = []
    for change in (stored, lambda e: e, lambda e: shifted(e, -3.0)):
        lm = tiny_lm()
        episodes = change(mixed_batch(lm))
        made = learner(name, lm)
        update = made.update(episodes, seed=0)
        assert update.fatal is None
        assert update.num_optimiser_steps == 1
        after.append(weights(made))
    assert same_bits(after[0], after[1])
    assert same_bits(after[0], after[2])


@pytest.mark.parametrize("name", list(VARIANTS))
def test_on_policy_algorithms_refuse_stored_episodes(name: str) -> None:
    made = learner(name)
    with pytest.raises(ValueError, match="stored episodes"):
        made.update(stored(mixed_batch(made.lm)), seed=0)


@offline
def test_observations_are_read_and_not_learnt(name: str) -> None:
    """Without a step in between, the loss of an episode is the log-likelihood of its actions."""
    made, _ = made_with(name)
    turns = [([END], [0, 1], 0.5), ([1, 0, 1], [0, END], 0.5)]
    update = made.update(stored([written(made.lm, turns)]), seed=0)
    assert update.metrics["imitation/surprisal"].count == 4


@pytest.mark.parametrize("name", ["filtered_bc", "filtered_bc_online", "awr"])
def test_row_33_a_reward_of_zero_counts_and_an_ungraded_episode_is_left_out(name: str) -> None:
    made, episodes = made_with(name)
    turn = (episodes[0].turns[0].observation_ids, [1, 1, END])
    ungraded = stored([written(made.lm, [(*turn, None)], task="one", sample=3)])
    update = made.update([*episodes, *ungraded], seed=0)
    assert update.metrics["group/ungraded_frac"] == Mean(1, 7)
    zero = stored([written(made.lm, [(*turn, 0.0)], task="one", sample=3)])
    assert made.update([*episodes, *zero], seed=0).metrics["group/ungraded_frac"] == Mean(0, 7)


def test_bc_learns_from_what_nobody_graded() -> None:
    made, episodes = made_with("bc")
    expected = flat(gradient_of(made, episodes))
    ungraded = [
        replace(e, turns=tuple(replace(turn, reward=None) for turn in e.turns)) for e in episodes
    ]
    assert torch.equal(flat(gradient_of(made, ungraded)), expected)


@every_imitator
def test_row_31_a_fresh_learner_with_the_state_of_another_goes_on_bit_for_bit(name: str) -> None:
    optim = OptimOptions(lr=1e-2, warmup_steps=5, micro_batch_tokens=16)
    one = learner(name, optim=optim)
    episodes = mixed_batch(one.lm)
    one.update(episodes, seed=0)
    one.update(episodes[:3], seed=1)
    state = one.state()
    saved = LearnerState(
        tensors={n: t.clone() for n, t in state.tensors.items()}, values=dict(state.values)
    )
    two = learner(name, optim=optim)
    two.load_state(saved)
    assert same_bits(dict(two.state().tensors), dict(saved.tensors))
    for made in (one, two):
        made.update(episodes[2:4], seed=2)
    assert same_bits(dict(one.state().tensors), dict(two.state().tensors))
    assert one.state().values == two.state().values
    assert not same_bits(dict(one.state().tensors), dict(saved.tensors))


def test_awr_bootstraps_where_an_episode_was_cut_off_and_not_where_it_ended() -> None:
    """V = 3 in every state: A = 1 - 3 where it ended, 1 + 0.5 · 3 - 3 where it was cut off."""
    made = learner("awr", gamma_turn=0.5, beta=2.0, max_weight=1e9)
    with torch.no_grad():
        made.lm.value_head.project.bias.fill_(3.0)
    for end, advantage in ((EndReason.TERMINATED, -2.0), (EndReason.TRUNCATED, -0.5)):
        episode = written(made.lm, [([END], [0], 1.0)], end=end, final_ids=[1])
        weight = learner_weight(made, stored([episode]))
        assert weight == pytest.approx(np.exp(advantage / 2))


def learner_weight(made: Any, episodes: list[Episode]) -> float:
    state = made.state()
    saved = LearnerState(
        tensors={n: t.clone() for n, t in state.tensors.items()}, values=dict(state.values)
    )
    weight = made.update(episodes, seed=0).metrics["imitation/weight"].value
    made.load_state(saved)
    return float(weight)


def test_awr_clips_weights() -> None:
    made = learner("awr", beta=0.01, max_weight=7.0)
    episodes = stored([written(made.lm, [([END], [0, END], 5.0)])])
    assert made.update(episodes, seed=0).metrics["imitation/weight"].value == pytest.approx(7.0)


def test_filtered_bc_remembers_the_best_of_its_own_episodes() -> None:
    made: FilteredBC = learner("filtered_bc_online", top=0.25)
    batch = mixed_batch(made.lm)  # returns 1.5, 0, -0.25, 0, 2, 1
    update = made.update(batch[:3], seed=0)
    assert update.metrics["replay/best_return"] == Mean(1.5, 1)
    update = made.update(batch[3:], seed=1)
    assert update.metrics["replay/episodes"] == Mean(6, 1)
    assert update.metrics["replay/best_return"] == Mean(3.5, 2)  # ⌈.25 · 6⌉ = 2 of 6
    expected = batch[0].num_action_tokens + batch[4].num_action_tokens
    assert update.metrics["imitation/surprisal"].count == expected


def test_filtered_bc_selects_the_best_of_a_data_set_over_all_or_by_task() -> None:
    made = learner("filtered_bc", top=0.3)
    data = stored(mixed_batch(made.lm))
    assert [e.return_ for e in made.select(data)] == [1.5, 2.0]
    by_task = learner("filtered_bc", top=0.3, among="task").select(data)
    assert [e.return_ for e in by_task] == [1.5, 2.0]
    data = [*data, *stored([written(made.lm, [([END], [0], -3.0)], task="three")])]
    by_task = learner("filtered_bc", top=0.3, among="task").select(data)
    assert [e.return_ for e in by_task] == [1.5, 2.0, -3.0]  # the best of its task


def test_filtered_bc_refuses_options_of_a_memory_that_it_does_not_use() -> None:
    with pytest.raises(ValueError, match=r"replay\.sampling has no effect"):
        FilteredBCOptions(replay=ReplayOptions(sampling="success"))


@every_imitator
def test_a_loss_that_is_not_finite_is_refused_and_changes_nothing(name: str) -> None:
    made, episodes = made_with(name)
    with torch.no_grad():
        next(iter(made.lm.trainable().values())).fill_(float("nan"))
    before = weights(made)
    update = made.update(episodes, seed=0)
    assert update.skipped
    assert update.num_optimiser_steps == 0
    after = weights(made)
    assert all(torch.equal(before[n], after[n]) or before[n].isnan().any() for n in before)


@pytest.mark.medium
@pytest.mark.parametrize("name", IMITATING)
def test_imitation_is_at_the_temperature_and_knows_no_filters(name: str) -> None:
    found = []
    for more in ({}, {"top_k": 2}, {"top_p": 0.5, "min_p": 0.1}, {"temperature": 2.0}):
        lm, sampling = tiny_lm(), SamplingOptions(max_new_tokens=3, **more)
        options: dict[str, Any] = {"warmup_updates": 0} if name == "offline_archer" else {}
        if hasattr(RECORDS[name](), "replay"):
            options["replay"] = NO_MEMORY
        made = ALGORITHMS[name](
            lm, make_engine(lm, sampling), RECORDS[name](**options), sampling=sampling,
            optim=OptimOptions(lr=1e-2), kl=KLOptions(), seed=0,
        )  # fmt: skip
        made.update(stored(mixed_batch(lm)), seed=0)
        found.append(weights(made))
    plain, *filtered, hot = found
    assert all(same_bits(plain, other) for other in filtered)
    assert not same_bits(plain, hot)
