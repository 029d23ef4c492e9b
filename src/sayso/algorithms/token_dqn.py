"""TokenDQN: a deep Q-network whose actions are tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from sayso.algorithms.acting import steered, steered_engine
from sayso.algorithms.base import ActionValues, LearnerState, Update
from sayso.algorithms.critic import said_values
from sayso.algorithms.grading import token_rewards, turn_ends
from sayso.algorithms.options.acting import ActingOptions
from sayso.algorithms.options.exploring import epsilon_at
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.algorithms.options.token_dqn import TokenDQNOptions
from sayso.algorithms.token_losses import likeliest, push_down, weighed
from sayso.algorithms.token_states import TokenStates, token_states
from sayso.algorithms.value_steps import RowTerms, TokenValueCore, per_episode
from sayso.credit.returns import n_step
from sayso.data.batch import Batch, PackedRow
from sayso.losses.loss import Loss, mean_over
from sayso.losses.q_learning import td_loss
from sayso.metrics import Mean
from sayso.models.lm import LanguageModel
from sayso.models.q_heads import FULL_UP_TO
from sayso.models.token_values import ChosenValues
from sayso.sampling.backend import Guide
from sayso.sampling.base import Engine, Policy
from sayso.sampling.options import SamplingOptions
from sayso.types import Episode

FEW = 32
"""Tokens to choose among where the vocabulary is large."""


class TokenDQN:
    r"""DQN over tokens: the best that can follow, learnt from what was tried.

    .. math:: y_t = \sum_{k<m} \gamma^k r_{t+k} + \gamma^m\, \bar Q(h_{t+m}, a^*), \qquad
        a^* = \arg\max_{a \in K(h_{t+m})} Q(h_{t+m}, a)

    .. math:: \tfrac{1}{N} \sum_t \mathrm{Huber}(Q(h_t, a_t) - y_t)

    with m = min(n, tokens that are left), Q̄ a slow copy, and K(h) the model's likeliest tokens and
    the one in the data. What follows a real end is 0, what follows a cut-off is valued.

    The policy is :math:`\pi_{ref}(a|h)\, e^{\beta Q(h, a)}` within K(h): Boltzmann exploration with
    the model as prior. While training, a share ε of tokens is drawn from the model at a higher
    temperature instead, never evenly from the vocabulary: at ε = 0.05 that would spoil two thirds
    of all texts of 20 tokens.

    When to use it: small vocabularies (letters, moves, digits), where a maximum over tokens means
    something. In a large one, ``ILQL`` asks for no token that the data lack.

    Source:
        Mnih et al. 2015; double: van Hasselt et al. 2016, arXiv:1509.06461, eq. 4; dueling: Wang et
        al. 2016, arXiv:1511.06581, eq. 9. Differs in the choice among K(h), and in exploration.

    Tests:
        tests/math/test_token_dqn.py, tests/learning/test_token_values.py
    """

    def __init__(
        self,
        lm: LanguageModel,
        engine: Engine | None,
        options: TokenDQNOptions,
        *,
        sampling: SamplingOptions,
        optim: OptimOptions,
        kl: KLOptions,
        seed: int,
    ) -> None:
        del engine  # values steer engines of their own
        self.lm, self.options, self.sampling = lm, options, sampling
        asked = options.token_set
        few = 0 if lm.vocabulary <= FULL_UP_TO else FEW
        self.num_choices = few if asked is None else asked
        self.heads = ChosenValues(lm, rank=options.head_rank, is_dueling=options.dueling, seed=seed)
        self.parts = TokenValueCore(
            lm, options, heads=self.heads, guide_of=self._guide, sampling=sampling, optim=optim,
            kl=kl,
        )  # fmt: skip
        self.core, self.memory, self.plan = self.parts.core, self.parts.memory, self.parts.plan
        self.explorer = steered_engine(lm, sampling, self._guide(options.acting, is_exploring=True))

    @property
    def epsilon(self) -> float:
        """Share of tokens that are explored now."""
        return epsilon_at(self.options, self.memory.num_decisions)

    def sampler(self) -> Policy:
        """The steered policy, but for a share ε of tokens that are explored."""
        return self.core.acting(self.explorer)

    def policy(self) -> Policy:
        """The steered policy alone."""
        return self.core.policy()

    def acting_as(self, *, beta: float | None = None, greedy: bool = False) -> Policy:
        """The policy at another β, or always at its likeliest token; see ``Actable``."""
        return self.parts.acting_as(beta=beta, greedy=greedy)

    def action_values(self, episode: Episode) -> ActionValues:
        """Value of each token, among those there were to choose from."""
        options = self.options
        return said_values(
            self.core, episode, self._taken, gamma_token=options.gamma_token,
            gamma_turn=options.gamma_turn,
        )  # fmt: skip

    def _taken(self, hidden: Tensor, ids: Tensor) -> Tensor:
        return self.heads.online.of(hidden, ids[:, None], self._among(hidden))[:, 0]

    def _guide(self, acting: ActingOptions, *, is_exploring: bool = False) -> Guide:
        """Logits of the policy within K(h); a mixture with the softened model on request."""
        limits = [size for size in (acting.topk_before, self.num_choices) if size]
        acting = replace(acting, topk_before=min(limits, default=0))

        def guide(hidden: Tensor, logits: Tensor) -> Tensor:
            if logits.dtype in (torch.float16, torch.bfloat16):
                logits = logits.float()
            plain = steered(logits, torch.zeros_like(logits), acting)
            values = self.heads.online.action(hidden)
            is_kept = plain > -torch.inf
            mean = torch.where(is_kept, values, 0.0).sum(-1, keepdim=True)
            advantage = values - mean / is_kept.sum(-1, keepdim=True)
            moved = steered(logits, advantage, acting)
            epsilon = self.epsilon if is_exploring else 0.0
            if epsilon == 0:
                return moved
            heat = self.sampling.temperature  # which the engine divides by, after this
            soft = (plain / self.options.explore_temperature).log_softmax(-1)
            known = (moved / heat).log_softmax(-1)
            rest = known + math.log1p(-epsilon) if epsilon < 1 else -torch.inf
            mixed = torch.logaddexp(soft + math.log(epsilon), torch.as_tensor(rest).to(soft))
            return heat * mixed

        return guide

    def update(self, episodes: Sequence[Episode], *, seed: int) -> Update:
        """Remember, draw, step, let the slow copy follow."""
        epsilon = Mean(self.epsilon, 1)
        self.explorer.sync()
        update = self.parts.update(episodes, self._terms, seed=seed, after_step=self._follow)
        return replace(update, metrics={**update.metrics, "explore/epsilon": epsilon})

    def _terms(self, batch: Batch, row: PackedRow, weight: Tensor) -> RowTerms:
        options = self.options
        states = token_states(self.core, row, batch)
        among = self._among(states.hidden)
        target = self._targets(batch, row, states)
        taken = self.heads.online.of(states.hidden, row.target[:, None], among)[:, 0]
        losses = [
            td_loss(
                taken, target, row.is_action, num_actions_in_step=batch.num_actions,
                kind=options.critic_loss, weight=weight,
            )
        ]  # fmt: skip
        if options.alpha_cql:  # V and the mean cancel in the cross-entropy
            pushed = push_down(
                self.lm, [self.heads.online.action], states.hidden, row, count=batch.num_actions,
                num_tokens=options.cql_tokens, weight=weight,
            )  # fmt: skip
            losses.append(weighed(options.alpha_cql, pushed))
        with torch.no_grad():
            slow = self.heads.target.of(states.hidden, row.target[:, None], among)[:, 0]
            lag = mean_over((taken - slow).abs(), row.is_action)
        losses.append(Loss(taken.new_zeros(()), {"q/target_lag": lag}))
        return RowTerms(losses, taken.detach() - target)

    @torch.no_grad()
    def _targets(self, batch: Batch, row: PackedRow, states: TokenStates) -> Tensor:
        """Y of each action token of a row."""
        options = self.options
        best = self._best(states.hidden, row.target)
        final = self._best(states.final, None).tolist() if len(states.final) else []
        after = dict(zip(row.final_episode, final, strict=True))
        found = [
            n_step(
                token_rewards(batch.episodes[index]), values, n=options.n_step,
                final_value=after.get(index, 0.0), turn_ends=turn_ends(batch.episodes[index]),
                gamma_token=options.gamma_token, gamma_turn=options.gamma_turn,
            )
            for index, values in zip(row.episodes, per_episode(batch, row, best), strict=True)
        ]  # fmt: skip
        return torch.from_numpy(np.concatenate(found)).to(row.logprob_sampled)

    def _best(self, hidden: Tensor, also: Tensor | None) -> Tensor:
        """Value of the best token in each context; the one in the data is among them."""
        ids = None
        if self.num_choices:
            ids = likeliest(self.lm, hidden, self.num_choices, also=also)
        return self.heads.best(hidden, ids, self._among(hidden), is_double=self.options.double)

    def _among(self, hidden: Tensor) -> Tensor | None:
        """K(h) without the token in the data, over which the mean of a dueling head is."""
        return likeliest(self.lm, hidden, self.num_choices) if self.num_choices else None

    def _follow(self) -> None:
        if self.core.version % self.options.target_every == 0:
            self.heads.follow(self.options.target_rate)

    def state(self) -> LearnerState:
        """Weights, heads, slow copy, optimiser, memory."""
        return self.memory.state()

    def load_state(self, state: LearnerState) -> None:
        """Undo ``state``."""
        self.memory.load_state(state)
        self.explorer.sync()
