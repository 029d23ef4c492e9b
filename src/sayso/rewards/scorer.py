"""The form of a reward, what every scorer of the library states, and its errors."""

from __future__ import annotations

import importlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import ModuleType
from typing import Any, ClassVar

from sayso.calls import ByName
from sayso.errors import EnvContractError, ExtraMissingError

Rule = Callable[..., float | Mapping[str, float | None] | None]
"""``(prompt, completion, **columns) -> float``: what ``PromptEnv`` calls, and what users write."""


@dataclass(frozen=True, kw_only=True)
class Scorer(ByName, ABC):
    """A number for a text, with a known range: ``scorer(prompt, completion, **columns)``.

    A scorer is a frozen record of its options and keeps nothing between calls, so that an
    environment may be copied for every episode, and the order of episodes changes no reward. A
    text without words (empty, spaces, marks) gets ``low``: it must not slip out of a reward by
    saying nothing.

    Attributes:
        low, high: Least and greatest score.
    """

    low: ClassVar[float] = 0.0
    high: ClassVar[float] = 1.0

    @abstractmethod
    def __call__(self, prompt: Any, completion: str, **columns: Any) -> float | None:
        """Score one completion; ``None`` means "does not apply"."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that every row must have: the value of each option whose name says column."""
        return tuple(getattr(self, f.name) for f in fields(self) if f.name.endswith("column"))

    def __deepcopy__(self, memo: dict[int, Any]) -> Scorer:
        """Itself: it is frozen, and what it holds (a language model) may be large."""
        return self


def name_of(rule: Any) -> str:
    """What to call a reward in messages and as a part."""
    return str(getattr(rule, "__name__", "") or type(rule).__name__)


def range_of(rule: Any) -> tuple[float | None, float | None]:
    """Least and greatest score of a rule; ``None`` for each that it does not say."""
    found = (getattr(rule, "low", None), getattr(rule, "high", None))
    low, high = (float(end) if isinstance(end, int | float) else None for end in found)
    return low, high


def missing_columns(rule: Any, row: Mapping[str, Any]) -> list[str]:
    """Columns that a scorer reads and a row does not have."""
    return [name for name in getattr(rule, "columns", ()) if name not in row]


def column(columns: Mapping[str, Any], name: str, scorer: Scorer) -> Any:
    """One column of a row.

    Raises:
        EnvContractError: If the row has none of this name.
    """
    if name not in columns:
        raise EnvContractError(
            where=f"reward {name_of(scorer)}",
            problem=f"reads the column {name!r}; the row has: {', '.join(columns) or 'none'}.",
            fix=f"Give every prompt a column {name!r}, or name another one.",
        )
    return columns[name]


def references(columns: Mapping[str, Any], name: str, scorer: Scorer) -> list[str]:
    """A column that holds one text or a list of them.

    Raises:
        EnvContractError: If it is missing, or holds no text.
    """
    found = column(columns, name, scorer)
    texts = [found] if isinstance(found, str) else list(found) if _is_list(found) else []
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise EnvContractError(
            where=f"reward {name_of(scorer)}, column {name!r}",
            problem=f"is {found!r:.80}, which is no text and no list of texts.",
            fix="Write a reference text, or a list of them, into the column.",
        )
    return texts


def number(value: Any, where: str) -> float | None:
    """What a rule returned, as a finite number or ``None``.

    Raises:
        EnvContractError: If it is neither: a reward that is broken must not pass for 0.
    """
    if value is None:
        return None
    plain = value.item() if getattr(value, "ndim", None) == 0 else value
    if not isinstance(plain, int | float) or not math.isfinite(plain):
        raise EnvContractError(
            where=where,
            problem=f"returned {value!r:.80} ({type(value).__name__}).",
            fix="Return a finite number, or None for 'does not apply'.",
        )
    return float(plain)


def needs(module: str, *, extra: str, of: str) -> ModuleType:
    """A module of an optional dependency, imported when first used.

    Args:
        module: Its name.
        extra: The extra of sayso that brings it.
        of: The scorer that needs it.

    Raises:
        ExtraMissingError: If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ExtraMissingError(
            where=f"reward {of}",
            problem=f"{module.partition('.')[0]} is not installed ({error}).",
            fix=f"Run: pip install 'sayso[{extra}]'.",
        ) from error


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)
