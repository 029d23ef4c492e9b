"""Ranges that several options records share. A negative number that is ignored is a lie."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from sayso.data.options import ReplayOptions


def check_plan(tasks_per_step: int, group_size: int, *, least_in_group: int = 1) -> None:
    """Refuse steps without episodes.

    Raises:
        ValueError: Naming the options.
    """
    if group_size < least_in_group:
        raise ValueError(f"group_size must be at least {least_in_group}, got {group_size}")
    if tasks_per_step < 1:
        raise ValueError(f"tasks_per_step must be positive, got {tasks_per_step}")


def check_subset(train_on: int | None, group_size: int) -> None:
    """Refuse a part of a group that is no part of it, or too small to compare.

    Raises:
        ValueError: Naming the option.
    """
    if train_on is not None and not 2 <= train_on < group_size:
        raise ValueError(
            f"train_on must be at least 2 and below group_size = {group_size}, got {train_on}"
        )


def check_weights(**weights: float) -> None:
    """Refuse weights of the loss that are negative or not finite.

    Raises:
        ValueError: Naming the option.
    """
    for name, number in weights.items():
        if not 0 <= number < float("inf"):
            raise ValueError(f"{name} must be at least 0 and finite, got {number}")


def check_positive(**numbers: float | None) -> None:
    """Refuse what is set but not positive and finite.

    Raises:
        ValueError: Naming the option.
    """
    for name, number in numbers.items():
        if number is not None and not 0 < number < float("inf"):
            raise ValueError(f"{name} must be positive and finite, got {number}")


def check_clips(clip_low: float | None, clip_high: float | None) -> None:
    """Refuse bounds that would not hold 1 between them.

    Raises:
        ValueError: Naming the option.
    """
    if clip_low is not None and not 0 < clip_low <= 1:
        raise ValueError(f"clip_low must be in (0, 1], got {clip_low}")
    check_positive(clip_high=clip_high)


def check_used(record: Any, names: tuple[str, ...], *, needs: str) -> None:
    """Refuse options that were changed and do nothing, because another one is off.

    Args:
        record: The options.
        names: Those that then do nothing.
        needs: The option that must be on: true, or above 0.

    Raises:
        ValueError: Naming the option.
    """
    for name in names:
        if not getattr(record, needs) and is_changed(record, name):
            off = getattr(record, needs)
            raise ValueError(
                f"{name} has no effect with {needs} = {off}, got {getattr(record, name)}"
            )


def is_changed(record: Any, name: str) -> bool:
    """Whether an option differs from its default."""
    (default,) = [f.default for f in fields(record) if f.name == name]
    return bool(getattr(record, name) != default)


def check_discounts(gamma_token: float, gamma_turn: float, lam: float) -> None:
    """Refuse what is no discount.

    Raises:
        ValueError: Naming the option.
    """
    for name, number in (("gamma_token", gamma_token), ("gamma_turn", gamma_turn), ("lam", lam)):
        if not 0 <= number <= 1:
            raise ValueError(f"{name} must be in [0, 1], got {number}")


def check_memory(
    *,
    tasks_per_step: int,
    group_size: int,
    updates_per_step: int,
    replay: ReplayOptions,
    draws: int | None = None,
) -> None:
    """Refuse steps of nothing, and a size of draws that are not made.

    Raises:
        ValueError: Naming the option.
    """
    check_plan(tasks_per_step, group_size)
    check_positive(updates_per_step=updates_per_step, draws=draws)
    if draws is not None and not replay.capacity:
        raise ValueError(
            f"draws has no effect with replay.capacity = 0, got {draws}: every "
            "step is on all new episodes"
        )


def check_passes(epochs: int, minibatches: int) -> None:
    """Refuse passes over nothing.

    Raises:
        ValueError: Naming the options.
    """
    if epochs < 1 or minibatches < 1:
        raise ValueError(f"epochs and minibatches must be positive, got {epochs}, {minibatches}")
