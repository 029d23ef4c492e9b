"""Options that are fine one by one and not together: told before anything starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from sayso.algorithms.kinds import (
    HEADS_ONLY,
    NEEDS_NO_REWARD,
    OF_PAIRS,
    OFFLINE_ONLY,
    ON_POLICY,
    WITH_CRITIC,
    WITHOUT_KL,
)
from sayso.app.config import RunConfig, has_reference
from sayso.envs.nothing import NO_ENV
from sayso.errors import OptionValueError, UnusedOptionError

ONLINE = ("tasks_per_step", "group_size", "replay")
"""Options of algorithms that say how to play, or what to remember of it; more: ``online``."""
UNPLAYED = ("split", "failure_budget", "log_episodes", "curriculum")
"""Options of training that mean nothing where it plays nothing."""


def refuse_unused(config: RunConfig) -> None:
    """Refuse options that would be ignored, or that make no sense together.

    Raises:
        UnusedOptionError: Naming the option and what would make it count.
        OptionValueError: Naming the two that contradict each other.
    """
    _refuse_infinite_kl(config)
    refuse_unused_kl(config)
    _refuse_unused_clips(config)
    _refuse_data(config)
    _refuse_part_weights(config)
    refuse_unused_by_values(config)
    _refuse_training_of_frozen(config)
    if config.warm_start.player is None:
        refuse_changed(
            config.warm_start, "warm_start", ("games", "epochs", "batch_episodes", "lr"),
            reason="while warm_start.player is unset", fix="Set warm_start.player",
        )  # fmt: skip
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
    """Refuse details of a divergence that is switched off, and one that no algorithm minds."""
    if config.algorithm.type in WITHOUT_KL:
        own = "acting.beta" if is_steered(config) else "beta"
        has_own = is_steered(config) or config.algorithm.type in ("dpo", "soft_q", "q_sharp")
        refuse_changed(
            config.kl, "kl", ("coef",),
            reason=f"with {config.algorithm.type}, whose loss has no such term",
            fix=f"Set algorithm.{own}" if has_own else "Set kl.coef = 0",
        )  # fmt: skip
    if config.kl.coef == 0:
        names = tuple(f.name for f in dataclasses.fields(config.kl))
        refuse_changed(
            config.kl, "kl", names, reason="while kl.coef is 0", fix="Set kl.coef above 0"
        )


def is_steered(config: RunConfig) -> bool:
    """Whether the policy is the language model steered by values, with options of acting."""
    return hasattr(config.algorithm, "acting")


def is_beside(config: RunConfig) -> bool:
    """Whether the policy is more than the language model's weights: heads steer it or choose."""
    return is_steered(config) or config.algorithm.type in HEADS_ONLY


def trains_heads_only(config: RunConfig) -> bool:
    """Whether the language model stays as it is."""
    is_frozen = not getattr(config.algorithm, "train_lm", True)
    return is_frozen or config.algorithm.type in HEADS_ONLY


def has_beta(config: RunConfig) -> bool:
    """Whether a β says at the time of acting how strongly values steer."""
    return is_steered(config) or config.algorithm.type == "q_sharp"


def refuse_unused_by_values(config: RunConfig) -> None:
    """Refuse what does nothing for a policy that values steer: it has an engine of its own."""
    if is_steered(config):
        refuse_changed(
            config.sampling, "sampling", ("engine", "precision"),
            reason=f"with {config.algorithm.type}, whose values steer an engine of its own",
            fix="Take another algorithm",
        )  # fmt: skip


def refuse_changed(
    record: Any, section: str, names: Sequence[str], *, reason: str, fix: str
) -> None:
    """Refuse those of a record's options that differ from their defaults."""
    defaults = {
        f.name: f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
        for f in dataclasses.fields(record)
    }
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


def _refuse_training_of_frozen(config: RunConfig) -> None:
    """What says how the language model trains, for an algorithm that trains only what it adds."""
    if trains_heads_only(config):
        reason = f"with {config.algorithm.type}, which leaves the language model as it is"
        refuse_changed(
            config.model, "model", ("lora",), reason=reason, fix="Leave the language model alone"
        )
        refuse_changed(config.optim, "optim", ("lr",), reason=reason, fix="Set algorithm.critic_lr")


def _refuse_infinite_kl(config: RunConfig) -> None:
    """A reference that filters has probability 0 for what the policy may say, and KL no value."""
    sampling, plain = config.sampling, {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
    filters = [name for name, off in plain.items() if getattr(sampling, name) != off]
    if has_reference(config) and filters:
        is_own = config.kl.coef == 0
        why = "soft_q has a reference" if is_own else "kl.coef is above 0"
        instead = "" if is_own else ", or kl.coef = 0"
        raise OptionValueError(
            where=", ".join(f"sampling.{name}" for name in filters),
            problem=f"cuts tokens off, and {why}: the divergence from a reference that "
            "cuts off others is infinite.",
            fix=f"Set {', '.join(f'sampling.{n} = {plain[n]}' for n in filters)}{instead}.",
        )


def _refuse_data(config: RunConfig) -> None:
    """Refuse what cannot be learned from stored episodes, or not without, and moot options.

    Raises:
        OptionValueError: If algorithm and data do not go together.
        UnusedOptionError: If an option would be ignored.
    """
    data, algorithm = config.data, config.algorithm
    if data.path is None:
        if algorithm.type in OFFLINE_ONLY:
            raise OptionValueError(
                where="data.path",
                problem=f"is unset, and {algorithm.type} learns from stored episodes.",
                fix="Set it to a data set (docs/data.md), or choose an algorithm that plays.",
            )
        refuse_changed(
            data, "data", ("format", "batch_episodes", "limit"),
            reason="while data.path is unset", fix="Set data.path",
        )  # fmt: skip
        return
    if algorithm.type in ON_POLICY:
        raise OptionValueError(
            where="data.path",
            problem=f"{algorithm.type} learns from episodes that its own policy has just sampled, "
            "not from stored ones.",
            fix="Leave it out, or choose bc, filtered_bc, awr, offline_archer or another algorithm "
            "of values.",
        )
    online = (*ONLINE, *getattr(algorithm, "online", ()))
    names = [name for name in online if hasattr(algorithm, name)]
    refuse_changed(
        algorithm, "algorithm", names,
        reason="with data.path, where a step takes data.batch_episodes stored episodes",
        fix="Set data.batch_episodes",
    )  # fmt: skip
    refuse_changed(
        config.train, "train", UNPLAYED,
        reason="with data.path, where training plays nothing", fix="Unset data.path",
    )  # fmt: skip
    if algorithm.type in OF_PAIRS and data.batch_episodes % 2:
        raise OptionValueError(
            where="data.batch_episodes",
            problem=f"is {data.batch_episodes}, and {algorithm.type} takes pairs, of two episodes "
            "each.",
            fix="Use an even number.",
        )
    if config.env.id == NO_ENV and config.train.eval_every:
        raise OptionValueError(
            where="train.eval_every",
            problem=f"is {config.train.eval_every}, and there is no environment to evaluate in.",
            fix="Set env.id, or train.eval_every = 0.",
        )


def _refuse_part_weights(config: RunConfig) -> None:
    """Weights of parts where no reward is learnt from, where it is only compared, or remembered.

    Raises:
        OptionValueError: Naming what would make them count.
    """
    algorithm, is_stored = config.algorithm, config.data.path is not None
    memory = getattr(algorithm, "replay", None)
    problem, fix = "", "Leave it out"
    if algorithm.type in NEEDS_NO_REWARD:
        problem = f"has no effect with {algorithm.type}, which needs no reward"
    elif algorithm.type == "filtered_bc" and is_stored:
        problem = "has no effect with stored episodes, of which filtered_bc takes the best by the "
        problem += "reward itself"
    elif memory is not None and memory.capacity and not is_stored:
        problem = "weighs parts by their spread so far, and algorithm.replay.capacity is "
        problem += f"{memory.capacity}: what is remembered would be on the scales of many steps"
        fix = "Set algorithm.replay.capacity = 0, or leave it out"
    if config.train.part_weights and problem:
        raise OptionValueError(
            where="train.part_weights", problem=f"{problem}.", fix=f"{fix}; rewards.calibrated "
            "scales parts for good.",
        )  # fmt: skip


def refuse_beta(config: RunConfig) -> None:
    """Refuse to steer what has no values.

    Raises:
        OptionValueError: Naming the algorithm.
    """
    if not has_beta(config):
        raise OptionValueError(
            where="beta",
            problem=f"does nothing: no values steer what {config.algorithm.type} has learnt.",
            fix="Leave it out.",
        )


def require_critic(algorithm: str, *, where: str) -> None:
    """Refuse to check what is not there, before anything is loaded or played.

    Raises:
        OptionValueError: If the algorithm has no critic.
    """
    if algorithm not in WITH_CRITIC:
        raise OptionValueError(
            where=where,
            problem=f"asks a critic, and {algorithm} has none.",
            fix=f"Leave it out; these have one: {', '.join(sorted(WITH_CRITIC))}.",
        )
