"""Every learner on episodes whose turns are texts of their own: same gradient however it is cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from candidate_cases import MAZE, candidate_learner, maze_lm
from learner_cases import (
    CRITICS,
    IMITATORS,
    SOFT,
    VARIANTS,
    built,
    flat,
    gradient_of,
    learner,
    mixed_batch,
    perturb,
    randomise_critic,
    tiny_lm,
)
from value_cases import NO_MEMORY, VALUE_LEARNERS, value_learner

from sayso.algorithms.options.archer import ArCHerOptions
from sayso.algorithms.options.candidate_dqn import CandidateDQNOptions
from sayso.algorithms.options.offline_archer import OfflineArCHerOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.envs.registry import source
from sayso.models.seeding import seeded
from sayso.rollout.collect import collect
from sayso.rollout.limits import RolloutLimits
from sayso.sampling.options import CandidateOptions, SamplingOptions
from sayso.types import Episode

pytestmark = pytest.mark.medium


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def archer(record: Any, trunk: str, **more: Any) -> Callable[[Any], Any]:
    return lambda lm: built(record(trunk=trunk, **more), lm)


LEARNERS: dict[str, Callable[[Any], Any]] = {
    **{
        name: lambda lm, name=name: learner(name, lm)
        for name in (*VARIANTS, *SOFT, *IMITATORS)
        if name != "filtered_bc_online"  # its memory would hold what the first update was given
    },
    **{
        name: lambda lm, name=name: value_learner(name, lm, replay=NO_MEMORY)
        for name in VALUE_LEARNERS
    },
    "archer": archer(ArCHerOptions, "frozen", replay=NO_MEMORY),
    "archer copy": archer(ArCHerOptions, "copy", replay=NO_MEMORY),
    "offline archer": archer(OfflineArCHerOptions, "copy"),
}


def turnwise(lm: Any) -> list[Episode]:
    return [replace(episode, context="turn") for episode in mixed_batch(lm)]


@pytest.mark.parametrize("name", list(LEARNERS))
def test_the_gradient_depends_on_what_was_seen_and_not_on_the_micro_batch(name: str) -> None:
    lm = tiny_lm()
    made, episodes = LEARNERS[name](lm), turnwise(lm)
    perturb(lm, scale=0.03)
    if name in CRITICS:
        randomise_critic(lm)
    if lm.q_heads is not None:
        with seeded(5), torch.no_grad():
            for parameter in lm.q_heads.parameters():
                parameter.normal_()
    expected = flat(gradient_of(made, episodes))
    assert expected.norm() > 0
    for budget in (1, 9, 14):
        made.core.optimiser.options = OptimOptions(micro_batch_tokens=budget)
        assert len(made.core.pack(episodes).rows) > 1
        found = flat(gradient_of(made, episodes))
        assert (found - expected).abs().max() <= 1e-11 * expected.abs().max()
    whole = flat(gradient_of(made, mixed_batch(lm)))
    assert (whole - expected).abs().max() > 1e-3 * expected.abs().max()


def test_what_a_decision_among_candidates_is_judged_by_is_the_observation_either_way() -> None:
    maze = source("sayso/Maze-v0", **MAZE)
    found = {}
    for context in ("episode", "turn"):
        for state in ("context", "observation"):
            made = candidate_learner(
                CandidateDQNOptions(
                    candidates=CandidateOptions(state=state),  # type: ignore[arg-type]
                    replay=NO_MEMORY,
                ),
                maze_lm(), sampling=SamplingOptions(max_new_tokens=1),
            )  # fmt: skip
            limits = RolloutLimits(context=context)  # type: ignore[arg-type]
            episodes = collect(made.sampler(), maze.open().tasks("train"), maze, group_size=8,
                               seed=0, path=("x",), limits=limits)  # fmt: skip
            pairs = [(e, turn) for e in episodes for turn in range(len(e.turns))]
            read = made.parts.decisions.transitions(pairs, [1.0] * len(pairs), n_step=1)
            slates = [t.slate for t in read] + [t.following for t in read if t.following]
            found[context, state] = {slate.state for slate in slates}
            assert not made.update(episodes, seed=0).skipped
    cells = maze.open().tasks("train")
    assert found["turn", "context"] == found["turn", "observation"]
    assert len(found["turn", "context"]) == len(cells) == 3
    assert len(found["episode", "observation"]) == 6  # as a first message and as an answer
    assert len(found["episode", "context"]) > 20


def test_utterances_are_drawn_anew_from_the_observation_alone() -> None:
    from sayso.algorithms.utterances import redraw

    lm = tiny_lm()
    made, episodes = LEARNERS["archer"](lm), turnwise(lm)
    drawn = redraw(made.core, episodes, seed=3)
    turns = [turn for episode in episodes for turn in episode.turns]
    assert [e.turns[0].observation_ids for e in drawn] == [turn.observation_ids for turn in turns]
    made.core.sync()
    whole = redraw(made.core, mixed_batch(lm), seed=3)
    assert [e.turns[0].observation_ids for e in whole] != [t.observation_ids for t in turns]


def test_a_critics_frozen_states_are_not_taken_from_the_other_context() -> None:
    made = LEARNERS["archer"](tiny_lm())
    with seeded(5), torch.no_grad():
        for parameter in made.critic.heads.parameters():
            parameter.normal_()
    whole = mixed_batch(made.lm)
    one = made.critic.opinions(whole)
    other = made.critic.opinions([replace(e, context="turn") for e in whole])
    for episode, a, b in zip(whole, one, other, strict=True):
        is_same = bool(np.allclose(a.q, b.q, atol=1e-9))
        assert is_same is (len(episode.turns) == 1)
