"""MC returns: values of tokens by regression on what followed, and a policy that they steer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sayso.algorithms.acting import steering
from sayso.algorithms.base import ActionValues, LearnerState, Update
from sayso.algorithms.critic import said_values
from sayso.algorithms.grading import token_rewards, turn_ends
from sayso.algorithms.options.acting import ActingOptions
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.mc_returns import MCReturnsOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.algorithms.token_losses import clone, push_down, weighed
from sayso.algorithms.token_states import TokenStates, token_states
from sayso.algorithms.value_steps import RowTerms, TokenValueCore
from sayso.credit.returns import reward_to_go
from sayso.data.batch import Batch, PackedRow
from sayso.losses.q_learning import expectile_loss, td_loss
from sayso.models.lm import LanguageModel
from sayso.models.token_values import TokenValues
from sayso.sampling.backend import Guide
from sayso.sampling.base import Engine, Policy
from sayso.sampling.options import SamplingOptions
from sayso.types import Episode


class MCReturns:
    r"""MC returns: one step of improvement over the policy that made the data, without bootstrap.

    .. math:: \tfrac{1}{N} \sum_t \tfrac12 (Q(h_t, a_t) - \hat R_t)^2
        + \tfrac12 (V(h_t) - \hat R_t)^2
        + \alpha \Bigl[\log \textstyle\sum_a e^{Q(h_t, a)} - Q(h_t, a_t)\Bigr]
        - c \log \pi_b(a_t | h_t)

    .. math:: \pi(a|h) \propto \pi_b(a|h)\, e^{\beta (Q(h, a) - V(h))}

    with returns-to-go R̂ over the action tokens of the whole episode, turns included, and N action
    tokens. Q becomes the value of the policy that made the data: nothing is stitched together from
    parts of different episodes. An episode that was cut off goes on with V of its last context.

    When to use it: text in which what follows tells enough, and a stable critic matters more than
    the best that the data allow. ``ILQL`` stitches.

    Source:
        Abdulhai et al. 2023 (LMRL-Gym), arXiv:2311.18232, sec. 4.2 and eq. 5, which misprints β Q
        as an exponent of π_b. Differs in V, which judges cut-off episodes and centres the
        advantage; and in the discount, which is per decision.

    Tests:
        tests/math/test_token_values.py, tests/learning/test_token_values.py
    """

    def __init__(
        self,
        lm: LanguageModel,
        engine: Engine | None,
        options: MCReturnsOptions,
        *,
        sampling: SamplingOptions,
        optim: OptimOptions,
        kl: KLOptions,
        seed: int,
    ) -> None:
        del engine  # values steer one of their own
        self.lm, self.options = lm, options
        self.heads = TokenValues(
            lm, num_heads=1, rank=options.head_rank, seed=seed, has_targets=False
        )
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
        """Value of each token: what the policy that made the data earns after it."""
        options = self.options
        return said_values(
            self.core, episode, lambda hidden, ids: self.heads.taken(hidden, ids)[0],
            gamma_token=options.gamma_token, gamma_turn=options.gamma_turn,
        )  # fmt: skip

    def _guide(self, acting: ActingOptions) -> Guide:
        return steering(self.heads.advantage, acting)

    def update(self, episodes: Sequence[Episode], *, seed: int) -> Update:
        """Remember, draw, regress."""
        return self.parts.update(episodes, self._terms, seed=seed)

    def _terms(self, batch: Batch, row: PackedRow, weight: Tensor) -> RowTerms:
        options, count = self.options, batch.num_actions
        states = token_states(self.core, row, batch)
        target = self._returns(batch, row, states)
        (taken,) = self.heads.taken(states.hidden, row.target)
        value = self.heads.values(states.hidden)
        losses = [
            td_loss(
                taken, target, row.is_action, num_actions_in_step=count, kind=options.critic_loss,
                weight=weight,
            ),
            expectile_loss(
                value, target, row.is_action, num_actions_in_step=count, tau=0.5, weight=weight
            ),
        ]  # fmt: skip
        if options.alpha_cql:
            pushed = push_down(
                self.lm, self.heads.heads(), states.hidden, row, count=count,
                num_tokens=options.cql_tokens, weight=weight,
            )  # fmt: skip
            losses.append(weighed(options.alpha_cql, pushed))
        if options.train_lm and options.bc_coef:
            imitated = clone(self.core, states.hidden, row, count=count, weight=weight)
            losses.append(weighed(options.bc_coef, imitated))
        return RowTerms(losses, taken.detach() - target)

    @torch.no_grad()
    def _returns(self, batch: Batch, row: PackedRow, states: TokenStates) -> Tensor:
        """Return-to-go of each action token of a row."""
        final = self.heads.values(states.final).tolist()
        after = dict(zip(row.final_episode, final, strict=True))
        found = [
            reward_to_go(
                token_rewards(batch.episodes[index]),
                turn_ends=turn_ends(batch.episodes[index]),
                gamma_token=self.options.gamma_token,
                gamma_turn=self.options.gamma_turn,
                final_value=after.get(index, 0.0),
            )
            for index in row.episodes
        ]
        return torch.from_numpy(np.concatenate(found)).to(row.logprob_sampled)

    def state(self) -> LearnerState:
        """Weights, heads, optimiser, memory."""
        return self.memory.state()

    def load_state(self, state: LearnerState) -> None:
        """Undo ``state``."""
        self.memory.load_state(state)
