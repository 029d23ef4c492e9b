"""CandidateDQN: Q-learning over whole utterances that a language model proposes or a game lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from sayso.algorithms.base import ActionValues, LearnerState, RolloutPlan, Skipped, Update
from sayso.algorithms.candidate_turns import Minibatch
from sayso.algorithms.candidates import CandidateCore, is_sound, trimmed
from sayso.algorithms.ensemble import acting_member, bootstrap_weights
from sayso.algorithms.grading import Numbers
from sayso.algorithms.options.candidate_dqn import CandidateDQNOptions
from sayso.algorithms.options.exploring import epsilon_at
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.algorithms.step import StepOutcome
from sayso.credit.candidates import boltzmann, double_max, mixed, optimistic, soft_max
from sayso.losses.loss import Loss
from sayso.losses.q_learning import conservatism, td_loss
from sayso.metrics import Mean
from sayso.models.candidate_heads import CandidateCritic
from sayso.models.lm import LanguageModel
from sayso.models.q_heads import target_of
from sayso.models.slates import Read, Slate, SlateReader, padded_prior
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

    With an ensemble each member k has its own target, :math:`y_k = r + γ \bar Q_k(s',
    \arg\max_u Q_k(s', u))`, its own share of the data and its own prior; the loss is the mean over
    members. Where a reward lies many turns deep, drawing a member for a whole episode finds it in
    polynomial time; ε-greedy, which must err rightly at every turn, in exponential time.

    When to use it: few choices per turn, many turns, expensive environments, stored data. What the
    language model never proposes, it cannot learn.

    Source:
        Yan et al. 2025, arXiv:2410.07927 (sampling, α, proposals); He et al. 2016, arXiv:1511.04636
        (Q of state and action text); van Hasselt et al. 2016, arXiv:1509.06461 (double); Osband et
        al. 2016, arXiv:1602.04621, and 2018, arXiv:1806.03335 (ensemble, priors); Chen et al. 2017,
        arXiv:1706.01502 (UCB). Differs in
        that each candidate is read behind its state in one forward, and duplicates count as often
        as they were drawn.

    Tests:
        tests/math/test_candidate_values.py, tests/math/test_candidate_fixed_points.py,
        tests/math/test_ensemble.py, tests/learning/test_candidates.py,
        tests/learning/test_ensemble.py
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
        self.lm, self.options, self._seed = lm, options, seed
        self.critic = CandidateCritic(
            lm, twins=options.twins, owns_trunk=options.features == "own", seed=seed,
            ensemble=options.num_members, prior_scale=options.ensemble.prior_scale,
        )  # fmt: skip
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
        if options.explore != "epsilon":
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
        target = np.atleast_2d(minibatch.targets(values))  # of each member, or one for all heads
        share, errors = self._shares(minibatch), np.zeros(minibatch.count)
        count, cql = float(minibatch.count), self.options.alpha_cql

        def loss(read: Read) -> list[Loss]:
            here = minibatch.here(read)
            rows, taken = minibatch.rows(read, here)
            each = self.critic.each(read)
            wanted = torch.from_numpy(target[:, here]).to(each).expand(len(each), -1)
            weight = minibatch.weights(here, each) * torch.from_numpy(share[:, here]).to(each)
            is_decision = torch.ones_like(taken, dtype=torch.bool)
            found = [
                td_loss(values[rows, taken], y, is_decision, num_actions_in_step=count,
                        kind="huber", delta=self.options.huber, weight=w)
                for values, y, w in zip(each, wanted, weight.expand_as(wanted), strict=True)
            ]  # fmt: skip
            for values, w in zip(each, weight.expand_as(wanted), strict=True) if cql else ():
                among = values[rows]
                held = conservatism(
                    among.gather(-1, taken[:, None])[:, 0], among.logsumexp(-1), is_decision,
                    num_actions_in_step=count, weight=w,
                )  # fmt: skip
                found.append(Loss(cql * held.value, held.metrics))
            agreed = self.critic.agreed(each.detach())[rows, taken]
            errors[here] = (agreed - wanted.mean(0)).double().cpu().numpy()
            return self._of_members(found, each.detach()[:, rows, taken])

        return self.parts.step(minibatch, loss), errors

    def _shares(self, minibatch: Minibatch) -> Numbers:
        """How much each member learns from each decision, [h, n]; [1, n] without an ensemble."""
        options = self.options
        if not options.num_members:
            return np.ones((1, minibatch.count))
        return bootstrap_weights(minibatch.transitions, options.ensemble, seed=self._seed)

    def _of_members(self, losses: list[Loss], values: Tensor) -> list[Loss]:
        """Losses divided by the number of members, and how far these are apart."""
        num = self.options.num_members
        if not num:
            return losses
        spread = values.double().std(0, correction=0)
        metrics = {"q/head_std": Mean(float(spread.sum()), len(spread))}
        return [
            Loss(loss.value / num, loss.metrics | (metrics if place == 0 else {}))
            for place, loss in enumerate(losses)
        ]

    def _following(self, slates: Sequence[Slate]) -> Numbers | None:
        """What the decisions are worth that follow, [n], or to each member of an ensemble, [h, n].

        ``None`` where that is no number.
        """
        num = self.options.num_members
        if not slates:
            return np.zeros((num, 0) if num else 0)
        readers = self.parts.readers
        judges = self._tables(readers.target, slates, self.target)
        if not is_sound(judges):
            return None
        if self.options.backup == "soft":
            prior, alpha = padded_prior(slates), self.options.alpha
            found = [soft_max(judge, prior, alpha=alpha) for judge in judges]
        else:
            choosers = self._tables(readers.online, slates, self.critic)
            if not is_sound(choosers):
                return None
            found = [double_max(*pair) for pair in zip(choosers, judges, strict=True)]
        return np.stack(found) if num else found[0]

    def _tables(
        self, reader: SlateReader, slates: Sequence[Slate], critic: CandidateCritic
    ) -> Numbers:
        """Values by each member, or by the heads as one, float64 [h, n, k]."""
        if self.options.num_members:
            return self.parts.table(reader, slates, critic.each)
        return self.parts.table(reader, slates, critic)[None]

    def _explore(self, slates: Sequence[Slate], episodes: Sequence[int]) -> list[Numbers]:
        options = self.options
        if options.explore == "boltzmann":
            return self._sampled(slates, episodes)
        if options.explore == "epsilon":
            epsilon = epsilon_at(options, self.parts.memory.num_decisions)
            return [
                mixed(p, np.array(slate.logprior), epsilon=epsilon)
                for p, slate in zip(self._greedy(slates, episodes), slates, strict=True)
            ]
        values = self.parts.scored(slates, self.critic.each)
        if options.explore == "thompson":
            return self._tilted(acting_member(values, episodes), slates, np.inf)
        return self._tilted(optimistic(values, bonus=options.ensemble.bonus), slates, np.inf)

    def _greedy(self, slates: Sequence[Slate], _: Sequence[int]) -> list[Numbers]:
        return self._tilted(self.parts.scored(slates, self.critic), slates, np.inf)

    def _sampled(self, slates: Sequence[Slate], _: Sequence[int]) -> list[Numbers]:
        return self._tilted(self.parts.scored(slates, self.critic), slates, self.options.alpha)

    def _tilted(self, values: Numbers, slates: Sequence[Slate], alpha: float) -> list[Numbers]:
        return trimmed(boltzmann(values, padded_prior(slates), alpha=alpha), slates)
