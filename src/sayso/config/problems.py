"""Problems of a configuration, collected and raised together."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from sayso.config.aliases import DECIDED, known_elsewhere, meant
from sayso.config.leaves import suggestion
from sayso.config.show import options_table
from sayso.errors import ConfigError, OptionValueError, UnknownOptionError

IDENTITIES = ("type", "id", "name")
"""What a table is told apart by: of an algorithm, an environment, a model."""


class Problems:
    """Collects the problems of one source.

    Args:
        source: Shown in errors.
        root: The record that the whole source stands for: where a misplaced option belongs.
    """

    def __init__(self, source: str, root: type[Any] | None = None) -> None:
        self.source, self.root = source, root
        self.found: list[ConfigError] = []
        self.paths: list[str] = []
        """Dotted paths of what is wrong."""

    def unknown(self, path: str, key: str, known: Iterable[str]) -> None:
        """A key that does not exist."""
        self.paths.append(path)
        names = list(known)
        near = difflib.get_close_matches(key, names, n=1)
        paths, section = self._paths(), path.rpartition(".")[0]
        start = f"{section}."
        here = {
            p for p in paths
            if section and p.startswith(start) and p[len(start) :].split(".")[0] in names
        }  # fmt: skip
        found = known_elsewhere(key, paths, here)
        called = next((name for name in IDENTITIES if name in names), "")
        if key in IDENTITIES and called and (section or called == "type"):
            fix = meant(called, "")
        elif found is not None:
            home, _, name = found[0].rpartition(".")
            is_here = home == section
            if is_here and name not in names:  # of another algorithm, say
                owners = ", ".join(self._owners(found[0]))
                told = f"Elsewhere ({owners}) it is `{name}`" if key != name else ""
                fix = f"{told or f'It is one of {owners}'}. Options here: {', '.join(names)}."
            else:
                fix = meant(name if is_here else found[0], found[1])
        elif key in DECIDED:
            fix = DECIDED[key]
        else:
            fix = f"Did you mean `{near[0]}`?" if near else f"Options here: {', '.join(names)}."
        self.found.append(
            UnknownOptionError(where=self._where(path), problem="no such option.", fix=fix)
        )

    def value(self, path: str, problem: str, fix: str) -> None:
        """A value that is missing or wrong."""
        self.paths.append(path)
        self.found.append(OptionValueError(where=self._where(path), problem=problem, fix=fix))

    def choice(self, path: str, value: object, choices: Sequence[object]) -> None:
        """A value that is none of a few."""
        self.value(path, f"got {value!r}.", suggestion(value, choices))

    def raise_any(self) -> None:
        """Raise the only problem, or one error that lists them all.

        Raises:
            ConfigError: If anything was collected.
        """
        if len(self.found) == 1:
            raise self.found[0]
        if self.found:
            raise ConfigError(
                where=self.source,
                problem=f"{len(self.found)} problems.",
                fix="Correct each of these:\n" + "\n".join(map(str, self.found)),
            )

    def _paths(self) -> set[str]:
        """Dotted paths of all options, and of the tables that hold some."""
        rows = options_table(self.root) if self.root is not None else ()
        return {row.name for row in rows} | {row.name.rpartition(".")[0] for row in rows}

    def _owners(self, path: str) -> list[str]:
        """What ``type`` is where this option exists."""
        rows = options_table(self.root) if self.root is not None else []
        section = path.rpartition(".")[0]
        types = {row.owner: row.default for row in rows if row.name == f"{section}.type"}
        return sorted(types[row.owner].strip("'\"") for row in rows if row.name == path)

    def _where(self, path: str) -> str:
        return f"{self.source}, {path}" if path else self.source
