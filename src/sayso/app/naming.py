"""Options by their bare names, as Python code passes them."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable
from typing import Any

from sayso.algorithms.options.kl import KLOptions
from sayso.algorithms.options.optim import OptimOptions
from sayso.app.config import SECTIONS, AlgorithmOptions, EnvOptions
from sayso.config.aliases import DECIDED, known_elsewhere, meant
from sayso.config.show import options_table
from sayso.data.options import DataOptions
from sayso.errors import UnknownOptionError
from sayso.models.options import ModelOptions
from sayso.sampling.options import SamplingOptions
from sayso.training.options import TrainOptions

_NOT_BARE = ("type", "name", "id", "kwargs", "path")


def place(table: dict[str, Any], key: str, value: Any, *, algorithm: str) -> None:
    """Put ``key=value`` where it belongs in the configuration table.

    Raises:
        UnknownOptionError: If no option has this name, with the one that was probably meant.
    """
    if key in SECTIONS:
        if isinstance(value, dict) and isinstance(table.get(key, {}), dict):
            table.setdefault(key, {}).update(value)
        else:
            table[key] = value
        return
    names = _names(algorithm)
    homes = [section for section, there in names.items() if key in there]
    if not homes:
        raise _unknown(key, algorithm, (name for each in names.values() for name in each))
    if len(homes) > 1:
        raise UnknownOptionError(
            where=key,
            problem="is in several sections.",
            fix=f"Name the section: {', '.join(f'{h}={{...}}' for h in homes)}.",
        )
    table.setdefault(homes[0], {})[key] = value


def refuse_unknown(options: Iterable[str], *, algorithm: str) -> None:
    """Refuse what ``learn`` does not take.

    Raises:
        UnknownOptionError: With the option that was probably meant.
    """
    names = _names(algorithm)
    for key in options:
        if key in names["train"]:
            continue
        if any(key in there for there in names.values()):
            raise UnknownOptionError(
                where=f"learn({key}=...)",
                problem="is no option of learn.",
                fix=f"Set it when the agent is made: {key}=....",
            )
        raise _unknown(key, algorithm, names["train"], call="learn")


def _unknown(
    key: str, algorithm: str, names: Iterable[str], *, call: str = ""
) -> UnknownOptionError:
    known = sorted(set(names))
    records = _records(algorithm).items()
    paths = {row.name for name, record in records for row in options_table(record, prefix=name)}
    found = known_elsewhere(key, {*paths, "model.lora"})
    near = difflib.get_close_matches(key, known, n=1)
    fix = f"Did you mean `{near[0]}`?" if near else f"Options: {', '.join(known)}."
    fix = DECIDED.get(key, fix)
    if found is not None:
        fix = meant(_in_python(found[0]), found[1])
    where = f"{call}({key}=...)" if call else key
    return UnknownOptionError(where=where, problem="no such option.", fix=fix)


def _in_python(path: str) -> str:
    """A dotted path as an argument: ``lr``, ``kl={"coef": ...}``, ``lora={"rank": ...}``."""
    section, *inner, name = path.split(".")
    if path == "model.name":
        return "the first argument"
    holder = inner[-1] if inner else section if section == "kl" else ""
    return f'{holder}={{"{name}": ...}}' if holder else name


def _names(algorithm: str) -> dict[str, list[str]]:
    """Option names by section, for one algorithm."""
    return {
        section: [f.name for f in dataclasses.fields(record) if f.name not in _NOT_BARE]
        for section, record in _records(algorithm).items()
    }


def _records(algorithm: str) -> dict[str, Any]:
    """The record of each section whose options have bare names, for one algorithm."""
    return {
        "model": ModelOptions,
        "sampling": SamplingOptions,
        "optim": OptimOptions,
        "kl": KLOptions,
        "train": TrainOptions,
        "env": EnvOptions,
        "data": DataOptions,
        "algorithm": next(o for o in AlgorithmOptions.__args__ if _type_of(o) == algorithm),
    }


def _type_of(options: Any) -> str:
    return str(next(f.default for f in dataclasses.fields(options) if f.name == "type"))
