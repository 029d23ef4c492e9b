"""ArCHer: a hierarchical actor-critic. The critic thinks in utterances, the actor in tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from sayso.algorithms.anchor import sampling_weight
from sayso.algorithms.base import ActionValues, LearnerState, RolloutPlan, Skipped, Update
from sayso.algorithms.core import Core
from sayso.algorithms.epochs import (
    Experience,
    Minibatch,
    Passes,
    experience,
    extra_terms,
    nothing_to_learn,
    run_passes,
)
from sayso.algorithms.grading import Graded, Numbers, graded
from sayso.algorithms.options.archer import ArCHerOptions
from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.algorithms.recall import Memory
from sayso.algorithms.step import RowLoss, StepOutcome, as_update
from sayso.algorithms.utterance_credit import paid_kl, per_token
from sayso.algorithms.utterance_critic import Opinion, UtteranceCritic, prepare_trunk
from sayso.algorithms.utterances import UtteranceStates, redraw
from sayso.data.batch import PackedRow
from sayso.data.replay import Drawn
from sayso.losses.loss import Loss
from sayso.losses.policy_gradient import reinforce
from sayso.losses.value import value_loss
from sayso.metrics import Mean
from sayso.models.lm import LanguageModel
from sayso.models.scoring import Scores
from sayso.models.utterance_heads import UtteranceHeads, each
from sayso.sampling.base import Engine, Policy
from sayso.sampling.options import SamplingOptions
from sayso.seeds import derive
from sayso.types import Episode


class ArCHer:
    r"""ArCHer: an off-policy critic of utterances advises a policy gradient over tokens.

    Critic, for twins i, on remembered turns (s, u, r, s'), with targets that follow slowly:

    .. math:: Q_i(s, u) \to r + \gamma\,(1 - \text{terminated})\, \bar V_i(s'),\qquad
        V_i(s) \to \bar Q_i(s, u'),\ u' \sim \pi

    Actor, after some updates of the critic alone:

    .. math:: -\frac{1}{N} \sum_{s, u} A(s, u) \sum_k \log \pi(u_k \mid s, u_{<k}),\qquad
        A = \min_i Q_i(s, u) - \min_i V_i(s)

    over the N episodes just played (with ``actor_states = "replay"``: N states). With an exact Q
    that is the policy gradient without noise from what comes after the utterance. V(s) is taken
    before the update has seen these episodes: a baseline must not know what was said.

    The whole utterance is one action, its stop token included, with the ids that were sampled and
    the probability it was sampled with. KL in the reward is charged to the utterance that it is
    of; the critic does not look ahead to it.

    When to use it: several turns, rewards late, episodes expensive enough to use them again.

    Source:
        Zhou et al. 2024, arXiv:2402.19446. Differs in that the critic reads the language model
        itself and not another encoder, V need not sample, and the actor trains by default on the
        states it has just met; see ``ArCHerOptions``.

    Tests:
        tests/math/test_archer.py, tests/contract/test_archer.py, tests/learning/test_archer.py
    """

    def __init__(
        self,
        lm: LanguageModel,
        engine: Engine,
        options: ArCHerOptions,
        *,
        sampling: SamplingOptions,
        optim: OptimOptions,
        kl: KLOptions,
        seed: int,
    ) -> None:
        self.lm, self.options, self.num_updates = lm, options, 0
        prepare_trunk(lm, options.trunk, seed=seed)
        heads = UtteranceHeads(lm, seed=seed, has_baseline=options.baseline == "token")
        self.core = Core(
            lm, engine, sampling=sampling, optim=optim, kl=kl, critic_lr=options.critic_lr,
            q_heads=heads,
        )  # fmt: skip
        self.critic = UtteranceCritic(self.core, heads, options.trunk)
        self.memory = Memory(self.core, options.replay)
        self.plan = RolloutPlan(
            tasks_per_step=options.tasks_per_step, group_size=options.group_size
        )

    def sampler(self) -> Policy:
        """The policy itself: sampling is the exploration."""
        return self.core.sampler()

    def policy(self) -> Policy:
        """The same: the critic advises while training, and is not needed afterwards."""
        return self.core.policy()

    def action_values(self, episode: Episode) -> ActionValues:
        """Least of the twins' values of each utterance, at its last token."""
        return self.critic.action_values(episode, gamma_turn=self.options.gamma_turn)

    def update(self, episodes: Sequence[Episode], *, seed: int) -> Update:
        """Remember; the critic learns from memory, then the actor from what was just played."""
        kept = graded(episodes)
        if not kept.episodes:
            return nothing_to_learn(kept)
        before = self.critic.opinions(kept.episodes)
        self.memory.take_in(kept.episodes)
        metrics = kept.metrics | self.memory.metrics()
        update = as_update(self.learn_critic(seed=seed), metrics=metrics, warnings=kept.warnings)
        self.num_updates += 1
        if not update.skipped and self.num_updates > self.options.warmup_updates:
            update = _after(update, self.learn_actor(kept, before, seed=seed))
        self.critic.forget_all_but(self.memory.replay.episodes)
        return update

    def learn_critic(self, *, seed: int) -> list[StepOutcome]:
        """Critic steps on episodes drawn from memory; without memory, on all that were given."""
        options = self.options

        def step(drawn: Drawn, number: int) -> tuple[StepOutcome, list[float]]:
            again, episodes = options.value_actions == "policy", drawn.episodes
            redrawn = redraw(self.core, episodes, seed=derive(seed, "u", number)) if again else ()
            outcome = self.critic.learn(
                episodes, self._critic_loss, rate=options.target_rate, redrawn=redrawn
            )
            return outcome, []

        return self.memory.steps(
            step, num=options.critic_updates, draws=options.draws, seed=seed,
            purpose="critic",
        )  # fmt: skip

    def learn_actor(self, kept: Graded, before: list[Opinion], *, seed: int) -> Update:
        """Actor steps on the fresh episodes, or on remembered states.

        Args:
            kept: The fresh episodes.
            before: What the critic said of their states before it learnt from them.
            seed: Decides what is drawn.
        """
        options, states = self.options, kept.episodes
        if options.actor_states == "replay":
            self.core.sync()
            drawn = self.memory.draw(len(kept.episodes), seed=derive(seed, "actor"))
            states = redraw(self.core, drawn.episodes, seed=derive(seed, "actor"))
        opinions = self.critic.opinions(states)
        if options.actor_states == "replay":
            before = opinions  # these utterances are new to the critic
        passes = Passes(minibatches=options.actor_updates)
        exp = experience(self.core, states, passes)
        if isinstance(exp, Skipped):
            return nothing_to_learn(kept, exp)
        credit = [
            per_token(episode, now.q - then.v + paid_kl(episode, rewards))
            for episode, now, then, rewards in zip(
                states, opinions, before, exp.rewards, strict=True
            )
        ]
        gaps = np.concatenate([opinion.gap for opinion in opinions])
        advantages = np.concatenate(credit)
        update = run_passes(
            self.core, kept, exp, passes, self._actor_loss_of(exp, credit), seed=seed,
            want_entropy=options.entropy_coef > 0,
        )  # fmt: skip
        told = {
            "critic/twin_gap": Mean(float(gaps.sum()), len(gaps)),
            "policy/abs_advantage": Mean(float(np.abs(advantages).sum()), len(advantages)),
        }
        return _after(Update(metrics=told, num_optimiser_steps=0), update)

    def state(self) -> LearnerState:
        """Weights, heads, targets, optimiser, memory, counters."""
        return self.memory.state(self.critic.state_tensors(), num_updates=self.num_updates)

    def load_state(self, state: LearnerState) -> None:
        """Undo ``state``."""
        self.num_updates = int(self.memory.load_state(state)["num_updates"])
        self.critic.load_tensors(dict(state.tensors))

    def _critic_loss(
        self, online: UtteranceStates, target: UtteranceStates, num_turns: float
    ) -> list[Loss]:
        """Both regressions of both twins."""
        heads, states = self.critic.heads, target.states
        said = target.said if target.redrawn is None else target.redrawn
        with torch.no_grad():
            v_next = each(heads.v_target, states.hidden), each(heads.v_target, states.final)
            q_said = each(heads.q_target, said)
        q, v = each(heads.q, online.said), each(heads.v, online.states.hidden)
        counts = torch.ones_like(online.reward, dtype=torch.bool)
        losses = []
        for twin in range(len(q)):
            follows = states.after(v_next[0][twin], v_next[1][twin])
            wanted = online.reward + self.options.gamma_turn * follows
            for name, value, goal in (("q", q[twin], wanted), ("v", v[twin], q_said[twin])):
                term = value_loss(value, goal, counts, num_actions_in_step=num_turns)
                told = {k.replace("value/", f"critic/{name}_"): m for k, m in term.metrics.items()}
                losses.append(Loss(term.value, told))
        return losses

    def _actor_loss_of(
        self, exp: Experience, credit: list[Numbers]
    ) -> Callable[[Minibatch], RowLoss]:
        """Policy gradient, the token baseline's regression, entropy and KL."""
        baseline = self.critic.heads.baseline

        def row_loss_of(minibatch: Minibatch) -> RowLoss:
            advantage = minibatch.align(credit)
            extra = extra_terms(
                self.core, minibatch, exp, entropy_coef=self.options.entropy_coef, per="episode"
            )

            def row_loss(number: int, row: PackedRow, scores: Scores) -> list[Loss]:
                left, losses = advantage[number], extra(number, row, scores)
                if baseline is not None:
                    expected = baseline(self.critic.token_states(row))
                    fit = value_loss(
                        expected, left, row.is_action,
                        num_actions_in_step=minibatch.batch.num_actions,
                    )  # fmt: skip
                    losses.append(Loss(fit.value))
                    left = left - expected.detach()
                actor = reinforce(
                    scores.logprob, left, row.is_action, num_in_step=len(minibatch.indices),
                    weight=sampling_weight(self.core, row, scores),
                )  # fmt: skip
                return [actor, *losses]

            return row_loss

        return row_loss_of


def _after(one: Update, other: Update) -> Update:
    """What two halves of an update come to."""
    return Update(
        metrics={**one.metrics, **other.metrics},
        num_optimiser_steps=one.num_optimiser_steps + other.num_optimiser_steps,
        skipped=one.skipped + other.skipped,
        warnings=tuple(dict.fromkeys((*one.warnings, *other.warnings))),
        fatal=one.fatal or other.fatal,
    )
