"""Row 36: no option does nothing. Every field of every options record, changed, is felt.

The probe is three updates on stale data. A field that is not in the tables below fails the test:
who adds an option says here what it changes.
"""

from __future__ import annotations

import functools
from dataclasses import fields
from typing import Any

import pytest
import torch
from engine_cases import drain
from learner_cases import END, mixed_batch, perturb, randomise_critic, tiny_lm, weights

from sayso.algorithms.kinds import (
    HEADS_ONLY,
    NEEDS_NO_REWARD,
    OFFLINE_ONLY,
    ON_POLICY,
    WITH_CRITIC,
    WITHOUT_KL,
)
from sayso.algorithms.options.a2c import A2COptions
from sayso.algorithms.options.archer import ArCHerOptions
from sayso.algorithms.options.awr import AWROptions
from sayso.algorithms.options.bc import BCOptions
from sayso.algorithms.options.candidate_dqn import CandidateDQNOptions
from sayso.algorithms.options.candidate_sac import CandidateSACOptions
from sayso.algorithms.options.ensemble import EnsembleOptions
from sayso.algorithms.options.filtered_bc import FilteredBCOptions
from sayso.algorithms.options.grpo import GRPOOptions
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.offline_archer import OfflineArCHerOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.algorithms.options.ppo import PPOOptions
from sayso.algorithms.options.q_sharp import QSharpOptions
from sayso.algorithms.options.reinforce import ReinforceOptions
from sayso.algorithms.options.reinforce_pp import ReinforcePPOptions
from sayso.algorithms.options.rloo import RLOOOptions
from sayso.algorithms.options.soft_q import SoftQOptions
from sayso.algorithms.registry import ALGORITHMS
from sayso.app.config import RunConfig
from sayso.data.options import ReplayOptions
from sayso.sampling.base import Request
from sayso.sampling.make import make_engine
from sayso.sampling.options import CandidateOptions, SamplingOptions

Case = tuple[dict[str, Any], list[Any]]
"""Options that make the field matter, and values that must differ from it and from each other."""

SEVERAL_PASSES = {"epochs": 4}
CLIPS: dict[str, Case] = {
    "clip_low": (SEVERAL_PASSES, [0.2, 0.01]),
    "clip_high": (SEVERAL_PASSES, [0.2, 0.01]),
}
GROUPS: dict[str, Case] = {
    "tasks_per_step": ({}, [2, 3]),
    "group_size": ({}, [2, 3]),
    "entropy_coef": ({}, [0.0, 0.1, 0.2]),
}
SUBSET: dict[str, Case] = {"train_on": ({"group_size": 3}, [None, 2])}
PASSES: dict[str, Case] = {"epochs": ({}, [1, 2]), "minibatches": ({}, [1, 2, 3])}
CRITIC: dict[str, Case] = {
    "gamma_token": ({}, [1.0, 0.9]),
    "gamma_turn": ({}, [1.0, 0.9]),
    "lam": ({}, [1.0, 0.9, 0.0]),
    "value_coef": ({}, [0.0, 0.5, 1.0]),
    "critic_lr": ({}, [1e-3, 1e-2]),
}
REPLAYED: dict[str, Case] = {
    "tasks_per_step": ({}, [2, 3]),
    "group_size": ({}, [2, 3]),
    "updates_per_step": ({}, [1, 2, 4]),
    "critic_lr": ({}, [1e-3, 1e-2]),
}
MEMORIES = [ReplayOptions(), ReplayOptions(capacity=0), ReplayOptions(capacity=7)]
HISTOGRAM = {"returns": "histogram", "low": -1.0, "high": 3.0, "bins": 9}
UTTERANCES: dict[str, Case] = {
    "gamma_turn": ({}, [0.9, 0.5]),
    "critic_updates": ({}, [1, 2]),
    "critic_lr": ({}, [1e-3, 1e-2]),
    "target_rate": ({}, [0.05, 0.5]),
    "trunk": ({}, ["frozen", "copy"]),
    "actor_updates": ({}, [1, 2]),
    "warmup_updates": ({}, [0, 1, 2]),
}
CANDIDATE_LEARNERS: dict[str, Case] = {
    "tasks_per_step": ({}, [2, 3]),
    "group_size": ({}, [2, 3]),
    "candidates": ({}, [CandidateOptions(num_proposals=2), CandidateOptions(num_proposals=5)]),
    "features": ({}, ["lm", "own"]),
    "gamma_turn": ({"target_every": 1}, [1.0, 0.5]),
    "huber": ({}, [1.0, 0.01]),
    "critic_lr": ({}, [1e-3, 1e-2]),
    "draws": ({}, [8, 9]),
    "updates_per_step": ({}, [1, 2]),
    "learning_starts": ({}, [0, 12, 20]),
    "target_every": ({}, [1, 2, 3]),
    "target_rate": ({"target_every": 1}, [1.0, 0.5]),
    "replay": ({}, [ReplayOptions(), ReplayOptions(capacity=0), ReplayOptions(capacity=2)]),
}
TUNED = {"critic_lr": 3e-2}
ALGORITHM_TABLES: dict[type[Any], dict[str, Case]] = {
    GRPOOptions: GROUPS | SUBSET | PASSES | CLIPS | {
        "variant": ({}, ["grpo", "dr_grpo", "dapo", "gspo", "cispo"]),
        "resample_rounds": ({}, [None, 1, 2]),
        "clip_low": (SEVERAL_PASSES, [None, 0.01]),
        "clip_high": (SEVERAL_PASSES, [None, 0.01]),
    },
    RLOOOptions: GROUPS | SUBSET,
    ReinforceOptions: GROUPS | {
        "baseline": ({}, ["none", "batch_mean", "moving_average"]),
        "decay": ({}, [0.9, 0.1]),
        "gamma_turn": ({}, [1.0, 0.5]),
    },
    ReinforcePPOptions: GROUPS | PASSES | CLIPS,
    A2COptions: GROUPS | CRITIC,
    PPOOptions: GROUPS | PASSES | CLIPS | CRITIC | {
        "value_clip": (SEVERAL_PASSES, [None, 0.01]),
        "target_kl": (SEVERAL_PASSES, [None, 1e-6]),
        "whiten": ({}, ["batch", "none"]),
    },
    SoftQOptions: REPLAYED | {
        "mode": ({}, ["td", "pcl", "trajectory"]),
        "beta": ({}, [0.1, 0.5]),
        "alpha": ({}, [0.0, 0.01, 0.1]),
        "value_coef": ({}, [0.0, 0.5, 1.0]),
        "gamma_turn": ({"mode": "td"}, [1.0, 0.9]),
        "target_rate": ({"mode": "td"}, [0.05, 0.5]),
        "replay": ({}, [
            *MEMORIES, ReplayOptions(sampling="success"), ReplayOptions(sampling="prioritised"),
        ]),
    },
    QSharpOptions: {name: (HISTOGRAM | more, values) for name, (more, values) in REPLAYED.items()}
    | {
        "returns": ({}, ["success", "histogram"]),
        "beta": (HISTOGRAM, [0.1, 0.5]),
        "low": (HISTOGRAM, [-1.0, -2.0]),
        "high": (HISTOGRAM, [3.0, 4.0]),
        "bins": (HISTOGRAM, [9, 5]),
        "num_weighed": (HISTOGRAM, [None, 1, 2]),
        "replay": (HISTOGRAM, MEMORIES),
    },
    BCOptions: {"per": ({}, ["token", "episode"])},
    FilteredBCOptions: {
        "tasks_per_step": ({}, [2, 3]),
        "group_size": ({}, [2, 3]),
        "top": ({}, [0.1, 0.5, 1.0]),
        "among": ({"top": 0.5}, ["all", "task"]),
        "updates_per_step": ({}, [1, 2]),
        "draws": ({"top": 1.0}, [1, 3, 64]),
        "replay": ({"top": 1.0}, [
            ReplayOptions(capacity=1000), ReplayOptions(capacity=4), ReplayOptions(capacity=0),
            ReplayOptions(capacity=1000, max_age=1),
        ]),
    },
    AWROptions: {
        "beta": ({}, [1.0, 0.1]),
        "max_weight": ({"beta": 0.1}, [20.0, 1.5]),
        "gamma_token": ({}, [1.0, 0.9]),
        "gamma_turn": ({}, [1.0, 0.9]),
        "value_coef": ({}, [0.0, 0.5, 1.0]),
        "critic_lr": ({}, [1e-3, 1e-2]),
    },
    ArCHerOptions: UTTERANCES | {
        "tasks_per_step": ({}, [2, 3]),
        "group_size": ({}, [2, 3]),
        "draws": ({}, [2, 5]),
        "value_actions": ({}, ["data", "policy"]),
        "actor_states": ({}, ["fresh", "replay"]),
        "baseline": ({}, ["none", "token"]),
        "entropy_coef": ({}, [0.0, 0.1, 0.2]),
        "replay": ({}, [ReplayOptions(), ReplayOptions(capacity=3),
                        ReplayOptions(sampling="success")]),
    },
    OfflineArCHerOptions: UTTERANCES | {
        "tau": ({}, [0.5, 0.9]),
        "advantage_weight": ({}, [0.0, 1.0, 2.0]),
        "max_weight": ({"advantage_weight": 5.0}, [20.0, 0.5]),
    },
    CandidateDQNOptions: CANDIDATE_LEARNERS | {
        "explore": (TUNED, ["boltzmann", "epsilon", "thompson", "ucb"]),
        "ensemble": ({"explore": "ucb"}, [
            EnsembleOptions(**more) for more in (
                {}, {"heads": 3}, {"prior_scale": 5.0}, {"bootstrap": 1.0}, {"bonus": 9.0},
            )
        ]),
        "alpha": (TUNED, [10.0, 1.0]),
        "epsilon_start": (TUNED | {"explore": "epsilon"}, [0.3, 0.9]),
        "epsilon_end": (TUNED | {"explore": "epsilon", "epsilon_decisions": 9}, [0.05, 0.5]),
        "epsilon_decisions": (TUNED | {"explore": "epsilon"}, [10_000, 9]),
        "evaluate": (TUNED, ["greedy", "sampled"]),
        "backup": (TUNED | {"target_every": 1}, ["double", "soft"]),
        "twins": ({}, ["one", "average", "min"]),
        "n_step": ({"target_every": 1}, [1, 2]),
        "alpha_cql": ({}, [0.0, 0.1]),
    },
    CandidateSACOptions: CANDIDATE_LEARNERS | {
        "twins": (TUNED, ["average", "min"]),
        "evaluate": (TUNED, ["greedy", "sampled"]),
        "temperature": ({}, [0.1, 0.5]),
        "target_entropy": ({"temperature": 0.5}, [None, 0.1, 0.9]),
        "temperature_lr": ({}, [0.01, 0.1]),
    },
}  # fmt: skip
NO_KL = {record for record in ALGORITHM_TABLES if record().type in WITHOUT_KL}
"""Algorithms whose loss has no divergence from a reference, or one of its own."""
BASE: dict[type[Any], dict[str, Any]] = {
    ArCHerOptions: {"warmup_updates": 0, "critic_updates": 3, "draws": 4},
    OfflineArCHerOptions: {"warmup_updates": 0, "critic_updates": 3},
}
"""Options under which three updates can show what another one does."""
OPTIM_TABLE: dict[str, Case] = {
    "lr": ({}, [1e-3, 1e-2]),
    "weight_decay": ({}, [0.0, 0.1]),
    "beta1": ({}, [0.9, 0.5]),
    "beta2": ({}, [0.999, 0.9]),
    "eps": ({}, [1e-8, 1e-3]),
    "max_grad_norm": ({"eps": 1e-3}, [1.0, 0.01]),
    "schedule": ({"total_steps": 4}, ["linear", "cosine"]),
    "warmup_steps": ({}, [0, 4]),
    "total_steps": ({"schedule": "linear"}, [3, 10]),
    "micro_batch_tokens": ({}, [1, 20, 1024]),
}
KL_TABLE: dict[str, Case] = {
    "coef": ({}, [0.0, 0.1, 0.5]),
    "place": ({"coef": 0.5}, ["reward", "loss"]),
    "estimator": ({"coef": 0.5, "place": "loss"}, ["k2", "k3"]),
    "target": ({"coef": 0.5}, [None, 0.01, 0.2]),
    "horizon": ({"coef": 0.5, "target": 0.01}, [1000, 10]),
}


@functools.cache  # records of the same values are felt alike, and defaults come up in each table
def felt(options: Any, *, optim: OptimOptions, kl: KLOptions) -> tuple[Any, ...]:
    """All that three updates leave behind, what is said then, what the learner wants played."""
    torch.set_num_threads(1)
    lm = tiny_lm()
    sampling = SamplingOptions(max_new_tokens=3)
    made = ALGORITHMS[options.type](
        lm, make_engine(lm, sampling), options, sampling=sampling, optim=optim, kl=kl, seed=0
    )
    perturb(lm, scale=0.05, seed=1)  # away from the reference,
    episodes = mixed_batch(lm)
    perturb(lm, scale=0.1)  # and away from the policy that sampled
    if lm.value_head is not None:
        randomise_critic(lm)
    num_rows = len(made.core.pack(episodes).rows)
    for seed, batch in enumerate((episodes, episodes[:3], episodes)):
        made.update(batch, seed=seed)
    numbers = torch.cat([w.flatten() for w in weights(made).values()])
    said = []
    if type(options) in NO_KL:
        asked = [
            Request(session=str(i), new_ids=(END,), seed=i, max_new_tokens=3) for i in range(9)
        ]
        for acting in (made.sampler(), made.policy()):
            done = drain(acting.engine, asked)
            said.append(tuple((one.ids, one.logprobs) for one in done.values()))
    return made.plan, num_rows, tuple(numbers.tolist()), tuple(said), says(made)


def says(made: Any) -> tuple[Any, ...]:
    """What a policy that is more than its weights says of one context."""
    if not hasattr(made, "guide"):
        return ()
    hidden = torch.linspace(-1, 1, made.lm.width, dtype=torch.float64)[None]
    engine = made.policy().engine
    engine.submit(Request(session="probe", new_ids=(2, 0), seed=4, max_new_tokens=3))
    (found,) = engine.poll()
    logits = made.guide(hidden, made.lm.logits(hidden), beta=made.options.beta)
    return (*found.logprobs, *logits[0].tolist())


def all_differ(found: list[tuple[Any, ...]]) -> bool:
    return all(one != other for i, one in enumerate(found) for other in found[:i])


def cases(table: dict[str, Case]) -> list[Any]:
    return [pytest.param(name, *case, id=name) for name, case in table.items()]


ALGORITHM_CASES = [
    pytest.param(record, name, *case, id=f"{record.__name__}.{name}")
    for record, table in ALGORITHM_TABLES.items()
    for name, case in table.items()
]


@pytest.mark.medium
@pytest.mark.parametrize(("record", "name", "more", "values"), ALGORITHM_CASES)
def test_row_36_every_option_of_every_algorithm_is_felt(
    record: type[Any], name: str, more: dict[str, Any], values: list[Any]
) -> None:
    optim = OptimOptions(lr=1e-2)
    more = {**BASE.get(record, {}), **more}
    found = [felt(record(**{**more, name: value}), optim=optim, kl=KLOptions()) for value in values]
    assert all_differ(found)


@pytest.mark.parametrize("record", [RLOOOptions, PPOOptions])
@pytest.mark.parametrize(("name", "more", "values"), cases(OPTIM_TABLE))
def test_row_36_every_option_of_the_optimiser_is_felt(
    record: type[Any], name: str, more: dict[str, Any], values: list[Any]
) -> None:
    found = [
        felt(record(), optim=OptimOptions(**{"lr": 1e-2, **more, name: value}), kl=KLOptions())
        for value in values
    ]
    assert all_differ(found)


@pytest.mark.parametrize("record", [r for r in ALGORITHM_TABLES if r not in NO_KL])
@pytest.mark.parametrize(("name", "more", "values"), cases(KL_TABLE))
def test_row_36_every_kl_option_is_felt_by_every_algorithm(
    record: type[Any], name: str, more: dict[str, Any], values: list[Any]
) -> None:
    def options(value: Any) -> KLOptions:
        table = {**more, name: value}
        if table.get("place") == "loss":
            table.setdefault("estimator", "k3")
        return KLOptions(**table)

    optim = OptimOptions(lr=1e-2)
    made = record(**BASE.get(record, {}))
    assert all_differ([felt(made, optim=optim, kl=options(value)) for value in values])


@pytest.mark.parametrize(
    ("record", "table"),
    [*ALGORITHM_TABLES.items(), (OptimOptions, OPTIM_TABLE), (KLOptions, KL_TABLE)],
)
def test_row_36_a_new_option_needs_an_entry_here(record: type[Any], table: dict[str, Case]) -> None:
    assert {f.name for f in fields(record)} - {"type"} == table.keys()


def test_row_36_a_new_algorithm_needs_a_table_here() -> None:
    others = {"mc_returns", "ilql", "token_dqn", "dpo"}  # test_token_learners, test_preference
    assert {record().type for record in ALGORITHM_TABLES} | others == ALGORITHMS.keys()
    assert {"algorithm", "optim", "kl"} <= {f.name for f in fields(RunConfig)}


def test_the_kinds_of_algorithms_are_what_their_classes_say() -> None:
    """The sets are read before any class is loaded."""
    assert {n for n, made in ALGORITHMS.items() if hasattr(made, "action_values")} == WITH_CRITIC
    for kind in (HEADS_ONLY, NEEDS_NO_REWARD, OFFLINE_ONLY, ON_POLICY, WITHOUT_KL):
        assert kind < ALGORITHMS.keys()
    assert not OFFLINE_ONLY & ON_POLICY


@pytest.mark.parametrize(("variant", "same"), [("gspo", "grpo"), ("cispo", "dapo")])
def test_on_a_single_exact_step_two_variants_are_others_and_clips_do_nothing(
    variant: str, same: str
) -> None:
    """What ``app.refusals`` refuses or tells of is true; two steps on a batch tell them apart."""

    def after(variant: Any, **more: Any) -> torch.Tensor:
        lm = tiny_lm()
        sampling = SamplingOptions(max_new_tokens=3)
        options = GRPOOptions(variant=variant, **more)
        made = ALGORITHMS["grpo"](
            lm, make_engine(lm, sampling), options, sampling=sampling,
            optim=OptimOptions(lr=1e-2), kl=KLOptions(), seed=0,
        )  # fmt: skip
        made.update(mixed_batch(lm), seed=0)
        return torch.cat([w.flatten() for w in weights(made).values()])

    torch.testing.assert_close(after(variant), after(same), rtol=0, atol=1e-9)
    assert torch.equal(after(same), after(same, clip_low=0.01, clip_high=0.01))
    assert not torch.allclose(after(variant, epochs=3), after(same, epochs=3), rtol=0, atol=1e-6)
