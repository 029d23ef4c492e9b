"""CandidateDQN: Q-learning over whole utterances that a language model proposes or a game lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from torch import nn

from sayso.algorithms.base import ActionValues, LearnerState, RolloutPlan, Skipped, Update
from sayso.algorithms.candidate_turns import Minibatch
from sayso.algorithms.candidates import (
    CandidateCore,
    Features,
    check_candidate_options,
    is_sound,
    trimmed,
)
from sayso.algorithms.checks import check_positive, check_weights, is_changed
from sayso.algorithms.grading import Numbers
from sayso.algorithms.kl import KLOptions
from sayso.algorithms.optim import OptimOptions
from sayso.algorithms.step import StepOutcome
from sayso.credit.candidates import boltzmann, double_max, mixed, soft_max
from sayso.data.replay import ReplayOptions
from sayso.losses.loss import Loss
from sayso.losses.q_learning import conservatism, td_loss
from sayso.metrics import Mean
from sayso.models.candidate_heads import CandidateCritic, Twins
from sayso.models.lm import LanguageModel
from sayso.models.q_heads import target_of
from sayso.models.slates import Read, Slate, padded_prior
from sayso.sampling.base import Engine, Policy, SamplingOptions
from sayso.sampling.candidates import CandidateOptions
from sayso.types import Episode

_SCHEDULE = ("epsilon_start", "epsilon_end", "epsilon_decisions")


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
            candidate, but with probability ε one drawn from the prior.
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
    explore: Literal["boltzmann", "epsilon"] = "boltzmann"
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
        for name in ("epsilon_start", "epsilon_end"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        if self.epsilon_decisions < 1:
            raise ValueError(f"epsilon_decisions must be positive, got {self.epsilon_decisions}")
        if self.explore == "boltzmann" and any(is_changed(self, name) for name in _SCHEDULE):
            raise ValueError(f"{', '.join(_SCHEDULE)} have no effect with explore = 'boltzmann'")
        uses = (self.explore, self.evaluate, self.backup)
        if uses == ("epsilon", "greedy", "double") and is_changed(self, "alpha"):
            raise ValueError(
                "alpha has no effect with explore = 'epsilon', evaluate = 'greedy' and "
                "backup = 'double'"
            )

    def epsilon(self, num_decisions: int) -> float:
        """ε after so many decisions."""
        done = min(1.0, num_decisions / self.epsilon_decisions)
        return self.epsilon_start + done * (self.epsilon_end - self.epsilon_start)


class CandidateDQN:
    r"""Deep Q-learning over candidate utterances; the language model proposes and stays as it is.

    .. math:: \tfrac1N \sum_i w_i h\bigl(Q(s_i, u_i) - y_i\bigr),\quad
        y = r + γ (1 - \text{terminated}) \, \bar Q(s', \arg\max_u Q(s', u))

    with candidates u from the environment's list or drawn from the language model, and N decisions
    of a minibatch; the soft backup is ``credit.candidates.soft_max``. Acting ∝ prior · exp(α Q)
    over proposals is the language model tilted by Q: text stays text, and what training explores is
    what the optimum with a price on leaving the prior would do. A cut-off episode bootstraps from
    the candidates of its last context, one that ended from nothing.

    When to use it: few choices per turn, many turns, expensive environments, stored data. What the
    language model never proposes, it cannot learn.

    Source:
        Yan et al. 2025, arXiv:2410.07927 (sampling, α, proposals); He et al. 2016, arXiv:1511.04636
        (Q of state and action text); van Hasselt et al. 2016, arXiv:1509.06461 (double). Differs in
        that each candidate is read behind its state in one forward, and duplicates count as often
        as they were drawn.

    Tests:
        tests/math/test_candidate_values.py, tests/math/test_candidate_fixed_points.py,
        tests/learning/test_candidates.py
    """

    def __init__(
        self,
        lm: LanguageModel,
        engine: Engine,
        options: CandidateDQNOptions,
        *,
        sampling: SamplingOptions,
        optim: OptimOptions,
        kl: KLOptions,
        seed: int,
    ) -> None:
        self.lm, self.options = lm, options
        self.critic = CandidateCritic(
            lm, twins=options.twins, owns_trunk=options.features == "own", seed=seed
        )
        self.target: CandidateCritic = target_of(self.critic)  # type: ignore[assignment]
        self.parts = CandidateCore(
            lm, engine, options, sampling=sampling, optim=optim, kl=kl, seed=seed,
            heads=nn.ModuleDict({"critic": self.critic, "target": self.target}),
        )  # fmt: skip
        self.core = self.parts.core
        self._explorer = self.parts.engine(self._explore, is_exact=False)
        self._best = self.parts.engine(self._greedy, is_exact=True)
        self._tempered = self.parts.engine(self._sampled, is_exact=True)
        self.plan = RolloutPlan(
            tasks_per_step=options.tasks_per_step, group_size=options.group_size
        )

    def sampler(self) -> Policy:
        """Candidates by their values, exploration included."""
        return self.parts.acting(self._explorer)

    def policy(self) -> Policy:
        """The best candidate, or what ``evaluate`` says."""
        return self.acting_as(greedy=self.options.evaluate == "greedy")

    def acting_as(self, *, greedy: bool = False) -> Policy:
        """Who acts greedily, or samples, whatever the options say."""
        return self.parts.acting(self._best if greedy else self._tempered)

    def action_values(self, episode: Episode) -> ActionValues:
        """Value of each utterance, at its last token."""
        return self.parts.action_values(episode, self.critic)

    def update(self, episodes: Sequence[Episode], *, seed: int) -> Update:
        """Remember, draw, bootstrap, step."""
        options = self.options
        epsilon = Mean(options.epsilon(self.parts.num_decisions), 1)
        update = self.parts.learn(episodes, self._step, seed=seed, n_step=options.n_step)
        if options.explore == "boltzmann":
            return update
        return replace(update, metrics={**update.metrics, "explore/epsilon": epsilon})

    def state(self) -> LearnerState:
        """Critic, target, optimiser, memory, place in the schedule."""
        return self.parts.state()

    def load_state(self, state: LearnerState) -> None:
        """Undo ``state``."""
        self.parts.load_state(state)

    def _step(self, minibatch: Minibatch) -> tuple[StepOutcome, Numbers]:
        values = self._following(minibatch.following)
        if values is None:
            reason = "a value of the critic is not finite"
            return StepOutcome(skipped=Skipped(reason=reason)), np.zeros(0)
        target, errors = minibatch.targets(values), np.zeros(minibatch.count)
        count, cql = float(minibatch.count), self.options.alpha_cql

        def loss(read: Read) -> list[Loss]:
            here = minibatch.here(read)
            rows, taken = minibatch.rows(read, here)
            each = self.critic.each(read)
            wanted = torch.from_numpy(target[here]).to(each)
            weight = minibatch.weights(here, each)
            is_decision = torch.ones_like(taken, dtype=torch.bool)
            found = [
                td_loss(values[rows, taken], wanted, is_decision, num_actions_in_step=count,
                        kind="huber", delta=self.options.huber, weight=weight)
                for values in each
            ]  # fmt: skip
            for values in each if cql else ():
                among = values[rows]
                held = conservatism(
                    among.gather(-1, taken[:, None])[:, 0], among.logsumexp(-1), is_decision,
                    num_actions_in_step=count, weight=weight,
                )  # fmt: skip
                found.append(Loss(cql * held.value, held.metrics))
            agreed = self.critic.agreed(each.detach())[rows, taken]
            errors[here] = (agreed - wanted).double().cpu().numpy()
            return found

        return self.parts.step(minibatch, loss), errors

    def _following(self, slates: Sequence[Slate]) -> Numbers | None:
        """What the decisions are worth that follow; ``None`` where that is no number."""
        if not slates:
            return np.zeros(0)
        readers = self.parts.readers
        judge = self.parts.table(readers.target, slates, self.target)
        if not is_sound(judge):
            return None
        if self.options.backup == "soft":
            return soft_max(judge, padded_prior(slates), alpha=self.options.alpha)
        chooser = self.parts.table(readers.online, slates, self.critic)
        return double_max(chooser, judge) if is_sound(chooser) else None

    def _explore(self, slates: Sequence[Slate]) -> list[Numbers]:
        options = self.options
        if options.explore == "boltzmann":
            return self._sampled(slates)
        epsilon = options.epsilon(self.parts.num_decisions)
        return [
            mixed(p, np.array(slate.logprior), epsilon=epsilon)
            for p, slate in zip(self._greedy(slates), slates, strict=True)
        ]

    def _greedy(self, slates: Sequence[Slate]) -> list[Numbers]:
        return self._tilted(slates, np.inf)

    def _sampled(self, slates: Sequence[Slate]) -> list[Numbers]:
        return self._tilted(slates, self.options.alpha)

    def _tilted(self, slates: Sequence[Slate], alpha: float) -> list[Numbers]:
        values = self.parts.scored(slates, self.critic)
        return trimmed(boltzmann(values, padded_prior(slates), alpha=alpha), slates)
