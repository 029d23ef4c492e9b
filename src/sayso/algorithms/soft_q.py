"""SoftQ: the KL-regularised Bellman equation, solved by the language model's own log-probabilities.

Dimensions: n = action tokens of a packed row, f = truncated episodes of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sayso.algorithms.base import ActionValues, LearnerState, RolloutPlan, Update
from sayso.algorithms.core import Core
from sayso.algorithms.critic import context_values
from sayso.algorithms.grading import graded
from sayso.algorithms.kl import reference_logprobs, refuse_kl
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.algorithms.options.soft_q import SoftQOptions
from sayso.algorithms.recall import Memory
from sayso.algorithms.step import RowLoss, StepOutcome, take_step
from sayso.algorithms.token_states import following, row_rewards, value_after
from sayso.data.batch import Batch, PackedRow
from sayso.data.replay import Drawn
from sayso.losses.kl import kl_loss, kl_metrics
from sayso.losses.loss import Loss
from sayso.losses.soft_q import soft_bellman, soft_trajectory
from sayso.losses.value import value_loss
from sayso.models.lm import LanguageModel
from sayso.models.q_heads import polyak, target_of
from sayso.models.scoring import Scores
from sayso.sampling.base import Engine, Policy
from sayso.sampling.options import SamplingOptions
from sayso.types import Episode


class SoftQ:
    r"""SoftQ: soft Q-learning with the language model as the soft-optimal policy.

    With :math:`x_t = \log \pi(a_t|h_t) - \log \pi_{ref}(a_t|h_t)` the model stands for
    :math:`Q = V + \beta x`, whose soft value is V and whose soft-optimal policy is the model
    itself. A value head says V. In all modes it is fitted to a soft target
    :math:`\hat V`, and the policy to one residual:

    ==========  ==========================================  =======================================
    mode        soft target of V(h_t)                       residual of the policy
    ==========  ==========================================  =======================================
    pcl         G_t = sum over k >= t of (r_k - β x_k)      V(h_t) + β x_t - (G_t + β x_t without
                                                            gradient), at each token
    trajectory  the same                                    V(h_0) + β (sum of all x) - R
    td          r_t + γ V̄(h_t+1) - β x_t                    V(h_t) + β x_t - (r_t + γ V̄(h_t+1))
    ==========  ==========================================  =======================================

    .. math:: \frac{1}{N} \Bigl[\frac{1}{2\beta} \sum \text{residual}^2
        + \frac{c_V}{2\beta} \sum_t (V_t - \hat V_t)^2 + \frac{\alpha}{2} \sum_t x_t^2\Bigr]

    with N episodes. In ``td`` and ``pcl`` the two residuals are the same number; each goes through
    its own part, so that with c_V = 1 the sum is one squared residual, followed through both. V̄ is
    a slow copy of the head, over the model as it is. A cut-off episode has the value of its last
    context behind it, one that ended has 0.

    The residuals vanish at one policy only, :math:`\pi_{ref} e^{(Q^* - V^*)/\beta}`, whoever played
    the episodes: there is no importance ratio, and old episodes or a stored data set will do. On
    the policy's own episodes ``pcl`` and ``trajectory`` follow the exact gradient of J − β KL.
    Where the environment itself is random, ``trajectory`` is right on the policy's own, recent
    episodes only; ``pcl`` and ``td`` are right on any.

    When to use it: episodes are expensive, or stored, and the model should stay near what it was.
    What comes out is a plain model.

    Source:
        pcl: Wang et al. 2024, arXiv:2412.16145 (OREO). trajectory: arXiv:2505.15311 (TBRM), with a
        head for V, fitted as OREO's critic. td: Guo et al. 2021, arXiv:2106.07704, with the
        reference as prior and V read from a head. Differs in the scale 1/2β; OREO's critic is a
        network of its own, ours a head on the policy's trunk.

    Tests:
        tests/math/test_soft.py, tests/math/test_enumeration_learners.py,
        tests/contract/test_soft.py, tests/learning/test_soft.py
    """

    def __init__(
        self,
        lm: LanguageModel,
        engine: Engine,
        options: SoftQOptions,
        *,
        sampling: SamplingOptions,
        optim: OptimOptions,
        kl: KLOptions,
        seed: int,
    ) -> None:
        del seed  # nothing here is random
        refuse_kl(kl, instead="algorithm.beta is the weight of its own")
        self.lm, self.options = lm, options
        lm.freeze_reference()
        self.core = Core(
            lm, engine, sampling=sampling, optim=optim, kl=kl, critic_lr=options.critic_lr
        )
        head = lm.value_head
        self.target: nn.Module | None = (
            target_of(head) if head is not None and options.mode == "td" else None
        )
        self.memory = Memory(self.core, options.replay)
        self.plan = RolloutPlan(
            tasks_per_step=options.tasks_per_step, group_size=options.group_size
        )

    def sampler(self) -> Policy:
        """The policy itself: it is as random as its distance from the optimum is small."""
        return self.core.sampler()

    def policy(self) -> Policy:
        """The same: the soft-optimal policy is the model."""
        return self.core.policy()

    def action_values(self, episode: Episode) -> ActionValues:
        """Soft value of the context before each token: the distance from the reference is paid."""
        return context_values(
            self.core, episode, gamma_token=1.0, gamma_turn=self.options.gamma_turn
        )

    def update(self, episodes: Sequence[Episode], *, seed: int) -> Update:
        """Remember, draw, step."""
        num = self.options.updates_per_step
        return self.memory.learn(graded(episodes), self._step, num=num, seed=seed)

    def _step(self, drawn: Drawn, _: int) -> tuple[StepOutcome, list[float]]:
        batch, errors = self.core.pack(drawn.episodes), dict[int, float]()
        outcome = take_step(self.core, batch, self._row_loss(batch, drawn, errors), want_value=True)
        if outcome.skipped is None:
            self._move_target()
        return outcome, [errors[place] for place in sorted(errors)]

    def _row_loss(self, batch: Batch, drawn: Drawn, errors: dict[int, float]) -> RowLoss:
        """The loss of a row; what it says of each episode is noted in ``errors``."""
        options, num = self.options, float(len(batch.episodes))
        reference = reference_logprobs(self.lm, batch, self.core.distribution)

        def row_loss(number: int, row: PackedRow, scores: Scores) -> list[Loss]:
            ref = reference[number]
            weight = torch.as_tensor(drawn.weights).to(ref)
            wanted = self._soft_target(row, batch, scores, ref)
            value = scores.value_or_raise()
            _note(errors, row, value.detach().to(wanted) - wanted)
            critic = value_loss(
                value, wanted.to(value), row.is_action, weight=weight[row.episode],
                num_actions_in_step=num,
            )  # fmt: skip
            losses = [Loss(options.value_coef / options.beta * critic.value, critic.metrics)]
            ratio = (scores.logprob - ref).detach()
            residual = value.detach().to(wanted)
            if options.mode == "trajectory":
                first, place = _sequences(row)
                losses.append(soft_trajectory(
                    scores.logprob, ref, residual[first],
                    wanted[first] + options.beta * _sums(ratio, place, len(first)),
                    row.is_action, sequence=place, beta=options.beta, num_in_step=num,
                    weight=weight[row.episode][first],
                ))  # fmt: skip
            else:
                losses.append(soft_bellman(
                    scores.logprob, ref, residual, wanted + options.beta * ratio, row.is_action,
                    beta=options.beta, num_in_step=num, weight=weight[row.episode],
                ))  # fmt: skip
            losses.append(self._distance(scores.logprob, ref, row, num, weight))
            return losses

        return row_loss

    def _distance(
        self, logprob: Tensor, ref: Tensor, row: PackedRow, num: float, weight: Tensor
    ) -> Loss:
        """The further KL term, and the distance for the log."""
        if not self.options.alpha:
            return Loss(logprob.new_zeros(()), kl_metrics(logprob, ref, row.is_action))
        distance = kl_loss(
            logprob, ref, row.is_action, estimator="k2", num_actions_in_step=num,
            weight=weight[row.episode],
        )  # fmt: skip
        return Loss(self.options.alpha * distance.value, distance.metrics)

    @torch.no_grad()
    def _soft_target(
        self, row: PackedRow, batch: Batch, scores: Scores, ref: Float[Tensor, " n"]
    ) -> Float[Tensor, " n"]:
        """What the value head should say of the context of each token; see the class."""
        reward, discount = row_rewards(
            row, batch, gamma_token=1.0, gamma_turn=self.options.gamma_turn, like=ref
        )
        cost = self.options.beta * (scores.logprob - ref)
        state, final = scores.state, scores.final_state
        if state is None or final is None:
            raise ValueError("states were not asked for: score(..., final=...)")
        after = following(row, batch)
        if self.target is not None:
            behind = value_after(after, self.target(state), self.target(final)).to(ref)
            return reward - cost + discount * behind
        # To the end: nothing but the value of a cut-off is ever behind a token.
        ending = value_after(after, torch.zeros_like(ref), self.lm.values(final).to(ref))
        return _to_go(reward - cost + ending, row)

    def _move_target(self) -> None:
        head = self.lm.value_head
        if self.target is not None and head is not None:
            polyak(self.target, head, self.options.target_rate)

    def state(self) -> LearnerState:
        """Weights, critic, its target, optimiser, memory."""
        target = {} if self.target is None else self.target.state_dict()
        return self.memory.state({f"value_target.{name}": t for name, t in target.items()})

    def load_state(self, state: LearnerState) -> None:
        """Undo ``state``."""
        self.memory.load_state(state)
        if self.target is not None:
            for name, tensor in self.target.state_dict().items():
                tensor.copy_(state.tensors[f"value_target.{name}"])


def _sequences(row: PackedRow) -> tuple[Tensor, Tensor]:
    """Place of the first token of each episode of a row, and number of each token's episode."""
    _, place, counts = torch.unique_consecutive(
        row.episode, return_inverse=True, return_counts=True
    )
    return counts.cumsum(0) - counts, place


def _sums(numbers: Tensor, place: Tensor, num: int) -> Tensor:
    return numbers.new_zeros(num).index_add(0, place, numbers)


def _to_go(numbers: Float[Tensor, " n"], row: PackedRow) -> Float[Tensor, " n"]:
    """Sum from each token to the end of its own episode."""
    first, place = _sequences(row)
    last = torch.cat([first[1:], first.new_tensor([len(numbers)])]) - 1
    precise = numbers.double()  # a difference of sums over the whole row
    upto = precise.cumsum(0)
    return (upto[last][place] - upto + precise).to(numbers)


def _note(errors: dict[int, float], row: PackedRow, error: Float[Tensor, " n"]) -> None:
    """Mean size of the critic's error over the tokens of each episode."""
    first, place = _sequences(row)
    counts = _sums(torch.ones_like(error), place, len(first))
    means = _sums(error.abs(), place, len(first)) / counts
    errors.update(zip(row.episodes, means.tolist(), strict=True))
