"""Packages that not everyone installs, imported when an environment is made."""

from __future__ import annotations

import importlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from types import ModuleType

from sayso.errors import ExtraMissingError


@contextmanager
def unheard() -> Iterator[None]:
    """Inside, what a package warns of about itself, or prints, is not passed on."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


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
        with unheard():
            return importlib.import_module(name)
    except ImportError as error:
        raise ExtraMissingError(
            where=where,
            problem=f"{name} cannot be imported ({error}).",
            fix=f"Run: pip install 'sayso[{extra}]'",
        ) from error
