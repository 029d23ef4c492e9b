"""Options of ``ArCHer``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sayso.algorithms.checks import check_plan, check_positive, check_weights, is_changed
from sayso.data.options import ReplayOptions

Trunk = Literal["frozen", "adapter", "copy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArCHerOptions:
    """Options of ``ArCHer``; written in a run file under ``[algorithm]``.

    Attributes:
        tasks_per_step: Different tasks per update.
        group_size: Attempts at each; 1 is fine, the critic compares.
        gamma_turn: Discount from one utterance to the next; inside one there is none.
        critic_updates: Optimiser steps of the critic per update.
        draws: Episodes of each, drawn from memory.
        critic_lr: Learning rate of the heads, and of a network of the critic's own; its adapters
            learn at ``optim.lr``.
        target_rate: How far targets move towards the heads after a critic step, in (0, 1].
        value_actions: What V is a mean over in a remembered state: ``"data"``, the utterance that
            was said there, by whichever policy was then (with a long memory V is the value of a
            mixture that lags behind); or ``"policy"``, one drawn anew, as in the paper: each
            update then samples once in every state that its critic reads.
        trunk: What the critic reads: ``"frozen"``, the model as it was before training (cheap:
            hidden states are computed once per episode; a small untrained model tells too little);
            ``"adapter"``, adapters of its own, trained along, which needs ``model.lora``; or
            ``"copy"``, a network of its own, trained along, as in the paper: three networks in all.
        actor_updates: Optimiser steps of the actor per update, each on its share of the states.
            The first is on-policy, the others nearly.
        actor_states: ``"fresh"``, the episodes just played; or ``"replay"``, as in the paper:
            states of remembered episodes, utterances drawn anew. Those are states of older
            policies: the gradient is then that of the mean advantage over them, not of the return.
        warmup_updates: Updates in which only the critic learns.
        baseline: ``"token"``: take the advantage expected from the tokens said so far off each
            token's, which changes the gradient's variance and not its mean.
        entropy_coef: Weight of the entropy bonus.
        replay: What is remembered; ``max_age`` counts the critic's steps as well, and with
            ``sampling = "success"`` V is a mean over that mixture too.
    """

    type: Literal["archer"] = "archer"
    tasks_per_step: int = 64
    group_size: int = 1
    gamma_turn: float = 0.95
    critic_updates: int = 50
    draws: int = 64
    critic_lr: float = 1e-3
    target_rate: float = 0.005
    value_actions: Literal["data", "policy"] = "data"
    trunk: Trunk = "frozen"
    actor_updates: int = 3
    actor_states: Literal["fresh", "replay"] = "fresh"
    warmup_updates: int = 10
    baseline: Literal["none", "token"] = "none"
    entropy_coef: float = 0.0
    replay: ReplayOptions = field(default_factory=ReplayOptions)

    def __post_init__(self) -> None:
        check_plan(self.tasks_per_step, self.group_size)
        check_weights(entropy_coef=self.entropy_coef)
        check_positive(critic_lr=self.critic_lr)
        for name in ("critic_updates", "draws", "actor_updates"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.replay.sampling == "prioritised":
            raise ValueError("replay.sampling 'prioritised' has no use here: take another")
        if self.replay.capacity == 0 and is_changed(self, "draws"):
            raise ValueError(
                "draws has no effect while replay.capacity is 0: the critic then learns "
                "from all episodes it is given"
            )
        if self.warmup_updates < 0:
            raise ValueError(f"warmup_updates must not be negative, got {self.warmup_updates}")
        if not 0 <= self.gamma_turn <= 1:
            raise ValueError(f"gamma_turn must be in [0, 1], got {self.gamma_turn}")
        if not 0 < self.target_rate <= 1:
            raise ValueError(f"target_rate must be in (0, 1], got {self.target_rate}")

    def num_optimiser_steps(self, num_updates: int) -> int:
        """Steps that so many updates come to."""
        with_actor = max(0, num_updates - self.warmup_updates)
        return num_updates * self.critic_updates + with_actor * self.actor_updates
