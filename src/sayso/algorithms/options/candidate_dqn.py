"""Options of ``CandidateDQN``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sayso.algorithms.checks import check_positive, check_weights, is_changed
from sayso.algorithms.options.candidates import Features, check_candidate_options
from sayso.algorithms.options.ensemble import EnsembleOptions
from sayso.algorithms.options.exploring import SCHEDULE, check_exploring
from sayso.data.options import ReplayOptions
from sayso.models.options import Twins
from sayso.sampling.options import CandidateOptions

_BY_ENSEMBLE = ("thompson", "ucb")


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateDQNOptions:
    """Options of ``CandidateDQN``; written in a run file under ``[algorithm]``.

    Attributes:
        tasks_per_step: Different tasks per update.
        group_size: Attempts at each.
        candidates: Among what is chosen.
        features: ``"lm"``: the critic reads the language model's hidden states, as they are, each
            computed once; ``"own"``: it trains a copy of the trunk, which reads better and costs a
            copy and a half of the weights, and a pass over the trunk per step.
        explore: How training acts: ``"boltzmann"``: ∝ prior · exp(α Q); ``"epsilon"``: the best
            candidate, but with probability ε one drawn from the prior; ``"thompson"``: the best for
            a member of an ensemble, drawn for each episode; ``"ucb"``: the best by mean and bonus.
        ensemble: Of the latter two, which value by the mean of its members when it counts.
        alpha: α, inverse temperature, per reward unit; 10 suits returns in [0, 1].
        epsilon_start: ε at first.
        epsilon_end: ε at last.
        epsilon_decisions: Decisions over which ε goes from one to the other, in a straight line.
        evaluate: How it acts when it counts: ``"greedy"``, or ``"sampled"`` ∝ prior · exp(α Q).
        backup: ``"double"``: the target's value of the candidate that the critic holds for the
            best; ``"soft"``: (1/α) log Σ prior · exp(α Q̄).
        twins: ``"one"`` head, the ``"average"`` of two, or the ``"min"`` of two.
        gamma_turn: Discount from one turn to the next.
        n_step: Turns before bootstrapping; above 1 without correction for older policies.
        alpha_cql: Weight of the term that pushes down what was not taken, for stored data.
        huber: Errors count linearly beyond this size, in reward units.
        critic_lr: Learning rate of all that trains.
        draws: Decisions of an optimiser step, each of an episode drawn for it.
        updates_per_step: Optimiser steps per update.
        learning_starts: Decisions seen before the first of them.
        target_every: Optimiser steps from one move of the target to the next.
        target_rate: How far it moves; 1 copies the critic.
        replay: What is remembered.
    """

    type: Literal["candidate_dqn"] = "candidate_dqn"
    tasks_per_step: int = 16
    group_size: int = 1
    candidates: CandidateOptions = field(default_factory=CandidateOptions)
    features: Features = "lm"
    explore: Literal["boltzmann", "epsilon", "thompson", "ucb"] = "boltzmann"
    ensemble: EnsembleOptions = field(default_factory=EnsembleOptions)
    alpha: float = 10.0
    epsilon_start: float = 0.3
    epsilon_end: float = 0.05
    epsilon_decisions: int = 10_000
    evaluate: Literal["greedy", "sampled"] = "greedy"
    backup: Literal["double", "soft"] = "double"
    twins: Twins = "one"
    gamma_turn: float = 0.99
    n_step: int = 1
    alpha_cql: float = 0.0
    huber: float = 1.0
    critic_lr: float = 5e-4
    draws: int = 64
    updates_per_step: int = 8
    learning_starts: int = 0
    target_every: int = 20
    target_rate: float = 1.0
    replay: ReplayOptions = field(default_factory=ReplayOptions)

    def __post_init__(self) -> None:
        check_candidate_options(self)
        check_positive(alpha=self.alpha)
        check_weights(alpha_cql=self.alpha_cql)
        if self.n_step < 1:
            raise ValueError(f"n_step must be positive, got {self.n_step}")
        check_exploring(self)
        self._refuse_unused()

    @property
    def num_members(self) -> int:
        """Of the ensemble; 0 without one."""
        return self.ensemble.heads if self.explore in _BY_ENSEMBLE else 0

    def _refuse_unused(self) -> None:
        here = f"no effect with explore = {self.explore!r}"
        if self.explore != "epsilon" and any(is_changed(self, name) for name in SCHEDULE):
            raise ValueError(f"{', '.join(SCHEDULE)} have {here}")
        others = (self.evaluate, self.backup)
        is_sharp = self.explore != "boltzmann" and others == ("greedy", "double")
        if is_sharp and is_changed(self, "alpha"):
            raise ValueError(f"alpha has {here}, evaluate = 'greedy' and backup = 'double'")
        if self.num_members and is_changed(self, "twins"):
            raise ValueError(f"twins has {here}: each member has one head")
        if not self.num_members and self.ensemble != EnsembleOptions():
            raise ValueError(f"ensemble has {here}: use 'thompson' or 'ucb'")
        if self.explore == "thompson" and is_changed(self.ensemble, "bonus"):
            raise ValueError(f"ensemble.bonus has {here}: use 'ucb'")
