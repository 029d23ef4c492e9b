"""Packages that not everyone installs, imported when an environment is made."""

from __future__ import annotations

import importlib
import warnings
from types import ModuleType

from sayso.errors import ExtraMissingError


def extra_module(name: str, *, extra: str, where: str) -> ModuleType:
    """A module of an optional package.

    Args:
        name: Of the module.
        extra: Of sayso's that installs it.
        where: What needs it.

    Raises:
        ExtraMissingError: If it cannot be imported; names the extra, and what was missing.
    """
    try:
        with warnings.catch_warnings():  # theirs, about themselves
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ImportError as error:
        raise ExtraMissingError(
            where=where,
            problem=f"{name} cannot be imported ({error}).",
            fix=f"Run: pip install 'sayso[{extra}]'",
        ) from error
