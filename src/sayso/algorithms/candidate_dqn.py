"""CandidateDQN: Q-learning over whole utterances that a language model proposes or a game lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from sayso.algorithms.base import ActionValues, LearnerState, RolloutPlan, Skipped, Update
from sayso.algorithms.candidate_turns import Minibatch
from sayso.algorithms.candidates import CandidateCore, is_sound, trimmed
from sayso.algorithms.grading import Numbers
from sayso.algorithms.options.candidate_dqn import CandidateDQNOptions
from sayso.algorithms.options.exploring import epsilon_at
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.algorithms.step import StepOutcome
from sayso.credit.candidates import boltzmann, double_max, mixed, soft_max
from sayso.losses.loss import Loss
from sayso.losses.q_learning import conservatism, td_loss
from sayso.metrics import Mean
from sayso.models.candidate_heads import CandidateCritic
from sayso.models.lm import LanguageModel
from sayso.models.q_heads import target_of
from sayso.models.slates import Read, Slate, padded_prior
from sayso.sampling.base import Engine, Policy
from sayso.sampling.options import SamplingOptions
from sayso.types import Episode


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
        epsilon = Mean(epsilon_at(options, self.parts.memory.num_decisions), 1)
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
        epsilon = epsilon_at(options, self.parts.memory.num_decisions)
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
