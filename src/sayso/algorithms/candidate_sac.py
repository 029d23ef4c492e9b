"""CandidateSAC: soft actor-critic over whole utterances."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from sayso.algorithms.base import ActionValues, LearnerState, RolloutPlan, Skipped, Update
from sayso.algorithms.candidate_turns import Minibatch
from sayso.algorithms.candidates import CandidateCore, is_sound, trimmed
from sayso.algorithms.grading import Numbers
from sayso.algorithms.options.candidate_sac import CandidateSACOptions
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.algorithms.step import StepOutcome
from sayso.credit.candidates import boltzmann, policy_value
from sayso.losses.candidates import candidate_actor
from sayso.losses.loss import Loss
from sayso.losses.q_learning import td_loss
from sayso.metrics import Mean
from sayso.models.candidate_heads import CandidateCritic, CandidateHead
from sayso.models.lm import LanguageModel
from sayso.models.q_heads import target_of
from sayso.models.slates import Read, Slate
from sayso.sampling.base import Engine, Policy
from sayso.sampling.options import SamplingOptions
from sayso.seeds import derive
from sayso.types import Episode


class CandidateSAC:
    r"""Discrete soft actor-critic over candidate utterances; the language model stays as it is.

    .. math:: y = r + γ (1 - \text{terminated}) \sum_u π(u|s') (\bar Q(s', u) - τ \log π(u|s'))

    .. math:: L_π = \tfrac1N \sum_i w_i \sum_u π(u|s_i) (τ \log π(u|s_i) - Q(s_i, u)),\quad
        \log τ \leftarrow \log τ + η (c \log k - H(π))

    with candidates u from the environment's list or drawn from the language model, k different ones
    in a state, and exact expectations over them. The policy is a softmax of a head of its own. It
    reads the critics' features and does not train them: what couples actor and critic makes this
    method oscillate.

    An action that stored episodes took and nobody proposed counts as one that could be chosen, in
    the entropy as well.

    When to use it: as ``CandidateDQN``, where a stochastic policy is wanted. Experimental: its
    entropy target needs care, and it has no prior to hold it to the language model.

    Source:
        Christodoulou 2019, arXiv:1910.07207; the average of twins for their minimum: Zhou et al.
        2022, arXiv:2209.10081. Differs in that candidates differ from state to state, so that the
        target entropy is a share of each state's log k, and in that τ follows the plain dual
        gradient, not Adam.

    Tests:
        tests/math/test_candidate_values.py, tests/math/test_candidate_fixed_points.py,
        tests/learning/test_candidates.py
    """

    def __init__(
        self,
        lm: LanguageModel,
        engine: Engine,
        options: CandidateSACOptions,
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
        self.actor = CandidateHead(
            lm.width, seed=derive(seed, "actor"), dtype=lm.dtype, device=lm.device
        )
        self.log_temperature = math.log(options.temperature)
        heads = {"critic": self.critic, "target": self.target, "actor": self.actor}
        self.parts = CandidateCore(
            lm, engine, options, sampling=sampling, optim=optim, kl=kl, seed=seed,
            heads=nn.ModuleDict(heads),
        )  # fmt: skip
        self.core = self.parts.core
        self._explorer = self.parts.engine(self._sampled, is_exact=False)
        self._best = self.parts.engine(self._greedy, is_exact=True)
        self._tempered = self.parts.engine(self._sampled, is_exact=True)
        self.plan = RolloutPlan(
            tasks_per_step=options.tasks_per_step, group_size=options.group_size
        )

    def sampler(self) -> Policy:
        """The policy: its entropy is the exploration."""
        return self.parts.acting(self._explorer)

    def policy(self) -> Policy:
        """The likeliest candidate, or what ``evaluate`` says."""
        return self.acting_as(greedy=self.options.evaluate == "greedy")

    def acting_as(self, *, greedy: bool = False) -> Policy:
        """Who acts greedily, or samples, whatever the options say."""
        return self.parts.acting(self._best if greedy else self._tempered)

    def action_values(self, episode: Episode) -> ActionValues:
        """Value of each utterance, at its last token; entropy that follows is paid for."""
        return self.parts.action_values(episode, self.critic)

    def update(self, episodes: Sequence[Episode], *, seed: int) -> Update:
        """Remember, draw, bootstrap, step."""
        update = self.parts.learn(episodes, self._step, seed=seed)
        now = Mean(math.exp(self.log_temperature), 1)
        return replace(update, metrics={**update.metrics, "policy/temperature": now})

    def state(self) -> LearnerState:
        """Critics, targets, policy, optimiser, memory, temperature."""
        return self.parts.state(log_temperature=self.log_temperature)

    def load_state(self, state: LearnerState) -> None:
        """Undo ``state``."""
        self.parts.load_state(state)
        self.log_temperature = float(state.values["log_temperature"])

    def _step(self, minibatch: Minibatch) -> tuple[StepOutcome, Numbers]:
        values = self._following(minibatch.following)
        if values is None:
            reason = "a value or a preference is not finite"
            return StepOutcome(skipped=Skipped(reason=reason)), np.zeros(0)
        target, errors = minibatch.targets(values), np.zeros(minibatch.count)
        count, temperature = float(minibatch.count), math.exp(self.log_temperature)

        def loss(read: Read) -> list[Loss]:
            here = minibatch.here(read)
            rows, taken = minibatch.rows(read, here)
            each = self.critic.each(read)
            wanted = torch.from_numpy(target[here]).to(each)
            weight = minibatch.weights(here, each)
            is_decision = torch.ones_like(taken, dtype=torch.bool)
            found = [
                td_loss(q[rows, taken], wanted, is_decision, num_actions_in_step=count,
                        kind="huber", delta=self.options.huber, weight=weight)
                for q in each
            ]  # fmt: skip
            agreed = self.critic.agreed(each.detach())
            logprob = self._logits(read).log_softmax(-1)
            found.append(
                candidate_actor(logprob[rows], agreed[rows], weight, temperature=temperature,
                                num_in_step=count)
            )  # fmt: skip
            errors[here] = (agreed[rows, taken] - wanted).double().cpu().numpy()
            return found

        outcome = self.parts.step(minibatch, loss)
        if outcome.skipped is None:
            self._tune(minibatch, outcome.metrics["policy/entropy"].value)
        return outcome, errors

    def _tune(self, minibatch: Minibatch, entropy: float) -> None:
        """Move the temperature towards the entropy that is wanted."""
        share = self.options.target_entropy
        if share is None:
            return
        sizes = [math.log(len(t.slate.candidates)) for t in minibatch.transitions]
        wanted = share * sum(sizes) / len(sizes)
        self.log_temperature += self.options.temperature_lr * (wanted - entropy)

    def _logits(self, read: Read) -> Tensor:
        """Preferences over candidates, [s, k]; no gradient reaches a trunk."""
        return read.padded(self.actor(replace(read, phi=read.phi.detach(), psi=read.psi.detach())))

    def _following(self, slates: Sequence[Slate]) -> Numbers | None:
        """What the decisions are worth that follow; ``None`` where that is no number."""
        if not slates:
            return np.zeros(0)
        judge = self.parts.table(self.parts.readers.target, slates, self.target)
        logits = self.parts.table(self.parts.readers.online, slates, self._logits)
        if not is_sound(judge) or not is_sound(logits):
            return None
        return policy_value(judge, _log_softmax(logits), temperature=math.exp(self.log_temperature))

    def _sampled(self, slates: Sequence[Slate], _: Sequence[int]) -> list[Numbers]:
        return self._sharpened(slates, 1.0)

    def _greedy(self, slates: Sequence[Slate], _: Sequence[int]) -> list[Numbers]:
        return self._sharpened(slates, np.inf)

    def _sharpened(self, slates: Sequence[Slate], sharpness: float) -> list[Numbers]:
        logits = self.parts.scored(slates, self._logits)
        return trimmed(_log_softmax(logits, sharpness), slates)


def _log_softmax(logits: Numbers, sharpness: float = 1.0) -> Numbers:
    """Of each row; padding stays ``-inf``."""
    return boltzmann(logits, np.where(logits > -np.inf, 0.0, -np.inf), alpha=sharpness)
