"""Q#: the reference policy, steered by what it would earn itself.

Dimensions: n = action tokens of a packed row, f = truncated episodes of it, v = vocabulary,
k = tokens that are weighed, m = outcomes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sayso.algorithms.base import ActionValues, Fatal, LearnerState, RolloutPlan, Update
from sayso.algorithms.checks import check_positive
from sayso.algorithms.core import Core
from sayso.algorithms.critic import said_values
from sayso.algorithms.grading import graded, sampled_logprobs, token_rewards
from sayso.algorithms.kl import refuse_kl
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.algorithms.options.q_sharp import QSharpOptions
from sayso.algorithms.parity import ParityMeter
from sayso.algorithms.recall import Memory
from sayso.algorithms.step import Part, Parts, StepOutcome, guarded_step, score_row, tasks_of
from sayso.algorithms.token_states import TokenStates, token_states
from sayso.data.batch import Batch, PackedRow
from sayso.data.replay import Drawn
from sayso.errors import OptionValueError
from sayso.losses.histogram import histogram_loss, two_hot
from sayso.metrics import Mean
from sayso.models.distribution import token_logprobs
from sayso.models.lm import LanguageModel
from sayso.models.q_heads import FULL_UP_TO
from sayso.models.return_head import return_head
from sayso.sampling.base import Engine, Policy
from sayso.sampling.make import guided_engine
from sayso.sampling.options import SamplingOptions
from sayso.types import Episode

MOST_COMPARED = 8
"""Stored episodes of an update that are compared with what the model itself would say."""
NUM_WEIGHED = 32
"""Tokens weighed in a large vocabulary, unless told otherwise."""


class QSharp:
    r"""Q#: KL-regularised optimal decoding from the returns of the reference policy.

    The model is never changed. A head learns how likely each return R is, from each token on, if
    the reference goes on from there; that needs no bootstrapping and no target. The policy is

    .. math:: \pi(a|h) \propto \pi_{ref}(a|h) \sum_m p_m(h,a)\, e^{R_m/\beta}

    which is :math:`\pi_{ref} e^{Q^*/\beta}` where transitions are deterministic. With returns of 0
    and 1 the sum is :math:`1 + p\,(e^{1/\beta} - 1)`, p the probability of success.

    ``sampler()`` is the reference itself, so that every episode that is remembered is a fair sample
    of what is learnt. Stored episodes must be the reference's own as well: those that record other
    probabilities are refused, and of those that record none the head learns what their author
    earned. ``policy()`` is the steered one, and its β may be changed at any time.
    The reference is the model under the run's sampling options: temperature and filters come before
    the steering. A cut-off episode has the head's own prediction for its last context behind it.

    The head has a value per token, read before the token: one pass of the network per decision. A
    value read after the token would need one pass for each token that is weighed. In a vocabulary
    of more than 1024 tokens it is of low rank and weighs the likeliest tokens only.

    When to use it: the model itself must not change, or is to be steered differently from run to
    run; rewards at the end. It falls short where the reference hardly ever succeeds. Where the
    environment itself is random it is too hopeful, as every log-mean-exp is.

    Source:
        arXiv:2502.20548 (Q#). Differs in that data come from the reference alone; the paper also
        continues prefixes of the policy by the reference.

    Tests:
        tests/math/test_soft.py, tests/contract/test_soft.py, tests/learning/test_soft.py
    """

    def __init__(
        self,
        lm: LanguageModel,
        engine: Engine,
        options: QSharpOptions,
        *,
        sampling: SamplingOptions,
        optim: OptimOptions,
        kl: KLOptions,
        seed: int,
    ) -> None:
        refuse_kl(kl, instead="algorithm.beta is the weight of its own")
        if sampling.precision != "exact":
            raise OptionValueError(
                where="sampling.precision",
                problem=f"got {sampling.precision!r}, whose samples are of another reference.",
                fix='Use "exact".',
            )
        self.lm, self.options = lm, options
        lm.freeze_network()
        outcomes = options.outcomes()
        self.head = return_head(lm, num_outcomes=len(outcomes), seed=seed)
        self.outcomes = torch.tensor(outcomes, dtype=self.head.bias.dtype, device=lm.device)
        self.core = Core(
            lm, engine, sampling=sampling, optim=optim, kl=kl, critic_lr=options.critic_lr,
            q_heads=self.head,
        )  # fmt: skip
        self.steered = self._engine(options.beta)
        self.memory = Memory(self.core, options.replay)
        self.plan = RolloutPlan(
            tasks_per_step=options.tasks_per_step, group_size=options.group_size
        )

    def sampler(self) -> Policy:
        """The reference: what is learnt is what it earns."""
        return self.core.sampler()

    def policy(self) -> Policy:
        """The reference, steered."""
        return self.core.acting(self.steered)

    def acting_as(self, *, beta: float | None = None, greedy: bool = False) -> Policy:
        """The policy at another β, or always at its likeliest token.

        Args:
            beta: Unset: the one of the options.
            greedy: Take the likeliest token.
        """
        weight = self.options.beta if beta is None else beta
        check_positive(beta=weight)
        return self.core.acting(self._engine(weight, greedy=greedy))

    def _engine(self, beta: float, *, greedy: bool = False) -> Engine:
        """Filters come before the steering; the temperature stays with the engine."""
        sampling = replace(self.core.sampling, top_k=1 if greedy else 0, top_p=1.0, min_p=0.0)
        return guided_engine(self.lm, sampling, lambda *both: self.guide(*both, beta=beta))

    @torch.no_grad()
    def guide(
        self, hidden: Float[Tensor, "n d"], logits: Float[Tensor, "n v"], *, beta: float
    ) -> Float[Tensor, "n v"]:
        """Logits of the steered policy, times the temperature that the engine divides by."""
        distribution = self.core.distribution
        reference = token_logprobs(logits, distribution)
        num = self._num_weighed()
        if num == logits.shape[-1]:
            steered = reference + self._gain(self.head(hidden), beta).to(reference)
        else:
            likely, ids = reference.topk(num, dim=-1)
            gain = self._gain(self.head.of(hidden, ids), beta).to(reference)
            steered = torch.full_like(reference, -torch.inf).scatter(-1, ids, likely + gain)
        return steered * distribution.temperature

    def action_values(self, episode: Episode) -> ActionValues:
        """β log E[exp(R / β)] after each token: what steering earns, its distance paid for."""
        beta = self.options.beta

        def soft(hidden: Tensor, ids: Tensor) -> Tensor:
            return beta * self._gain(self.head.of(hidden, ids[:, None]), beta)[:, 0]

        return said_values(self.core, episode, soft, gamma_token=1.0, gamma_turn=1.0)

    def _num_weighed(self) -> int:
        unset = self.lm.vocabulary if self.lm.vocabulary <= FULL_UP_TO else NUM_WEIGHED
        return min(self.options.num_weighed or unset, self.lm.vocabulary)

    def _gain(self, logits: Float[Tensor, "n k m"], beta: float) -> Float[Tensor, "n k"]:
        """Soft Q over β: the logarithm of the mean of exp(R / β)."""
        chance = logits.log_softmax(-1)
        return torch.logsumexp(chance + self.outcomes / beta, dim=-1)

    def update(self, episodes: Sequence[Episode], *, seed: int) -> Update:
        """Remember, draw, step."""
        kept = graded(episodes)
        fatal = self._unforeseen(kept.episodes) or self._foreign(kept.episodes)
        if fatal is not None:
            return Update(metrics=kept.metrics, num_optimiser_steps=0, fatal=fatal)
        update = self.memory.learn(kept, self._step, num=self.options.updates_per_step, seed=seed)
        self.steered.sync()
        return update

    def _step(self, drawn: Drawn, _: int) -> tuple[StepOutcome, list[float]]:
        """One optimiser step of the head."""
        batch = self.core.pack(drawn.episodes)
        return guarded_step(self.core, self._parts(batch)), []

    def _parts(self, batch: Batch) -> Parts:
        """The head's loss, row by row."""
        for row in batch.rows:
            with torch.no_grad():
                states = token_states(self.core, row, batch)
                target = self._target(row, batch, states)
            logits = self.head.of(states.hidden, row.target[:, None])[:, 0]
            loss = histogram_loss(
                logits, target, row.is_action, num_actions_in_step=batch.num_actions
            )
            mean = logits.detach().softmax(-1) @ self.outcomes
            wanted = target @ self.outcomes
            told = {
                "critic/predicted_return": Mean(float(mean.sum()), len(mean)),
                "critic/observed_return": Mean(float(wanted.sum()), len(wanted)),
            }
            yield Part(losses=[loss], metrics=told, about=tasks_of(batch, row))

    def _target(self, row: PackedRow, batch: Batch, states: TokenStates) -> Float[Tensor, "n m"]:
        """Distribution of what is earned from each token on."""
        outcomes = self.outcomes
        to_go = torch.cat([_to_go(batch.episodes[e]) for e in row.episodes]).to(outcomes)
        target = two_hot(to_go, outcomes)
        behind = self._of_reference(states.final)
        for chances, episode in zip(behind, row.final_episode, strict=True):
            is_cut = row.episode == episode
            earned = to_go[is_cut]
            sums = (earned[:, None] + outcomes).flatten()
            spread = two_hot(sums, outcomes).view(len(earned), len(outcomes), len(outcomes))
            target[is_cut] = torch.einsum("m,nmo->no", chances, spread)
        return target

    def _of_reference(self, hidden: Float[Tensor, "f d"]) -> Float[Tensor, "f m"]:
        """Predicted distribution of what the reference earns from a context on."""
        reference = token_logprobs(self.lm.logits(hidden), self.core.distribution)
        likely, ids = reference.topk(self._num_weighed(), dim=-1)
        chance = self.head.of(hidden, ids).softmax(-1)
        return torch.einsum("fk,fkm->fm", likely.softmax(-1).to(chance), chance)

    def _foreign(self, episodes: Sequence[Episode]) -> Fatal | None:
        """Stored episodes that say how likely they were, and were not the reference's own."""
        stored = [e for e in episodes if e.policy_version < 0][:MOST_COMPARED]
        recorded = [e for e in stored if np.isfinite(sampled_logprobs(e)).all()]
        if not recorded:
            return None
        meter = ParityMeter()
        with torch.no_grad():
            for row in self.core.pack(recorded).rows:
                scores = score_row(self.lm, row, self.core.distribution)
                meter.add(scores.logprob, row.logprob_sampled)
        if meter.fatal() is None:
            return None
        gap = meter.total_gap / meter.num_tokens
        return Fatal(
            problem="the stored episodes were sampled by another policy: their recorded "
            f"log-probabilities are {gap:.2g} nats off the model's. Q# learns what the model "
            "itself earns, and would learn what that policy earned.",
            fix="Take episodes of the model before training, with the same [sampling]; or ilql or "
            "soft_q, which learn from any.",
        )

    def _unforeseen(self, episodes: Sequence[Episode]) -> Fatal | None:
        """A return that the head has no outcome for: nothing learnt from it would be right."""
        slack = 1e-9 * max(1.0, self.options.high - self.options.low)  # sums of floats
        for episode in episodes:
            to_go = _to_go(episode)
            low, high = float(to_go.min()), float(to_go.max())
            where = f"task {episode.task.id} earned"
            if self.options.returns == "success":
                odd = [r for r in to_go.tolist() if min(abs(r), abs(r - 1)) > slack]
                if odd:
                    return Fatal(
                        problem=f"{where} {odd[0]:g} from a token on, which is neither 0 nor 1.",
                        fix="Set algorithm.returns = 'histogram', with low and high.",
                    )
            elif low < self.options.low - slack or high > self.options.high + slack:
                return Fatal(
                    problem=f"{where} from {low:g} to {high:g}, outside of [{self.options.low:g}, "
                    f"{self.options.high:g}].",
                    fix="Lower algorithm.low or raise algorithm.high.",
                )
        return None

    def state(self) -> LearnerState:
        """Head, optimiser, memory."""
        return self.memory.state()

    def load_state(self, state: LearnerState) -> None:
        """Undo ``state``."""
        self.memory.load_state(state)
        self.steered.sync()


def _to_go(episode: Episode) -> Tensor:
    """What is earned from each token of an episode on, not counting what lies behind a cut-off."""
    return torch.from_numpy(token_rewards(episode)[::-1].cumsum()[::-1].copy())
