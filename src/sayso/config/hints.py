"""Questions about type hints."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints


def bare(hint: Any) -> Any:
    """``hint`` without ``Annotated``."""
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def members(hint: Any) -> tuple[Any, ...]:
    """Members of a union, ``type(None)`` included; the hint itself if it is none."""
    hint = bare(hint)
    if get_origin(hint) not in (types.UnionType, Union):
        return (hint,)
    return tuple(inner for member in get_args(hint) for inner in members(member))


def present(hint: Any) -> tuple[Any, ...]:
    """Members of a union without ``None``."""
    return tuple(member for member in members(hint) if member is not type(None))


def origin(hint: Any) -> Any:
    """``tuple`` for ``tuple[int, ...] | None``; ``None`` for a real union or a plain type."""
    found = present(hint)
    return get_origin(bare(found[0])) if len(found) == 1 else None


def container_of_records(hint: Any) -> Any | None:
    """What a list, tuple or table of records holds; ``None`` for everything else."""
    found = origin(hint)
    if found not in (list, tuple, dict, Sequence, Mapping):
        return None
    arguments = [item for item in get_args(bare(present(hint)[0])) if item is not Ellipsis]
    inner = arguments[-1]
    is_records = all(isinstance(item, type) and is_dataclass(item) for item in present(inner))
    return inner if is_records else None


def tags(record: type[Any]) -> tuple[str, ...]:
    """What the key ``type`` may be for ``record``.

    Raises:
        TypeError: If the record cannot be told from others: a mistake of its author.
    """
    hint = bare(get_type_hints(record).get("type"))
    if get_origin(hint) is not Literal:
        raise TypeError(f"{record.__name__} is part of a union and needs `type: Literal[...]`")
    return get_args(hint)
