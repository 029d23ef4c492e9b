"""Exploration by an ensemble of values: which data a member learns from, and who acts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sayso.algorithms.candidate_turns import Transition
from sayso.algorithms.grading import Numbers
from sayso.algorithms.options.ensemble import EnsembleOptions
from sayso.models.slates import digest
from sayso.seeds import derive, generator


def bootstrap_weights(
    transitions: Sequence[Transition], options: EnsembleOptions, *, seed: int
) -> Numbers:
    r"""How much each member learns from each decision, float64 [h, n].

    .. math:: m_{ki} \in \{0, 1/p\},\quad P(m_{ki} = 1/p) = p

    A decision keeps its draw for ever: what a member has never seen, it does not know. The mean
    weight is 1, so the size of a step does not depend on p; with p = 0.5 it is double or nothing.

    Args:
        transitions: Decisions.
        options: Members and p.
        seed: Of the learner.

    Source:
        Osband et al. 2016, arXiv:1602.04621, sec. 3 and app. D.

    Tests:
        tests/math/test_ensemble.py
    """
    if options.bootstrap == 1:
        return np.ones((options.heads, len(transitions)))
    drawn = np.stack([_uniforms(one, options.heads, seed) for one in transitions], -1)
    return np.where(drawn < options.bootstrap, 1 / options.bootstrap, 0.0)


def acting_member(values: Numbers, episode_seeds: Sequence[int]) -> Numbers:
    """The values of one member for each decision, float64 [n, k] of [h, n, k].

    The member is drawn once for an episode and keeps acting in it (Thompson sampling): what it
    hopes for may lie many turns ahead, and a new draw at each turn would lose the thread.

    Args:
        values: By each member.
        episode_seeds: Of the episodes that the decisions are of.

    Source:
        Osband et al. 2016, arXiv:1602.04621, algorithm 1.

    Tests:
        tests/math/test_ensemble.py
    """
    members = [derive(seed, "member") % len(values) for seed in episode_seeds]
    return values[members, np.arange(len(members))]


def _uniforms(one: Transition, count: int, seed: int) -> Numbers:
    """Numbers in [0, 1) of a decision; stored episodes, which share a path, differ by content."""
    episode = one.episode
    path = episode.seed_path or (digest(one.slate.state, one.slate.candidates[one.taken]).hex(),)
    names = (episode.task.id, episode.sample_index, *path, one.turn)
    found: Numbers = generator(seed, "bootstrap", *names).random(count)
    return found
