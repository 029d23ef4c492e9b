"""ILQL: implicit language Q-learning."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sayso.algorithms.acting import steering
from sayso.algorithms.base import ActionValues, LearnerState, Update
from sayso.algorithms.critic import said_values
from sayso.algorithms.options.acting import ActingOptions
from sayso.algorithms.options.ilql import ILQLOptions
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.algorithms.token_losses import clone, push_down, weighed
from sayso.algorithms.token_states import TokenStates, row_rewards, token_states
from sayso.algorithms.value_steps import RowTerms, TokenValueCore
from sayso.data.batch import Batch, PackedRow
from sayso.losses.loss import Loss, bounded_exp, mean_over
from sayso.losses.q_learning import expectile_loss, td_loss
from sayso.models.lm import LanguageModel
from sayso.models.token_values import TokenValues
from sayso.sampling.backend import Guide
from sayso.sampling.base import Engine, Policy
from sayso.sampling.options import SamplingOptions
from sayso.types import Episode


class ILQL:
    r"""ILQL: values of tokens from data alone, without ever asking for a token they do not hold.

    .. math:: y_t = r_t + \gamma V(h_{t+1}), \qquad \hat q_t = \min_i \bar Q_i(h_t, a_t)

    .. math:: \tfrac{1}{N} \sum_t \Bigl\{ \sum_i \tfrac12 (Q_i(h_t, a_t) - y_t)^2
        + |\tau - 1[\hat q_t < V(h_t)]|\, (\hat q_t - V(h_t))^2
        + \alpha \sum_i \Bigl[\log \textstyle\sum_a e^{Q_i(h_t, a)} - Q_i(h_t, a_t)\Bigr]
        - c\, w_t \log \pi_b(a_t | h_t) \Bigr\}

    .. math:: w_t = e^{\lambda (\hat q_t - V(h_t))}, \qquad
        \pi(a|h) \propto \pi_b(a|h)\, e^{\beta (\min_i Q_i(h, a) - V(h))}

    V(h') carries no gradient; Q̄ are slow copies of the heads. τ = 0.5 values the policy that made
    the data; τ → 1 the best that can be stitched together from them. With ``backup = "sarsa"`` the
    target is the least Q̄ of the next token in the data, and V the mean.

    When to use it: logged episodes of several decisions whose good parts are in different ones.

    Source:
        Snell et al. 2022, arXiv:2206.11871, eq. 3-5. SARSA: what LMRL-Gym calls "cql". Differs in
        halves (½ of the squared errors), in the discount, which is per decision, in targets that
        copy heads and not the trunk, and in advantages by the online heads.

    Tests:
        tests/math/test_token_values.py, tests/learning/test_token_values.py
    """

    def __init__(
        self,
        lm: LanguageModel,
        engine: Engine | None,
        options: ILQLOptions,
        *,
        sampling: SamplingOptions,
        optim: OptimOptions,
        kl: KLOptions,
        seed: int,
    ) -> None:
        del engine  # values steer one of their own
        self.lm, self.options = lm, options
        self.heads = TokenValues(lm, num_heads=options.num_heads, rank=options.head_rank, seed=seed)
        self.parts = TokenValueCore(
            lm, options, heads=self.heads, guide_of=self._guide, sampling=sampling, optim=optim,
            kl=kl,
        )  # fmt: skip
        self.core, self.memory, self.plan = self.parts.core, self.parts.memory, self.parts.plan

    def sampler(self) -> Policy:
        """The steered policy: what it draws is its exploration."""
        return self.core.sampler()

    def policy(self) -> Policy:
        """The same."""
        return self.core.policy()

    def acting_as(self, *, beta: float | None = None, greedy: bool = False) -> Policy:
        """The policy at another β, or always at its likeliest token; see ``Actable``."""
        return self.parts.acting_as(beta=beta, greedy=greedy)

    def action_values(self, episode: Episode) -> ActionValues:
        """Least of the heads' values of each token."""
        options = self.options
        return said_values(
            self.core, episode, lambda hidden, ids: self.heads.taken(hidden, ids).amin(0),
            gamma_token=options.gamma_token, gamma_turn=options.gamma_turn,
        )  # fmt: skip

    def _guide(self, acting: ActingOptions) -> Guide:
        return steering(self.heads.advantage, acting)

    def update(self, episodes: Sequence[Episode], *, seed: int) -> Update:
        """Remember, draw, step, let the targets follow."""
        return self.parts.update(episodes, self._terms, seed=seed, after_step=self._follow)

    def _terms(self, batch: Batch, row: PackedRow, weight: Tensor) -> RowTerms:
        options, heads, count = self.options, self.heads, batch.num_actions
        states = token_states(self.core, row, batch)
        value = heads.values(states.hidden)
        least = heads.taken_by_target(states.hidden, row.target)
        target = self._targets(batch, row, states, value=value, least=least)
        taken = heads.taken(states.hidden, row.target)
        losses = [
            td_loss(
                each, target, row.is_action, num_actions_in_step=count, kind=options.critic_loss,
                weight=weight,
            )
            for each in taken
        ]  # fmt: skip
        tau = options.tau if options.backup == "expectile" else 0.5
        losses.append(
            expectile_loss(
                value, least, row.is_action, num_actions_in_step=count, tau=tau, weight=weight
            )
        )
        if options.alpha_cql:
            pushed = push_down(
                self.lm, heads.heads(), states.hidden, row, count=count,
                num_tokens=options.cql_tokens, weight=weight,
            )  # fmt: skip
            losses.append(weighed(options.alpha_cql, pushed))
        if options.train_lm and options.bc_coef:
            imitated = weight * bounded_exp(options.advantage_weight * (least - value.detach()))
            cloned = clone(self.core, states.hidden, row, count=count, weight=imitated)
            losses.append(weighed(options.bc_coef, cloned))
        losses.append(_gaps(taken.detach(), least, row))
        return RowTerms(losses, taken.detach().mean(0) - target)

    @torch.no_grad()
    def _targets(
        self, batch: Batch, row: PackedRow, states: TokenStates, *, value: Tensor, least: Tensor
    ) -> Tensor:
        """Y of each action token of a row."""
        options = self.options
        reward, discount = row_rewards(
            row, batch, gamma_token=options.gamma_token, gamma_turn=options.gamma_turn, like=value
        )
        # A token follows each but the last of an episode; behind a cut-off only V can tell.
        following = value.detach() if options.backup == "expectile" else least
        return reward + discount * states.after(following, self.heads.values(states.final))

    def _follow(self) -> None:
        if self.core.version % self.options.target_every == 0:
            self.heads.follow(self.options.target_rate)

    def state(self) -> LearnerState:
        """Weights, heads, targets, optimiser, memory."""
        return self.memory.state()

    def load_state(self, state: LearnerState) -> None:
        """Undo ``state``."""
        self.memory.load_state(state)


def _gaps(taken: Tensor, least: Tensor, row: PackedRow) -> Loss:
    """How far the heads are apart, and how far their targets lag: numbers to watch, no loss."""
    apart = taken.amax(0) - taken.amin(0)
    metrics = {
        "q/head_gap": mean_over(apart, row.is_action),
        "q/target_lag": mean_over((taken.amin(0) - least).abs(), row.is_action),
    }
    return Loss(taken.new_zeros(()), metrics)
