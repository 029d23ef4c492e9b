"""Options as rows for help pages and documentation, from the records and their docstrings."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from sayso.config import hints

_ENTRY = re.compile(r"^(\w+)(?: \([^)]*\))?:\s*(.*)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionRow:
    """One option.

    Attributes:
        name: Dotted path, as ``--set`` takes it.
        type: Its type, as Python writes it.
        default: Its default as Python writes it; ``"required"`` if there is none.
        doc: Its entry in the record's docstring, on one line.
        owner: Name of the record: options of a union share paths but not owners.
    """

    name: str
    type: str
    default: str
    doc: str
    owner: str


def options_table(cls: type[Any], *, prefix: str = "") -> list[OptionRow]:
    """All options of a record and of the records inside it, in order of definition.

    Args:
        cls: A dataclass with a Google docstring.
        prefix: Dotted path before every name.
    """
    return list(_rows(cls, prefix))


def attribute_docs(cls: type[Any]) -> dict[str, str]:
    """Entries of the section ``Attributes`` of a Google docstring, each on one line."""
    docs: dict[str, str] = {}
    name = ""
    is_inside = False
    for line in inspect.cleandoc(cls.__doc__ or "").splitlines():
        if not line.startswith(" ") and line.strip():
            is_inside = line.strip() == "Attributes:"
        elif is_inside and (found := _ENTRY.match(line.removeprefix("    "))):
            name, docs[found[1]] = found[1], found[2]
        elif is_inside and name and line.strip():
            docs[name] = f"{docs[name]} {line.strip()}".strip()
    return docs


def _rows(cls: type[Any], prefix: str) -> Iterator[OptionRow]:
    docs, resolved = attribute_docs(cls), get_type_hints(cls)
    for field in fields(cls):
        if not field.init:
            continue
        name = f"{prefix}.{field.name}" if prefix else field.name
        hint = resolved[field.name]
        inner = [item for item in hints.present(hint) if _is_record(item)]
        if not inner or len(inner) != len(hints.members(hint)):
            yield OptionRow(
                name=name,
                type=type_text(hint),
                default=_default(field),
                doc=docs.get(field.name, ""),
                owner=cls.__name__,
            )
        for record in inner:
            yield from _rows(record, name)


def type_text(hint: Any) -> str:
    """A hint as one would write it: ``float | None``, ``tuple[str, ...]``, ``"k1" | "k2"``."""
    hint = hints.bare(hint)
    origin = get_origin(hint)
    if origin in (types.UnionType, Union):
        return " | ".join(type_text(member) for member in get_args(hint))
    if origin is Literal:
        return " | ".join(
            f'"{item}"' if isinstance(item, str) else repr(item) for item in get_args(hint)
        )
    if hint is Ellipsis:
        return "..."
    if hint is type(None):
        return "None"
    name = getattr(origin or hint, "__name__", str(hint))
    inner = ", ".join(type_text(item) for item in get_args(hint))
    return f"{name}[{inner}]" if inner else name


def _default(field: Field[Any]) -> str:
    if field.default_factory is not MISSING:
        value = field.default_factory()
    elif field.default is not MISSING:
        value = field.default
    else:
        return "required"
    if isinstance(value, Enum):
        return repr(value.value)
    return type(value).__name__ if is_dataclass(value) else repr(value)


def _is_record(hint: Any) -> bool:
    return isinstance(hint, type) and is_dataclass(hint)
