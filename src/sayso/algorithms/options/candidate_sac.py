"""Options of ``CandidateSAC``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sayso.algorithms.checks import check_positive, is_changed
from sayso.algorithms.options.candidates import Features, check_candidate_options
from sayso.data.options import ReplayOptions
from sayso.sampling.options import CandidateOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateSACOptions:
    """Options of ``CandidateSAC``; written in a run file under ``[algorithm]``.

    Attributes:
        tasks_per_step: Different tasks per update.
        group_size: Attempts at each.
        candidates: Among what is chosen.
        features: ``"lm"``: critics and policy read the language model's hidden states, as they are,
            each computed once; ``"own"``: the critics train a copy of the trunk, and the policy
            reads what that says.
        evaluate: How it acts when it counts: the ``"greedy"`` candidate, or ``"sampled"`` from the
            policy, as in training.
        temperature: τ, price of a nat of entropy in reward units; where it is tuned, at first.
        target_entropy: Entropy that τ is tuned to, as a share of log k with k candidates; unset: τ
            stays as it is.
        temperature_lr: Step of log τ per nat that the entropy is off.
        twins: The two critics' ``"average"``, or the ``"min"`` of both, which holds values low.
        gamma_turn: Discount from one turn to the next.
        huber: Errors count linearly beyond this size, in reward units.
        critic_lr: Learning rate of all that trains.
        draws: Decisions of an optimiser step, each of an episode drawn for it.
        updates_per_step: Optimiser steps per update.
        learning_starts: Decisions seen before the first of them.
        target_every: Optimiser steps from one move of the targets to the next.
        target_rate: How far they move; 1 copies the critics.
        replay: What is remembered.
    """

    type: Literal["candidate_sac"] = "candidate_sac"
    tasks_per_step: int = 16
    group_size: int = 1
    candidates: CandidateOptions = field(default_factory=CandidateOptions)
    features: Features = "lm"
    evaluate: Literal["greedy", "sampled"] = "greedy"
    temperature: float = 0.1
    target_entropy: float | None = 0.3
    temperature_lr: float = 1e-2
    twins: Literal["average", "min"] = "average"
    gamma_turn: float = 0.99
    huber: float = 1.0
    critic_lr: float = 5e-4
    draws: int = 64
    updates_per_step: int = 8
    learning_starts: int = 0
    target_every: int = 1
    target_rate: float = 0.005
    replay: ReplayOptions = field(default_factory=ReplayOptions)

    def __post_init__(self) -> None:
        check_candidate_options(self)
        check_positive(temperature=self.temperature, temperature_lr=self.temperature_lr)
        if self.target_entropy is not None and not 0 < self.target_entropy < 1:
            raise ValueError(f"target_entropy must be in (0, 1), got {self.target_entropy}")
        if self.target_entropy is None and is_changed(self, "temperature_lr"):
            raise ValueError("temperature_lr has no effect while target_entropy is unset")
