"""Search spaces of ``sayso tune``: which options may change, and within what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sayso.app.config import RunConfig, load_config
from sayso.app.control import ControlConfig, control_config
from sayso.app.refusals import trains_heads_only
from sayso.config.load import flat, to_table
from sayso.errors import ConfigError, OptionValueError

FACTOR = 10.0
"""How far below and above a recipe's own value a rate is tried."""
PASSES = (1, 2, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """An option that may be any number between two.

    Attributes:
        low: Least value.
        high: Greatest.
        log: Try factors instead of differences: for rates, whose right order is not known.
        whole: Whole numbers only.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False


RATES = Range(low=1e-4, high=1e-2, log=True)
"""Of agents of Stable-Baselines3, whose own rate depends on their class."""
Config = RunConfig | ControlConfig
Space = Mapping[str, Range | tuple[Any, ...]]
"""Dotted option to its range, or to the values it may take."""


def space_of(table: Mapping[str, Any] | None, config: Config) -> Space:
    """The search space of a recipe: its ``[tune]`` table, or what the algorithm is mostly tuned by.

    The default: ``optim.lr`` and ``algorithm.critic_lr`` from a tenth to ten times their values,
    ``algorithm.epochs`` 1, 2 or 4, as far as the algorithm has them; of control recipes
    ``learner.settings.learning_rate``, and in mode ``steer`` ``control.strength`` from half to
    twice its value.

    Args:
        table: Dotted option to ``{low, high, log}`` or a list of values.
        config: The recipe's options.

    Raises:
        OptionValueError: If an entry is neither.
        ConfigError: If the recipe has no such option, or it cannot take an end of its range.
    """
    if table is None:
        return _default(config)
    found = {path: _entry(path, entry) for path, entry in _dotted(table)}
    if not found:
        raise OptionValueError(
            where="[tune]", problem="is empty.", fix="Name an option, or leave the table out."
        )
    for path, entry in found.items():
        ends = (entry.low, entry.high) if isinstance(entry, Range) else entry
        for value in ends:
            is_whole = isinstance(entry, Range) and entry.whole
            try:
                with_values(config, {path: int(value) if is_whole else value})
            except ConfigError as error:
                raise OptionValueError(
                    where=f"[tune], {path}", problem=f"cannot be {value!r}: {error.problem}",
                    fix="Change its range.",
                ) from error  # fmt: skip
    return found


def own_values(space: Space, config: Config) -> dict[str, Any] | None:
    """What the recipe itself has for the options that are searched; None if it lies outside."""
    given = flat(to_table(config))
    found = {path: _hashable(given.get(path)) for path in space}
    for path, entry in space.items():
        value = found[path]
        if isinstance(entry, Range):
            if not isinstance(value, int | float) or not entry.low <= value <= entry.high:
                return None
        elif value not in entry:
            return None
    return found


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """The options with others in some places.

    Raises:
        ConfigError: If one does not exist or is out of range.
    """
    table = to_table(config)
    for path, value in values.items():
        *sections, name = path.split(".")
        place = table
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = list(value) if isinstance(value, tuple) else value
    if isinstance(config, ControlConfig):
        return control_config(table, source="tune")
    return load_config(table, source="tune")


def _default(config: Config) -> Space:
    found: dict[str, Range | tuple[Any, ...]] = {}
    if isinstance(config, ControlConfig):
        found["learner.settings.learning_rate"] = RATES
        if config.control.mode == "steer":
            found["control.strength"] = _around(config.control.strength, factor=2.0)
        return found
    if not trains_heads_only(config):
        lr = config.optim.lr
        found["optim.lr"] = _around(lr)
    critic_lr = getattr(config.algorithm, "critic_lr", None)
    if critic_lr:
        found["algorithm.critic_lr"] = _around(critic_lr)
    if hasattr(config.algorithm, "epochs"):
        own = config.algorithm.epochs
        found["algorithm.epochs"] = tuple(sorted({*PASSES, own}))
    return found


def _around(rate: float, *, factor: float = FACTOR) -> Range:
    low, high = (float(f"{x:.6g}") for x in (rate / factor, rate * factor))
    return Range(low=low, high=high, log=True)


def _dotted(table: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    """Entries by their dotted options, written with quotes or as tables of tables."""
    found = []
    for key, value in table.items():
        is_table = isinstance(value, Mapping) and not {"low", "high"} & set(value)
        found += _dotted(value, f"{before}{key}.") if is_table else [(f"{before}{key}", value)]
    return found


def _hashable(value: Any) -> Any:
    """Lists as tuples, as ``Space`` has them."""
    return tuple(value) if isinstance(value, list) else value


def _entry(path: str, entry: Any) -> Range | tuple[Any, ...]:
    where = f"[tune], {path}"
    if isinstance(entry, Sequence) and not isinstance(entry, str) and entry:
        return tuple(_hashable(x) for x in entry)
    known = {"low", "high", "log"}
    if isinstance(entry, Mapping) and {"low", "high"} <= set(entry) <= known:
        low, high = entry["low"], entry["high"]
        numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (low, high))
        is_log = entry.get("log", False) is True
        if numbers and low < high and (low > 0 or not is_log):
            whole = isinstance(low, int) and isinstance(high, int)
            return Range(low=low, high=high, log=is_log, whole=whole)
    raise OptionValueError(
        where=where, problem=f"got {entry!r}.",
        fix="Write { low = 1e-5, high = 1e-2, log = true } (low below high, above 0 with log), or "
        "a list of values.",
    )  # fmt: skip
