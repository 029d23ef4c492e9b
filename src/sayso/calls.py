"""What a user names, ``"module:name"``, and the arguments that a user gives by their names."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, Self

from sayso.errors import OptionValueError, UnknownNameError, UnknownOptionError, in_a_line

FUNCTION = "Use 'module:function' with a module on the Python path."


def imported(module: str, *, where: str, fix: str = FUNCTION) -> ModuleType:
    """A user's module; whatever it raises is told in one line.

    Args:
        module: Its name.
        where: What names it.
        fix: What to write instead of a module that is not there.

    Raises:
        UnknownNameError: If it is not there, or fails when imported.
    """
    try:
        return importlib.import_module(module)
    except Exception as error:
        is_missing = isinstance(error, ModuleNotFoundError) and module.startswith(error.name or "?")
        is_missing |= isinstance(error, ValueError) and not module
        raise UnknownNameError(
            where=where,
            problem=f"module {module!r} cannot be imported."
            if is_missing
            else f"module {module!r} fails when imported: {in_a_line(error)}.",
            fix=fix if is_missing else "Mend the module.",
        ) from error


def named(name: str, *, where: str, fix: str = FUNCTION) -> Any:
    """What ``"module:name"`` stands for.

    Raises:
        UnknownNameError: If the module cannot be imported, or has no such name.
    """
    module, _, attribute = name.partition(":")
    found = imported(module, where=where, fix=fix)
    if not attribute or not hasattr(found, attribute):
        raise UnknownNameError(
            where=where, problem=f"module {module!r} has no {attribute or 'name'!r}.", fix=fix
        )
    return getattr(found, attribute)


def refuse_arguments(maker: Callable[..., Any], given: Iterable[str], *, where: str) -> None:
    """Refuse names that a class or function does not take; one that takes any is left alone.

    Args:
        maker: What is to be called.
        given: Names of the arguments.
        where: Shown before the first that is wrong.

    Raises:
        UnknownOptionError: With the nearest name, and all that there are.
    """
    try:
        parameters = inspect.signature(maker).parameters.values()
    except (TypeError, ValueError):  # some functions do not tell
        return
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    takes = [p.name for p in parameters if p.kind in by_name]
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        return
    for name in given:
        if name not in takes:
            near = difflib.get_close_matches(name, takes, n=1)
            meant = f"Did you mean `{near[0]}`? " if near else ""
            there = f"It takes {', '.join(takes)}." if takes else "It takes none."
            raise UnknownOptionError(
                where=f"{where}, {name}", problem="no such argument.", fix=meant + there
            )


class ByName:
    """Base of classes that say which argument was meant where one is misspelt."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """A new object, once the names of its arguments are right."""
        del args
        if kwargs:  # a copy is made without
            refuse_arguments(cls, kwargs, where=cls.__name__)
        return object.__new__(cls)


def refuse_class(given: object, *, where: str) -> None:
    """Refuse a class where what it makes is asked for.

    Raises:
        OptionValueError: Saying how to make one.
    """
    if isinstance(given, type):
        name = given.__name__
        raise OptionValueError(
            where=where, problem=f"got the class {name}.", fix=f"Make one: {name}(...)."
        )
