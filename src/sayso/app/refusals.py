"""Options that are fine one by one and not together: told before anything starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from sayso.algorithms.candidate_dqn import CandidateDQNOptions
from sayso.algorithms.candidate_sac import CandidateSACOptions
from sayso.app.config import RunConfig
from sayso.errors import OptionValueError, UnusedOptionError

FROZEN = (CandidateDQNOptions, CandidateSACOptions)
"""Algorithms that train heads of their own and nothing else."""


def refuse_unused(config: RunConfig) -> None:
    """Refuse options that would be ignored, or that make no sense together.

    Raises:
        UnusedOptionError: Naming the option and what would make it count.
        OptionValueError: Naming the two that contradict each other.
    """
    _refuse_infinite_kl(config)
    refuse_unused_kl(config)
    _refuse_unused_clips(config)
    _refuse_unused_of_frozen(config)
    if not config.train.eval_every:
        refuse_changed(
            config.train, "train", ("eval_episodes", "eval_split"),
            reason="while train.eval_every is 0", fix="Set train.eval_every above 0",
        )  # fmt: skip
    if config.env.strict:
        refuse_changed(
            config.train, "train", ("failure_budget",),
            reason="with env.strict, which stops at the first invalid episode",
            fix="Set env.strict = false",
        )  # fmt: skip


def refuse_unused_kl(config: RunConfig) -> None:
    """Refuse details of a divergence that is switched off."""
    if config.kl.coef == 0:
        names = tuple(f.name for f in dataclasses.fields(config.kl))
        refuse_changed(
            config.kl, "kl", names, reason="while kl.coef is 0", fix="Set kl.coef above 0"
        )


def refuse_changed(
    record: Any, section: str, names: Sequence[str], *, reason: str, fix: str
) -> None:
    """Refuse those of a record's options that differ from their defaults."""
    defaults = {f.name: f.default for f in dataclasses.fields(record)}
    changed = [f"{section}.{n}" for n in names if getattr(record, n) != defaults[n]]
    if changed:
        raise UnusedOptionError(
            where=", ".join(changed), problem=f"has no effect {reason}.",
            fix=f"{fix}, or leave the option out.",
        )  # fmt: skip


def is_one_step(config: RunConfig) -> bool:
    """Whether every probability ratio is 1: one step, from where the update began."""
    algorithm = config.algorithm
    return getattr(algorithm, "epochs", 1) == getattr(algorithm, "minibatches", 1) == 1


def _refuse_unused_clips(config: RunConfig) -> None:
    names = [n for n in ("clip_low", "clip_high") if hasattr(config.algorithm, n)]
    if is_one_step(config):
        refuse_changed(
            config.algorithm, "algorithm", names,
            reason="on a single step, where every ratio is 1",
            fix="Set algorithm.epochs or algorithm.minibatches above 1",
        )  # fmt: skip


def _refuse_unused_of_frozen(config: RunConfig) -> None:
    """What says how the language model trains, for an algorithm that trains only what it adds."""
    if not isinstance(config.algorithm, FROZEN):
        return
    because = {
        "reason": f"with {config.algorithm.type}, which leaves the language model as it is",
        "fix": "Leave the language model alone",
    }
    refuse_changed(config.kl, "kl", ("coef",), **because)
    refuse_changed(config.model, "model", ("lora",), **because)
    refuse_changed(
        config.optim, "optim", ("lr",), reason=because["reason"], fix="Set algorithm.critic_lr"
    )


def _refuse_infinite_kl(config: RunConfig) -> None:
    """A reference that filters has probability 0 for what the policy may say, and KL no value."""
    sampling, plain = config.sampling, {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
    filters = [name for name, off in plain.items() if getattr(sampling, name) != off]
    if config.kl.coef > 0 and filters:
        raise OptionValueError(
            where=", ".join(f"sampling.{name}" for name in filters),
            problem="cuts tokens off, and kl.coef is above 0: the divergence from a reference that "
            "cuts off others is infinite.",
            fix=f"Set {', '.join(f'sampling.{n} = {plain[n]}' for n in filters)}, or kl.coef = 0.",
        )
