"""TokenDQN: a deep Q-network whose actions are tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from sayso.algorithms.acting import ActingOptions, steered, steered_engine
from sayso.algorithms.base import ActionValues, LearnerState, Update
from sayso.algorithms.checks import check_positive, check_used, check_weights
from sayso.algorithms.critic import check_discounts, said_values
from sayso.algorithms.grading import token_rewards, turn_ends
from sayso.algorithms.kl import KLOptions
from sayso.algorithms.optim import OptimOptions
from sayso.algorithms.recall import check_memory
from sayso.algorithms.token_losses import likeliest, push_down, weighed
from sayso.algorithms.token_states import TokenStates, token_states
from sayso.algorithms.value_steps import RowTerms, TokenValueCore, per_episode
from sayso.credit.returns import n_step
from sayso.data.batch import Batch, PackedRow
from sayso.data.replay import ReplayOptions
from sayso.losses.loss import Loss, mean_over
from sayso.losses.q_learning import CriticLoss, td_loss
from sayso.metrics import Mean
from sayso.models.lm import LanguageModel
from sayso.models.q_heads import FULL_UP_TO
from sayso.models.token_values import ChosenValues
from sayso.sampling.backend import Guide
from sayso.sampling.base import Engine, Policy, SamplingOptions
from sayso.types import Episode

FEW = 32
"""Tokens to choose among where the vocabulary is large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenDQNOptions:
    """Options of ``TokenDQN``; written in a run file under ``[algorithm]``.

    Attributes:
        tasks_per_step: Different tasks per update.
        group_size: Attempts at each.
        updates_per_step: Optimiser steps per update: the replay ratio, where each draws as many
            episodes as are new.
        draws: Episodes of an optimiser step, drawn from memory; unset: as many as are new.
        gamma_token: Discount between tokens of one turn.
        gamma_turn: Discount from one turn to the next.
        token_set: Choose among so many likeliest tokens of the model and, in learning, the one in
            the data; 0: among all. Unset: all up to 1 024 tokens, else 32.
        double: Let the heads that learn choose the token that their slow copy values.
        dueling: Value contexts by a head of their own.
        n_step: Rewards before bootstrapping. Above 1, targets credit what an old policy did next,
            uncorrected.
        critic_loss: ``"huber"`` (δ = 1), or ``"mse"``.
        alpha_cql: Weight of the cross-entropy that pushes tokens down which the data lack; for data
            that are not explored further.
        cql_tokens: It is over so many likeliest tokens of the model and the one in the data, a
            lower bound; 0: over all.
        target_rate: How far the slow copy moves at a time, in (0, 1]; 1 copies.
        target_every: Optimiser steps between two such moves.
        critic_lr: Learning rate of the heads.
        head_rank: Rank of the action values' head; 0: full, with a layer in front. Unset: full up
            to 1 024 tokens, else 16.
        train_lm: Train the model's trunk as well. Nothing then holds the policy that is explored
            with, and chosen from, where it was.
        epsilon_start: Share of tokens that are explored at first.
        epsilon_end: Share in the end.
        epsilon_steps: Optimiser steps from the one to the other.
        explore_temperature: What explored tokens are drawn at from the model, within ``token_set``.
        acting: How values steer decoding; the rest of the exploration.
        replay: What is remembered.
    """

    type: Literal["token_dqn"] = "token_dqn"
    tasks_per_step: int = 64
    group_size: int = 1
    updates_per_step: int = 4
    draws: int | None = None
    gamma_token: float = 1.0
    gamma_turn: float = 0.99
    token_set: int | None = None
    double: bool = True
    dueling: bool = True
    n_step: int = 1
    critic_loss: CriticLoss = "huber"
    alpha_cql: float = 0.0
    cql_tokens: int = 0
    target_rate: float = 0.005
    target_every: int = 1
    critic_lr: float = 1e-3
    head_rank: int | None = None
    train_lm: bool = False
    epsilon_start: float = 0.3
    epsilon_end: float = 0.05
    epsilon_steps: int = 1000
    explore_temperature: float = 1.5
    acting: ActingOptions = field(default_factory=ActingOptions)
    replay: ReplayOptions = field(default_factory=ReplayOptions)

    online: ClassVar[tuple[str, ...]] = ("draws",)

    def __post_init__(self) -> None:
        check_memory(
            tasks_per_step=self.tasks_per_step, group_size=self.group_size,
            updates_per_step=self.updates_per_step, draws=self.draws,
            replay=self.replay,
        )  # fmt: skip
        check_discounts(self.gamma_token, self.gamma_turn, 1.0)
        check_positive(
            critic_lr=self.critic_lr, n_step=self.n_step, target_every=self.target_every,
            epsilon_steps=self.epsilon_steps, explore_temperature=self.explore_temperature,
        )  # fmt: skip
        check_weights(
            alpha_cql=self.alpha_cql, cql_tokens=self.cql_tokens, head_rank=self.head_rank or 0,
            token_set=self.token_set or 0,
        )  # fmt: skip
        if not 0 < self.target_rate <= 1:
            raise ValueError(f"target_rate must be in (0, 1], got {self.target_rate}")
        for name in ("epsilon_start", "epsilon_end"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        check_used(self, ("cql_tokens",), needs="alpha_cql")


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
        options = self.options
        share = min(1.0, self.core.version / options.epsilon_steps)
        return options.epsilon_start + share * (options.epsilon_end - options.epsilon_start)

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
