"""Offline ArCHer: implicit Q-learning of utterances, weighted regression of tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from sayso.algorithms.base import ActionValues, LearnerState, RolloutPlan, Update
from sayso.algorithms.core import Core
from sayso.algorithms.epochs import nothing_to_learn
from sayso.algorithms.grading import graded
from sayso.algorithms.kl import refuse_kl
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.offline_archer import OfflineArCHerOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.algorithms.step import StepOutcome, as_update, take_step, until_refused
from sayso.algorithms.utterance_credit import per_token
from sayso.algorithms.utterance_critic import UtteranceCritic, prepare_trunk
from sayso.algorithms.utterances import UtteranceStates
from sayso.data.batch import PackedRow
from sayso.losses.expectile import expectile_loss
from sayso.losses.loss import Loss
from sayso.losses.policy_gradient import reinforce
from sayso.losses.value import value_loss
from sayso.metrics import Mean
from sayso.models.lm import LanguageModel
from sayso.models.scoring import Scores
from sayso.models.utterance_heads import UtteranceHeads, each
from sayso.sampling.base import Engine, Policy
from sayso.sampling.options import SamplingOptions
from sayso.seeds import generator
from sayso.types import Episode

Places = NDArray[np.int64]


class OfflineArCHer:
    r"""Offline ArCHer: learn from stored episodes, ask about nothing that was not said in them.

    Critic (IQL): for twins i

    .. math:: Q_i(s, u) \to r + \gamma\,(1 - \text{terminated})\, V(s'),\qquad
        V(s) \to \text{τ-expectile of } \min_i \bar Q_i(s, u)

    Actor (AWR), over the m turns of a step:

    .. math:: -\frac{1}{m} \sum_{s, u} \min\bigl(e^{\lambda A(s, u)}, c\bigr)
        \sum_k \log \pi(u_k \mid s, u_{<k}),\qquad A = \min_i Q_i(s, u) - V(s)

    whose optimum is the data's own policy, each utterance weighed: with one turn
    :math:`\pi \propto \pi_{data} \min(e^{\lambda (R - V)}, c)`. It learns from the episodes it is
    given, whoever played them; recorded probabilities are not used.

    When to use it: logged conversations with rewards, and no environment to play in.

    Source:
        Zhou et al. 2024, arXiv:2402.19446, sec. 4.4, with its public code's settings; critic:
        Kostrikov et al. 2021, arXiv:2110.06169; actor: Peng et al. 2019, arXiv:1910.00177.

    Tests:
        tests/math/test_offline_archer.py, tests/contract/test_archer.py, tests/learning/
    """

    def __init__(
        self,
        lm: LanguageModel,
        engine: Engine,
        options: OfflineArCHerOptions,
        *,
        sampling: SamplingOptions,
        optim: OptimOptions,
        kl: KLOptions,
        seed: int,
    ) -> None:
        refuse_kl(kl, instead="a smaller algorithm.advantage_weight stays nearer to the data")
        self.lm, self.options, self.num_updates = lm, options, 0
        prepare_trunk(lm, options.trunk, seed=seed)
        heads = UtteranceHeads(lm, seed=seed, num_values=1)
        self.core = Core(
            lm, engine, sampling=sampling, optim=optim, kl=kl, critic_lr=options.critic_lr,
            q_heads=heads,
        )  # fmt: skip
        self.critic = UtteranceCritic(self.core, heads, options.trunk)
        self.plan = RolloutPlan(tasks_per_step=1, group_size=1)  # it plays nothing

    def sampler(self) -> Policy:
        """The policy itself."""
        return self.core.sampler()

    def policy(self) -> Policy:
        """The same: the critic is not needed after training."""
        return self.core.policy()

    def action_values(self, episode: Episode) -> ActionValues:
        """Least of the twins' values of each utterance, at its last token."""
        return self.critic.action_values(episode, gamma_turn=self.options.gamma_turn)

    def update(self, episodes: Sequence[Episode], *, seed: int) -> Update:
        """Critic steps on the episodes, then actor steps."""
        kept = graded(episodes)
        if not kept.episodes:
            return nothing_to_learn(kept)
        outcomes = until_refused(
            self.critic.learn(kept.episodes, self._critic_loss, rate=self.options.target_rate)
            for _ in range(self.options.critic_updates)
        )
        self.num_updates += 1
        metrics = kept.metrics
        if outcomes[-1].skipped is None and self.num_updates > self.options.warmup_updates:
            told, steps = self.learn_actor(kept.episodes, seed=seed)
            metrics, outcomes = metrics | told, outcomes + steps
        self.critic.forget_all_but(())
        return as_update(outcomes, metrics=metrics, warnings=kept.warnings)

    def learn_actor(
        self, episodes: list[Episode], *, seed: int
    ) -> tuple[dict[str, Mean], list[StepOutcome]]:
        """One pass over the episodes, a step for each share of them.

        Returns:
            What the weights are, and what came of the steps.
        """
        options = self.options
        opinions = self.critic.opinions(episodes)
        raw = [np.exp(options.advantage_weight * np.clip(o.q - o.v, -50, 50)) for o in opinions]
        weights = [np.minimum(numbers, options.max_weight) for numbers in raw]
        credit = [per_token(e, numbers) for e, numbers in zip(episodes, weights, strict=True)]
        num_shares = min(options.actor_updates, len(episodes))
        order = np.arange(len(episodes))
        if num_shares > 1:
            order = generator(seed, "shares").permutation(len(episodes))
        flat, cut = np.concatenate(weights), np.concatenate(raw) > options.max_weight
        told = {
            "policy/weight": Mean(float(flat.sum()), len(flat)),
            "policy/cut_weight_frac": Mean(float(cut.sum()), len(cut)),
        }

        def step(share: Places) -> StepOutcome:
            batch = self.core.pack([episodes[i] for i in share])
            weight = batch.align([credit[i] for i in share])
            num_turns = sum(len(episodes[i].turns) for i in share)

            def row_loss(place: int, row: PackedRow, scores: Scores) -> list[Loss]:
                return [
                    reinforce(scores.logprob, weight[place], row.is_action, num_in_step=num_turns)
                ]

            return take_step(self.core, batch, row_loss, distribution=self.core.imitated)

        return told, until_refused(map(step, np.array_split(order, num_shares)))

    def state(self) -> LearnerState:
        """Weights, heads, targets, optimiser, counters."""
        return self.core.state(self.critic.state_tensors(), num_updates=self.num_updates)

    def load_state(self, state: LearnerState) -> None:
        """Undo ``state``."""
        self.num_updates = int(self.core.load_state(state)["num_updates"])
        self.critic.load_tensors(dict(state.tensors))

    def _critic_loss(
        self, online: UtteranceStates, target: UtteranceStates, num_turns: float
    ) -> list[Loss]:
        """Twins on the value of what follows, V on an expectile of the lesser target twin."""
        heads, states = self.critic.heads, online.states
        (v,) = each(heads.v, states.hidden)
        with torch.no_grad():
            (v_final,) = each(heads.v, states.final)
            best = each(heads.q_target, target.said).amin(0)
            follows = states.after(v.detach(), v_final)
        counts = torch.ones_like(online.reward, dtype=torch.bool)
        wanted = online.reward + self.options.gamma_turn * follows
        losses = [
            value_loss(q, wanted, counts, num_actions_in_step=num_turns)
            for q in each(heads.q, online.said)
        ]
        told = [
            {k.replace("value/", "critic/q_"): m for k, m in term.metrics.items()}
            for term in losses
        ]
        spread = expectile_loss(v, best, self.options.tau, counts, num_in_step=num_turns)
        above = {k.replace("value/", "critic/v_"): m for k, m in spread.metrics.items()}
        return [
            *(Loss(term.value, metrics) for term, metrics in zip(losses, told, strict=True)),
            Loss(spread.value, above),
        ]
