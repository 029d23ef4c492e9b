"""Tables to frozen dataclasses, strictly, with every problem reported at once; and back.

Records are plain dataclasses beside their owners. Unknown keys are refused; a union of records is
chosen by its ``type`` key; leaves are checked by pydantic in strict mode (a whole number is a
float, a boolean is not a number), and NaN and infinities are refused unless the owner's hint says
``Annotated[float, AllowInfNan()]``. A record's own ``__post_init__`` speaks by ``ValueError``.
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from sayso.config import hints, leaves
from sayso.config.problems import IDENTITIES, Problems
from sayso.errors import OptionValueError, SaysoError
from sayso.toml import dump_toml

T = TypeVar("T")
_WRONG = object()
"""Marks a value that was reported; the record that needs it is not built."""


def build(cls: type[T], table: Mapping[str, Any], *, source: str) -> T:
    """Build a tree of options.

    Args:
        cls: A dataclass. Its fields may be leaves, other dataclasses, unions of dataclasses (chosen
            by the key ``type``, which each has as a ``Literal``), and lists, tuples or tables of
            these. Finished records are taken as they are.
        table: Parsed TOML, or Python values. The text ``"none"`` sets an optional field to
            ``None``, which TOML cannot say. Not modified.
        source: Shown in errors, for example ``"run.toml"``.

    Returns:
        An instance of ``cls``. Nothing is assigned unless everything is right.

    Raises:
        ConfigError: Listing every problem, one a line (as ``UnknownOptionError`` or
            ``OptionValueError`` if it is the only one).
    """
    problems = Problems(source, cls)
    built = build_into(cls, table, problems)
    problems.raise_any()
    return built  # type: ignore[return-value]  # what is not built has raised


def build_into(cls: type[T], table: Mapping[str, Any], problems: Problems) -> T | None:
    """As ``build``, for a caller with more to look at: problems are added, not raised."""
    before = len(problems.found)
    built = _record(cls, table, "", problems)
    return None if len(problems.found) > before else built


def override(
    table: Mapping[str, Any], settings: Sequence[str], problems: Problems | None = None
) -> dict[str, Any]:
    """A copy of ``table`` with ``a.b=c`` settings applied, later ones last.

    Args:
        table: Parsed TOML. Not modified.
        settings: Each a dotted path, ``=``, and a TOML value or a bare word, which is taken as
            text. Whether the path exists is ``build``'s to say.
        problems: Where settings that do not read so are added; unset: they are raised.

    Raises:
        ConfigError: Listing every setting that does not read so.
    """
    found = Problems("--set")
    result: dict[str, Any] = copy.deepcopy(dict(table))
    for setting in settings:
        path, equals, text = setting.partition("=")
        keys = [key.strip() for key in path.split(".")]
        if not equals or not all(keys):
            found.value(
                setting, "is not of the form path=value.", "Write for example `optim.lr=1e-4`."
            )
        elif not _assign(result, keys, parse_value(text.strip())):
            found.value(setting, "goes through an option that is not a table.", "Shorten it.")
    if problems is None:
        found.raise_any()
    else:
        problems.found += found.found
    return result


def parse_value(text: str) -> Any:
    """A TOML value, or the text itself if it is none: ``1e-4``, ``true``, ``[1, 2]``, ``adam``."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    # Text with a newline could smuggle in more keys; that is no value either.
    return parsed["value"] if len(parsed) == 1 else text


def load_toml(path: Path | str) -> dict[str, Any]:
    """A TOML file as a table.

    Raises:
        ConfigError: If it is missing, not UTF-8, or not TOML; names the line.
    """
    path = Path(path)
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise OptionValueError(
            where=str(path), problem=f"not TOML: {error}.", fix="Correct the file there."
        ) from error
    except OSError as error:
        raise OptionValueError(
            where=str(path), problem=f"cannot be read: {error.strerror}.", fix="Check the path."
        ) from error


def to_table(record: object) -> dict[str, Any]:
    """The table from which ``build`` makes an equal record, defaults included.

    ``None`` is left out where it is the default and written as ``"none"`` elsewhere.

    Raises:
        TypeError: If ``record`` is no dataclass.
        OptionValueError: If a list or table inside it holds ``None``.
    """
    if not is_dataclass(record) or isinstance(record, type):
        raise TypeError(f"to_table needs a record, got {record!r}")
    table = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if not field.init or (value is None and _default(field) is None):
            continue
        table[field.name] = "none" if value is None else _plain(value, field.name)
    return table


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A table's values by their dotted paths."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _record(cls: type[Any], table: Any, path: str, problems: Problems) -> Any:
    if isinstance(table, cls):
        return table
    if not isinstance(table, Mapping):
        fix = _holder(cls, table, path)
        fix = fix or f"Write [{path}]. {_in_python(cls, table, path)}".rstrip()
        problems.value(path, f"got {table!r}, needs a table of options.", fix)
        return _WRONG
    resolved = get_type_hints(cls, include_extras=True)
    known = {field.name: field for field in fields(cls) if field.init}
    for key in table:
        if key not in known:
            problems.unknown(_join(path, str(key)), str(key), known)
    values: dict[str, Any] = {}
    for name, field in known.items():
        here = _join(path, name)
        if name in table:
            values[name] = _value(resolved[name], table[name], here, problems)
        elif field.default is MISSING and field.default_factory is MISSING:
            problems.value(here, "is required but missing.", _needed(resolved[name], here))
            values[name] = _WRONG
    if any(value is _WRONG for value in values.values()):
        return _WRONG
    return _make(cls, values, path, problems)


def _needed(hint: Any, path: str) -> str:
    """What to write where something required is missing."""
    (record,) = hints.present(hint) if len(hints.present(hint)) == 1 else (None,)
    if not is_dataclass(record):
        return f"Set it to {leaves.describe(hint)}."
    needed = [f.name for f in fields(record) if _default(f) is MISSING]
    return f"Write [{path}] with {', '.join(f'{name} = ...' for name in needed)}."


def _holder(cls: type[Any], value: Any, path: str) -> str:
    """Where a bare name belongs that stands for a whole table: its type, id or name."""
    names = [name for name in IDENTITIES if name in get_type_hints(cls)]
    return f"Write {path}.{names[0]} = {value!r}." if names and isinstance(value, str) else ""


def _in_python(cls: type[Any], value: Any, path: str) -> str:
    """How to write the table that someone who wrote a bare value may have meant."""
    resolved, name = get_type_hints(cls, include_extras=True), path.rpartition(".")[2]
    fitting = [
        field.name
        for field in fields(cls)
        if not isinstance(leaves.check(resolved[field.name], value), leaves.Refused)
    ]
    if "type" in resolved or not (fitting or value is True):
        return ""
    example = f'"{fitting[0]}": {value!r}' if fitting and value is not True else ""
    return f"In Python: {name}={{{example}}}."


def _make(cls: type[Any], values: Mapping[str, Any], path: str, problems: Problems) -> Any:
    try:
        return cls(**values)
    except SaysoError as error:
        problems.value(path or "options", error.problem, error.fix)
    except ValueError as error:
        message = str(error).rstrip(".")
        word = message.split(" ")[0].strip("`'\"")
        where = _join(path, word) if word in values else path or "options"
        problems.value(where, f"{message}.", "Change the value.")
        default = {field.name: _default(field) for field in fields(cls)}.get(word, MISSING)
        if word in values and default is not MISSING:  # what else the record has to say
            _make(cls, {n: v for n, v in values.items() if n != word}, path, problems)
    return _WRONG


def _value(hint: Any, value: Any, path: str, problems: Problems) -> Any:
    members = hints.members(hint)
    if type(None) in members and (value is None or value == "none"):
        return None
    records = [member for member in members if isinstance(member, type) and is_dataclass(member)]
    if isinstance(value, tuple(records)):
        return value
    if records and (isinstance(value, Mapping) or len(records) == len(hints.present(hint))):
        chosen = _choose(records, value, path, problems)
        return _WRONG if chosen is None else _record(chosen, value, path, problems)
    inner = hints.container_of_records(hint)
    if inner is not None:
        return _container(hint, inner, value, path, problems)
    checked = leaves.check(hint, value)
    if isinstance(checked, leaves.Refused):
        problems.value(path, checked.problem, checked.fix)
        return _WRONG
    return checked.value


def _choose(
    records: list[type[Any]], value: Any, path: str, problems: Problems
) -> type[Any] | None:
    """The record that the key ``type`` names; with one candidate there is nothing to choose."""
    if len(records) == 1 or not isinstance(value, Mapping):
        return records[0]
    tags = {tag: record for record in records for tag in hints.tags(record)}
    if "type" in value:
        found = value["type"]
        chosen = tags.get(found) if isinstance(found, str) else None
        if chosen is None:
            problems.choice(_join(path, "type"), found, list(tags))
        return chosen
    problems.value(
        _join(path, "type"), "is required but missing.", f"Use one of: {', '.join(tags)}."
    )
    return None


def _container(hint: Any, inner: Any, value: Any, path: str, problems: Problems) -> Any:
    origin = hints.origin(hint)
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            problems.value(
                path, f"got {value!r}, needs a table of tables.", f"Write [{path}.name]."
            )
            return _WRONG
        built = {
            key: _value(inner, item, _join(path, str(key)), problems) for key, item in value.items()
        }
        return _WRONG if any(item is _WRONG for item in built.values()) else built
    if not isinstance(value, list | tuple):
        problems.value(path, f"got {value!r}, needs a list of tables.", f"Write [[{path}]].")
        return _WRONG
    listed = [_value(inner, item, f"{path}[{i}]", problems) for i, item in enumerate(value)]
    if any(item is _WRONG for item in listed):
        return _WRONG
    return tuple(listed) if origin is tuple else listed


def _assign(table: dict[str, Any], keys: Sequence[str], value: Any) -> bool:
    """Set a nested key, making tables on the way; False if something else is in the way."""
    inner: Any = table
    for key in keys[:-1]:
        inner = inner.setdefault(key, {})
        if not isinstance(inner, dict):
            return False
    inner[keys[-1]] = value
    return True


def _plain(value: Any, path: str) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return to_table(value)
    if isinstance(value, Mapping):
        return {key: _plain(item, _join(path, str(key))) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{path}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, set | frozenset):
        return sorted(value)
    if value is None:
        raise OptionValueError(
            where=path,
            problem="is None inside a list or table, which a run file cannot say.",
            fix="Leave the entry out.",
        )
    return _scalar(value)


def _scalar(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value


def _default(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


__all__ = [
    "build",
    "build_into",
    "dump_toml",
    "flat",
    "load_toml",
    "override",
    "parse_value",
    "to_table",
]
