"""One option's value against its type hint, by pydantic in strict mode."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError

from sayso.config import hints

_STRICT = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
_LISTS = (list, tuple, set, frozenset, Sequence)
_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    type(None): '"none"',
    Any: "any value",
}


@dataclass(frozen=True, slots=True)
class Accepted:
    """The value, converted where that loses nothing (whole number to float, list to tuple)."""

    value: Any


@dataclass(frozen=True, slots=True)
class Refused:
    """Why not, and what to do."""

    problem: str
    fix: str


def check(hint: Any, value: Any) -> Accepted | Refused:
    """Check one value.

    Args:
        hint: Its type, with ``Annotated`` extras if any.
        value: From TOML or Python.
    """
    choices = _choices(hint)
    shaped = _shaped(hint, value)
    try:
        return Accepted(_adapter(hint).validate_python(shaped))
    except ValidationError as error:
        if choices:
            return Refused(f"got {value!r}.", suggestion(value, choices))
        if isinstance(value, float) and not math.isfinite(value):
            return Refused(f"got {value}.", "Use a finite number.")
        return Refused(
            f"got {_shown(value)}, needs {describe(hint)}{_place(error, value)}.",
            "Change the value.",
        )


def describe(hint: Any) -> str:
    """A hint in the user's words, for example ``a list of whole numbers`` or ``text``."""
    if len(hints.members(hint)) > 1:
        return " or ".join(dict.fromkeys(describe(member) for member in hints.members(hint)))
    hint = hints.bare(hint)
    choices = _choices(hint)
    if choices:
        return f"one of {', '.join(map(str, choices))}"
    origin = get_origin(hint)
    if origin in (dict, Mapping) or hint is dict:
        return "a table"
    if origin in _LISTS:
        inner = [item for item in get_args(hint) if item is not Ellipsis]
        length = f" of {len(inner)}" if origin is tuple and Ellipsis not in get_args(hint) else ""
        return f"a list{length} ({', '.join(dict.fromkeys(map(describe, inner)))})"
    return _NAMES.get(hint, f"a {getattr(hint, '__name__', hint)}")


def suggestion(value: object, choices: Sequence[object]) -> str:
    """Names the nearest choice, if one is near, and all of them."""
    names = [str(choice) for choice in choices]
    near = difflib.get_close_matches(str(value), names, n=1)
    guess = f"Did you mean {near[0]!r}? " if near else ""
    return f"{guess}Use one of: {', '.join(names)}."


@cache
def _adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint, config=_STRICT)


def _choices(hint: Any) -> tuple[Any, ...]:
    """Values of a ``Literal`` or an ``Enum``, optional or not."""
    found = hints.present(hint)
    if found and all(get_origin(hints.bare(member)) is Literal for member in found):
        return tuple(choice for member in found for choice in get_args(hints.bare(member)))
    member = hints.bare(found[0]) if len(found) == 1 else None
    if isinstance(member, type) and issubclass(member, Enum):
        return tuple(item.value for item in member)
    return ()


def _shaped(hint: Any, value: Any) -> Any:
    """``value`` in the Python form of ``hint`` where TOML has only a poorer one."""
    found = [hints.bare(member) for member in hints.present(hint)]
    if len(found) > 1 and isinstance(value, list | tuple):
        found = [member for member in found if get_origin(member) in _LISTS]
    if len(found) != 1:
        return value
    member = found[0]
    origin, arguments = get_origin(member), get_args(member)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_shaped_items(arguments, value))
    if origin in (set, frozenset) and isinstance(value, list | tuple):
        return origin(_shaped_items(arguments, value))
    if origin is list and isinstance(value, list | tuple):
        return _shaped_items(arguments, value)
    if isinstance(member, type) and issubclass(member, Enum) and not isinstance(value, member):
        return next((item for item in member if item.value == value), value)
    return Path(value) if member is Path and isinstance(value, str) else value


def _shaped_items(arguments: tuple[Any, ...], value: Sequence[Any]) -> list[Any]:
    if len(arguments) == len(value) and Ellipsis not in arguments:
        return [_shaped(hint, item) for hint, item in zip(arguments, value, strict=True)]
    return [_shaped(arguments[0], item) for item in value] if arguments else list(value)


def _place(error: ValidationError, value: Any) -> str:
    """Where inside a list the first wrong item is."""
    places = [part for part in error.errors(include_url=False)[0]["loc"] if isinstance(part, int)]
    is_there = bool(places) and isinstance(value, list | tuple) and places[0] < len(value)
    return f", wrong at [{places[0]}]" if is_there else ""


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
