"""What learners of token values promise: numbers, layout, memory, state, every option."""

from __future__ import annotations

import functools
import math
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from learner_cases import (
    END,
    flat,
    gradient_of,
    mixed_batch,
    perturb,
    same_bits,
    tiny_lm,
    weights,
    written,
)
from value_cases import NO_MEMORY, RECORDS, VALUE_LEARNERS, value_learner

from sayso.algorithms.acting import Actable
from sayso.algorithms.base import Learner, LearnerState
from sayso.algorithms.options.acting import ActingOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.app import assemble
from sayso.app.config import load_config
from sayso.data.options import ReplayOptions
from sayso.envs.registry import source
from sayso.metrics import Mean
from sayso.models.options import LoraOptions
from sayso.models.seeding import seeded
from sayso.rollout.collect import collect
from sayso.rollout.limits import RolloutLimits
from sayso.types import EndReason

pytestmark = pytest.mark.medium

every_learner = pytest.mark.parametrize("name", VALUE_LEARNERS)
trained = pytest.mark.parametrize("train_lm", [True, False])
BOOTSTRAPPING = ("ilql", "token_dqn")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def randomise_heads(made: Any, *, seed: int = 5) -> None:
    """Values and targets that say something else of every token."""
    with seeded(seed), torch.no_grad():
        for parameter in made.heads.parameters():
            parameter.normal_()


def made_on_stale_data(name: str, **more: Any) -> tuple[Any, Any]:
    """A learner that knows something, and episodes of an older policy."""
    lm = tiny_lm()
    episodes = mixed_batch(lm)
    made = value_learner(name, lm, **more)
    perturb(lm, scale=0.03)
    randomise_heads(made)
    return made, episodes


@every_learner
def test_it_is_a_learner_that_values_steer(name: str) -> None:
    made = value_learner(name)
    assert isinstance(made, Learner)
    assert isinstance(made, Actable)


@every_learner
@trained
def test_row_02_the_gradient_does_not_depend_on_the_micro_batch_or_the_order(
    name: str, train_lm: bool
) -> None:
    made, episodes = made_on_stale_data(
        name, replay=NO_MEMORY, train_lm=train_lm, alpha_cql=0.3, gamma_token=0.9, gamma_turn=0.8
    )
    expected = flat(gradient_of(made, episodes))
    assert expected.norm() > 0
    for budget in (1, 9, 14):
        made.core.optimiser.options = OptimOptions(micro_batch_tokens=budget)
        assert len(made.core.pack(episodes).rows) > 1
        found = flat(gradient_of(made, episodes))
        assert (found - expected).abs().max() <= 1e-12 * expected.abs().max()
        order = np.random.default_rng(budget).permutation(len(episodes))
        shuffled = flat(gradient_of(made, [episodes[i] for i in order]))
        assert (shuffled - expected).abs().max() <= 1e-12 * expected.abs().max()


@every_learner
def test_row_45_metrics_are_means_over_all_tokens_whatever_the_micro_batch(name: str) -> None:
    updates = []
    for budget in (1, 9, 1000):
        made, episodes = made_on_stale_data(
            name, replay=NO_MEMORY, updates_per_step=1, alpha_cql=0.3,
            optim=OptimOptions(micro_batch_tokens=budget),
        )  # fmt: skip
        updates.append(made.update(episodes, seed=0).metrics)
    for metrics in updates[1:]:
        assert metrics.keys() == updates[0].keys()
        for key, mean in metrics.items():
            assert mean.count == pytest.approx(updates[0][key].count)
            assert mean.value == pytest.approx(updates[0][key].value, rel=1e-9, abs=1e-12), key
    heads = 2 if name == "ilql" else 1
    num_actions = sum(e.num_action_tokens for e in mixed_batch(tiny_lm()))
    assert updates[0]["q/td_error"].count == heads * num_actions


@every_learner
def test_a_lone_episode_teaches_and_an_ungraded_one_is_left_out(name: str) -> None:
    made, episodes = made_on_stale_data(name, replay=NO_MEMORY, updates_per_step=1)
    expected = flat(gradient_of(made, episodes))
    turns = (episodes[0].turns[0].observation_ids, [1, 1, END])
    ungraded = written(made.lm, [(*turns, None)], task="one", sample=3)
    assert torch.equal(flat(gradient_of(made, [*episodes, ungraded])), expected)
    assert made.update([ungraded], seed=0).num_optimiser_steps == 0
    lone = made.update(episodes[:1], seed=0)
    assert lone.num_optimiser_steps == 1
    assert lone.warnings == ()
    assert made.update([*episodes, ungraded], seed=0).metrics["group/ungraded_frac"] == Mean(1, 7)


@every_learner
def test_a_loss_that_is_not_finite_is_a_step_that_is_not_taken(name: str) -> None:
    made, episodes = made_on_stale_data(name)
    with torch.no_grad():
        next(made.heads.parameters()).fill_(math.nan)
    before = weights(made)
    update = made.update(episodes, seed=0)
    assert update.num_optimiser_steps == 0
    assert "loss is nan" in update.skipped[0].reason
    assert all(
        torch.equal(before[n].nan_to_num(), w.nan_to_num()) for n, w in weights(made).items()
    )


@every_learner
@pytest.mark.parametrize("lora", [None, LoraOptions(rank=2)])
def test_a_frozen_trunk_stays_what_it_was_and_another_does_not(
    name: str, lora: LoraOptions | None
) -> None:
    for train_lm in (False, True):
        made, episodes = made_on_stale_data(name, train_lm=train_lm)
        made = value_learner(name, tiny_lm(lora=lora), train_lm=train_lm)
        before = {n: p.clone() for n, p in made.lm.network.named_parameters()}
        for seed in range(2):
            made.update(episodes, seed=seed)
        after = dict(made.lm.network.named_parameters())
        assert same_bits(before, after) == (not train_lm)
        assert made.heads.state_dict()


@every_learner
def test_a_resumed_learner_goes_on_bit_for_bit(name: str) -> None:
    optim = OptimOptions(lr=1e-2, warmup_steps=5, micro_batch_tokens=16)
    options: dict[str, Any] = {
        "updates_per_step": 3, "draws": 4,
        "replay": ReplayOptions(capacity=8, sampling="prioritised"),
    }  # fmt: skip
    one = value_learner(name, optim=optim, **options)
    episodes = mixed_batch(one.lm)
    one.update(episodes, seed=0)
    one.update(episodes[:3], seed=1)
    state = one.state()
    saved = LearnerState(
        tensors={n: t.clone() for n, t in state.tensors.items()}, values=dict(state.values)
    )
    two = value_learner(name, optim=optim, **options)
    two.load_state(saved)
    assert same_bits(dict(two.state().tensors), dict(saved.tensors))
    assert len(two.memory) == 8
    updates = [made.update(episodes, seed=2) for made in (one, two)]
    assert updates[0].metrics == updates[1].metrics
    assert same_bits(dict(one.state().tensors), dict(two.state().tensors))
    assert one.state().values == two.state().values
    assert not same_bits(dict(one.state().tensors), dict(saved.tensors))
    targets = [n for n in saved.tensors if n.startswith("target.")]
    assert bool(targets) == (name in BOOTSTRAPPING)
    if name == "token_dqn":
        assert one.epsilon == two.epsilon < one.options.epsilon_start


@every_learner
def test_a_memory_is_drawn_from_and_one_without_room_is_not(name: str) -> None:
    made, episodes = made_on_stale_data(name, updates_per_step=2)
    assert made.update(episodes, seed=0).metrics["replay/episodes"] == Mean(6, 1)
    update = made.update(episodes[:2], seed=1)
    assert update.num_optimiser_steps == 2
    assert len(made.memory) == 8
    made, episodes = made_on_stale_data(name, updates_per_step=2, replay=NO_MEMORY)
    update = made.update(episodes, seed=0)
    assert "replay/episodes" not in update.metrics
    assert not len(made.memory)
    assert update.num_optimiser_steps == 2


@every_learner
def test_what_is_drawn_depends_on_the_seed_alone(name: str) -> None:
    found = []
    for seed in (0, 0, 1):
        made, episodes = made_on_stale_data(name, draws=3)
        made.update(episodes, seed=seed)
        found.append(weights(made))
    assert same_bits(found[0], found[1])
    assert not same_bits(found[0], found[2])


@every_learner
def test_priorities_are_the_errors_of_the_episodes(name: str) -> None:
    """Of the step's own values, a mean over the tokens of each episode."""
    replay = ReplayOptions(capacity=10, sampling="prioritised", alpha=1.0)
    made = value_learner(name, replay=replay, updates_per_step=1, draws=20)
    pair = [written(made.lm, [([END], [0], 0.25)]), written(made.lm, [([END], [1, 1], 4.0)])]
    made.update(pair, seed=0)
    # Nothing was known: the error is the target, of the second's first token what follows.
    first = 4.0 if name == "mc_returns" else 0.0
    priorities = list(made.memory.replay._priority.values())
    assert priorities == pytest.approx([0.25, (first + 4.0) / 2], abs=1e-5)


@every_learner
def test_row_26_after_an_update_the_engines_sample_from_the_new_weights(name: str) -> None:
    made = value_learner(name, tiny_lm(dtype="float32"), optim=OptimOptions(lr=0.1), critic_lr=0.1)
    words = source("sayso/TinyLang-v0")

    def said(policy: Any) -> list[Any]:
        episodes = collect(policy, words.open().tasks("train"), words, group_size=8, seed=0,
                           path=("rollout",), limits=RolloutLimits())  # fmt: skip
        return [(e.turns[0].action_ids, e.turns[0].action_logprobs) for e in episodes]

    before = [said(made.sampler()), said(made.policy())]
    update = made.update(mixed_batch(made.lm), seed=0)
    assert made.sampler().version == made.policy().version == update.num_optimiser_steps >= 1
    after = [said(made.sampler()), said(made.policy())]
    assert after[0] != before[0]
    assert after[1] != before[1]
    assert (after[0] == after[1]) == (name != "token_dqn")  # which explores


PLAN: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "tasks_per_step": ({}, [2, 3]),
    "group_size": ({}, [2, 3]),
    "updates_per_step": ({}, [1, 2]),
    "draws": ({}, [None, 2, 3]),
    "gamma_token": ({}, [1.0, 0.9]),
    "gamma_turn": ({}, [1.0, 0.9]),
    "critic_loss": ({}, ["mse", "huber"]),
    "alpha_cql": ({}, [0.0, 0.1, 0.5]),
    "cql_tokens": ({"alpha_cql": 0.5}, [0, 2]),
    "critic_lr": ({}, [1e-3, 1e-2]),
    "head_rank": ({}, [0, 2, 3]),
    "train_lm": ({}, [True, False]),
    "acting": ({}, [ActingOptions(), ActingOptions(beta=1.0), ActingOptions(adv_clip_max=-0.1),
                    ActingOptions(topk_before=1)]),
    "replay": ({"updates_per_step": 2}, [ReplayOptions(), ReplayOptions(capacity=3), NO_MEMORY]),
}  # fmt: skip
TARGETS: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "target_rate": ({}, [0.005, 0.5]),
    "target_every": ({"target_rate": 0.5}, [1, 2]),
}
TABLES: dict[str, dict[str, tuple[dict[str, Any], list[Any]]]] = {
    "mc_returns": PLAN | {"bc_coef": ({}, [0.0, 1.0, 2.0])},
    "ilql": PLAN | TARGETS | {
        "bc_coef": ({}, [0.0, 1.0, 2.0]),
        "backup": ({}, ["expectile", "sarsa"]),
        "tau": ({}, [0.5, 0.9]),
        "num_heads": ({}, [1, 2]),
        "advantage_weight": ({}, [0.0, 1.0]),
    },
    "token_dqn": PLAN | TARGETS | {
        "token_set": ({}, [None, 1, 2]),
        "double": ({}, [True, False]),
        "dueling": ({}, [True, False]),
        "n_step": ({}, [1, 2, 9]),
        "epsilon_start": ({}, [0.3, 0.9]),
        "epsilon_end": ({"epsilon_decisions": 2}, [0.05, 0.4]),
        "epsilon_decisions": ({}, [3, 100]),
        "explore_temperature": ({}, [1.5, 3.0]),
    },
}  # fmt: skip


@functools.cache  # defaults come up for every option
def felt(options: Any) -> tuple[Any, ...]:
    """What an update leaves behind, what is asked of the environment, and what is said then."""
    lm = tiny_lm()
    given = {f.name: getattr(options, f.name) for f in fields(options) if f.name != "type"}
    made = value_learner(options.type, lm, **given)
    perturb(lm, scale=0.05, seed=1)
    episodes = mixed_batch(lm)
    randomise_heads(made)
    with torch.no_grad():
        for parameter in made.heads.parameters():
            parameter.mul_(0.5)
    for seed, batch in enumerate((episodes, episodes[:3], episodes)):
        made.update(batch, seed=seed)
    numbers = torch.cat([w.flatten() for w in weights(made).values()])
    words = source("sayso/TinyLang-v0")
    logprobs = []
    for policy in (made.sampler(), made.policy()):
        said = collect(policy, words.open().tasks("train"), words, group_size=4, seed=0,
                       path=("rollout",), limits=RolloutLimits())  # fmt: skip
        logprobs += [(e.turns[0].action_ids, e.turns[0].action_logprobs) for e in said]
    return made.plan, tuple(numbers.tolist()), tuple(logprobs)


@pytest.mark.parametrize(
    ("name", "option"), [(name, option) for name, table in TABLES.items() for option in table]
)
def test_row_36_every_option_is_felt(name: str, option: str) -> None:
    more, values = TABLES[name][option]
    found = [felt(RECORDS[name](**{**more, option: value})) for value in values]
    assert all(one != other for i, one in enumerate(found) for other in found[:i])


@every_learner
def test_row_36_a_new_option_needs_an_entry_here(name: str) -> None:
    assert {f.name for f in fields(RECORDS[name])} - {"type"} == TABLES[name].keys()


@pytest.mark.parametrize(
    ("name", "options", "named"),
    [
        ("mc_returns", {"updates_per_step": 0}, "updates_per_step"),
        ("mc_returns", {"draws": 4, "replay": NO_MEMORY}, "draws"),
        ("mc_returns", {"alpha_cql": -1.0}, "alpha_cql"),
        ("ilql", {"tau": 1.0}, "tau"),
        ("ilql", {"tau": 0.9, "backup": "sarsa"}, "tau"),
        ("ilql", {"target_rate": 0.0}, "target_rate"),
        ("ilql", {"num_heads": 0}, "num_heads"),
        ("ilql", {"train_lm": False, "bc_coef": 0.5}, "bc_coef"),
        ("ilql", {"train_lm": False, "advantage_weight": 0.5}, "advantage_weight"),
        ("ilql", {"alpha_cql": 0.0, "cql_tokens": 3}, "cql_tokens"),
        ("mc_returns", {"train_lm": False, "bc_coef": 0.5}, "bc_coef"),
        ("token_dqn", {"epsilon_start": 1.5}, "epsilon_start"),
        ("token_dqn", {"n_step": 0}, "n_step"),
        ("token_dqn", {"cql_tokens": 3}, "cql_tokens"),
        ("token_dqn", {"gamma_token": 1.5}, "gamma_token"),
    ],
)
def test_options_without_a_meaning_are_refused(
    name: str, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        RECORDS[name](**options)


def test_saved_heads_of_another_shape_are_told_not_dropped_in_silence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    saved = value_learner("ilql", num_heads=2).heads.state_dict()
    for num_heads in (2, 3):
        lm = tiny_lm()
        lm.saved_q_heads = saved
        value_learner("ilql", lm, num_heads=num_heads)
        assert ("begin anew" in caplog.text) == (num_heads == 3)


@pytest.mark.parametrize("name", BOOTSTRAPPING)
def test_a_cut_off_episode_reaches_the_gradient_by_its_last_context(name: str) -> None:
    turns = [([END], [0, 1], 1.0), ([1], [0, 1], 0.5)]
    found = []
    for end in (EndReason.TRUNCATED, EndReason.TERMINATED):
        made, _ = made_on_stale_data(name, replay=NO_MEMORY, critic_loss="mse")
        found.append(flat(gradient_of(made, [written(made.lm, turns, end=end)])))
    assert (found[0] - found[1]).abs().max() > 1e-3


@pytest.mark.parametrize("name", VALUE_LEARNERS)
def test_no_engine_is_made_to_be_thrown_away(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"model": {"name": "tiny"}, "env": {"id": "sayso/TinyLang-v0"}}
    config = load_config({**table, "algorithm": {"type": name}}, source="test")
    lm, made = assemble.build_lm(config), list[str]()
    monkeypatch.setattr(assemble, "make_engine", lambda *_: made.append(name))
    assert isinstance(assemble.build_learner(config, lm), Learner)
    assert not made
