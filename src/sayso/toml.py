"""TOML text from plain tables; the standard library only reads it."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def dump_toml(table: Mapping[str, Any]) -> str:
    """TOML text that ``tomllib.loads`` reads back as the same table.

    Args:
        table: Text, numbers, booleans, dates and times, lists or tuples of them, and tables.
            Entries that are ``None`` are left out: TOML has no such value.

    Raises:
        TypeError: If a value has no form in TOML; names its key.
        ValueError: If a string holds a lone surrogate, which is no Unicode text.
    """
    lines = _table_lines(table, ())
    return "\n".join(lines).strip("\n") + "\n" if lines else ""


def _table_lines(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    """Plain entries first, then sub-tables: an entry after a header would belong to it."""
    entries, tables = [], []
    for key, value in table.items():
        here = (*path, _checked_key(key, path))
        if isinstance(value, Mapping):
            tables.append((here, value))
        elif value is not None:
            entries.append(f"{_key(key)} = {_value(value, here)}")
    lines = []
    if path and (entries or not tables):
        lines = ["", f"[{'.'.join(map(_key, path))}]"]
    lines += entries
    for here, value in tables:
        lines += _table_lines(value, here)
    return lines


def _value(value: object, path: tuple[str, ...]) -> str:
    text = _number(value)
    if text is not None:
        return text
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, str):
        return _string(value, path)
    if isinstance(value, Mapping):
        inner = ", ".join(
            f"{_key(_checked_key(key, path))} = {_value(item, (*path, key))}"
            for key, item in value.items()
            if item is not None
        )
        return f"{{{inner}}}"
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        items = [_value(item, (*path, str(index))) for index, item in enumerate(value)]
        return f"[{', '.join(items)}]"
    raise TypeError(f"{'.'.join(path)}: {type(value).__name__} {value!r} has no form in TOML")


def _number(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return float.__repr__(value) if math.isfinite(value) else _not_finite(value)
    return None


def _not_finite(value: float) -> str:
    if math.isnan(value):
        return "nan"
    return "inf" if value > 0 else "-inf"


def _string(value: str, path: tuple[str, ...]) -> str:
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(f"{'.'.join(path)}: {value!r} holds a lone surrogate, not Unicode text")
    return f'"{"".join(map(_escaped, value))}"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character < " " or character == "\x7f":
        return f"\\u{ord(character):04X}"
    return character


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _string(key, (key,))


def _checked_key(key: object, path: tuple[str, ...]) -> str:
    if not isinstance(key, str):
        raise TypeError(f"{'.'.join(path) or 'table'}: key {key!r} is not text")
    return key
